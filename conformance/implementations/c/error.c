/* error.c - errors of the library */
#include "internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum pubsub_code ps_fail(struct pubsub_error *e, enum pubsub_code code, int errnum,
                         const char *format, ...)
{
    if (e) {
        va_list args;
        va_start(args, format);
        vsnprintf(e->text, sizeof e->text, format, args);
        va_end(args);
        e->code = code;
        e->errnum = errnum;
    }
    return code;
}

const char *ps_reason(int errnum, char text[128])
{
    if (strerror_r(errnum, text, 128))
        snprintf(text, 128, "error %d", errnum);
    return text;
}

enum pubsub_code ps_io_fail(struct pubsub_error *e, int errnum, const char *what)
{
    char text[128];
    return ps_fail(e, PUBSUB_IO_ERROR, errnum, "%s: %s", what, ps_reason(errnum, text));
}

const char *pubsub_code_name(enum pubsub_code code)
{
    static const char *const names[] = {
        "ok", "invalid-topic", "invalid-pattern", "invalid-headers", "too-large", "invalid-message",
        "damaged-queue", "base-unusable", "channel-lost", "io-error", "channel-closed",
    };
    return (unsigned)code < sizeof names / sizeof *names ? names[code] : "unknown";
}
