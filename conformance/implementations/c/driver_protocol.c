/* driver_protocol.c - lines, the fields of requests, replies; see driver.h */
#include "driver.h"
#include "json.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static struct slice request, seq;

/* ---- lines ------------------------------------------------------------------------------ */

char *read_line(size_t *size)               /* of any length (DRIVER-9) */
{
    static char *buffer;
    static size_t start, end, room;
    size_t seen = start;
    for (;;) {
        char *newline = end > seen ? memchr(buffer + seen, '\n', end - seen) : NULL;
        if (newline) {
            char *line = buffer + start;
            *size = (size_t)(newline - line);
            *newline = 0;
            start = (size_t)(newline + 1 - buffer);
            return line;
        }
        if (start) {
            memmove(buffer, buffer + start, end - start);
            end -= start;
            start = 0;
        }
        seen = end;
        if (end + 65536 > room)
            buffer = need(realloc(buffer, room = room * 2 + 131072));
        if (!wait_fd(0, POLLIN, -1))
            return NULL;
        ssize_t n = read(0, buffer + end, 65536);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return NULL;
        end += (size_t)n;
    }
}

static struct {
    char *p;
    size_t n, room;
} out;

static void put(const char *p, size_t n)
{
    if (out.n + n > out.room)
        out.p = need(realloc(out.p, out.room = (out.n + n) * 2));
    memcpy(out.p + out.n, p, n);
    out.n += n;
}

static void write_line(void)
{
    put("\n", 1);
    for (size_t done = 0; done < out.n;) {
        size_t n = out.n - done < _POSIX_PIPE_BUF * 8 ? out.n - done : _POSIX_PIPE_BUF * 8;
        if (!wait_fd(1, POLLOUT, -1))
            break;
        ssize_t wrote = write(1, out.p + done, n);
        if (wrote < 0 && errno != EINTR)
            exit(74);
        done += wrote > 0 ? (size_t)wrote : 0;
    }
    out.n = 0;
}

/* ---- slices of a line ------------------------------------------------------------------- */

/* Reads a key with its colon. */
static const char *skip_key(const char *p)
{
    bool half;
    p = ps_json_string(ps_json_space(p), &half);
    p = p ? ps_json_space(p) : NULL;
    return p && *p == ':' ? p + 1 : NULL;
}

/* Reads any JSON value, of at most so many octets and any depth: what follows it, or NULL. */
static const char *skip_value(const char *p, size_t most)
{
    static char *closers;
    static size_t room;
    size_t depth = 0;
    bool half;
    if (most > room)
        closers = need(realloc(closers, room = most));
    for (;;) {
        p = ps_json_space(p);
        bool object = *p == '{';
        if (object || *p == '[') {
            closers[depth++] = object ? '}' : ']';
            p = ps_json_space(p + 1);
            if (*p != closers[depth - 1]) {
                if (object && !(p = skip_key(p)))
                    return NULL;
                continue;
            }
        } else if (!(p = ps_json_scalar(p, &half))) {
            return NULL;
        }
        for (;;) {
            if (!depth)
                return p;
            p = ps_json_space(p);
            if (*p != closers[depth - 1])
                break;
            depth--;
            p++;
        }
        if (*p++ != ',' || (closers[depth - 1] == '}' && !(p = skip_key(p))))
            return NULL;
    }
}

struct slice member(struct slice object, const char *name)
{
    struct slice found = {NULL, 0};
    const char *p = object.n && *object.p == '{' ? ps_json_space(object.p + 1) : "}";
    while (*p != '}') {
        bool half;
        const char *key = ps_json_space(p), *value = ps_json_space(skip_key(key));
        p = skip_value(value, object.n);
        size_t size = (size_t)(ps_json_string(key, &half) - key) - 2;
        if (ps_json_equals(key + 1, size, name))
            found = (struct slice){value, (size_t)(p - value)};
        p = ps_json_space(p);
        p += *p == ',';
    }
    return found;
}

bool next_element(struct slice list, struct slice *element)
{
    const char *p = ps_json_space(element->n ? element->p + element->n : list.p + 1);
    if (*p == ']')
        return false;
    element->p = p = ps_json_space(p + (element->n && *p == ','));
    element->n = (size_t)(skip_value(p, list.n) - p);
    return true;
}

/* ---- the request ------------------------------------------------------------------------ */

enum { BLOCKS = 16 };               /* more than any request needs */

static void *blocks[BLOCKS];
static int n_blocks;

void *request_memory(size_t size)
{
    if (n_blocks == BLOCKS)
        need(NULL);
    return blocks[n_blocks++] = need(calloc(size ? size : 1, 1));
}

void end_request(void)
{
    while (n_blocks)
        free(blocks[--n_blocks]);
}

bool begin_request(const char *line, size_t size, char **op)
{
    const char *p;
    seq = (struct slice){"null", 4};
    request = (struct slice){ps_json_space(line), size};
    if (*request.p != '{' || !(p = skip_value(request.p, size + 1)) ||
        ps_json_space(p) != line + size) {
        bad_request("no JSON object");
        return false;
    }
    struct slice s = field("seq");
    if (s.n && s.n == (size_t)(*s.p == '-') + strspn(s.p + (*s.p == '-'), "0123456789"))
        seq = s;
    if (seq.p == s.p && text_of(field("op"), op))
        return true;
    bad_request("seq, op");
    return false;
}

struct slice field(const char *name)
{
    return member(request, name);
}

/* A C string cannot hold NUL: it becomes the octet 01, which is as invalid. */
bool text_of(struct slice s, char **text)
{
    if (!s.n || *s.p != '"')
        return false;
    char *o = *text = request_memory(s.n);      /* an escape is longer than its UTF-8 */
    size_t size;
    for (const char *p = s.p + 1; p < s.p + s.n - 1; o += size) {
        p = ps_json_char(p, o, &size);
        if (!*o)
            *o = 1;
    }
    *o = 0;
    return true;
}

bool object_of(struct slice s, char **text)
{
    if (!s.n || *s.p != '{')
        return false;
    *text = request_memory(s.n + 1);
    memcpy(*text, s.p, s.n);
    return true;
}

bool octets_of(struct slice s, unsigned char **octets, size_t *size)
{
    static signed char value[256];
    char *t;
    if (!value[0]) {
        memset(value, -1, sizeof value);
        for (int i = 0; i < 64; i++)
            value[(unsigned char)base64[i]] = (signed char)i;
    }
    if (!text_of(s, &t) || strlen(t) % 4)
        return false;
    size_t n = strlen(t), pad = n && t[n - 1] == '=' ? 1 + (t[n - 2] == '=') : 0;
    unsigned char *o = *octets = (unsigned char *)t;        /* in place: it becomes shorter */
    unsigned long bits = 0;
    for (size_t i = 0; i < n; i++) {
        int v = i < n - pad ? value[(unsigned char)t[i]] : 0;
        if (v < 0)
            return false;
        bits = bits << 6 | (unsigned long)v;
        if (i % 4 == 3) {
            *o++ = (unsigned char)(bits >> 16);
            *o++ = (unsigned char)(bits >> 8);
            *o++ = (unsigned char)bits;
        }
    }
    *size = n / 4 * 3 - pad;
    return true;
}

bool u64_of(struct slice s, uint64_t *number)
{
    char *t;
    if (!text_of(s, &t) || !*t || strspn(t, "0123456789") != strlen(t) || (*t == '0' && t[1]))
        return false;
    errno = 0;
    *number = strtoull(t, NULL, 10);
    return strlen(t) <= 20 && !errno;
}

bool number_of(struct slice s, double *number)
{
    if (!s.n || !strchr("-0123456789", *s.p))
        return false;
    *number = strtod(s.p, NULL);
    return isfinite(*number);
}

bool integer_of(struct slice s, double *number)
{
    return number_of(s, number) && *number >= 0 && *number == floor(*number) &&
           *number < 9007199254740992.0;
}

bool optional_bool(struct slice s, bool *value)
{
    *value = s.n && *s.p == 't';
    return !s.n || *s.p == 't' || *s.p == 'f';
}

bool report_of(struct slice s, bool *all)
{
    char *t;
    if (!text_of(s, &t))
        return false;
    *all = !strcmp(t, "all");
    return *all || !strcmp(t, "totals");
}

bool span_of(struct slice s, double *ms)
{
    if (!number_of(s, ms) || *ms < 0)
        return false;
    *ms *= 1000;
    return true;
}

bool optional_span(struct slice s, double absent, double *ms)
{
    *ms = absent;
    return !s.n || span_of(s, ms);
}

int to_int(double ms)
{
    return ms >= INT_MAX ? INT_MAX : (int)ceil(ms);
}

/* ---- replies ---------------------------------------------------------------------------- */

void begin_reply(void)
{
    print("{\"seq\": ");
    put(seq.p, seq.n);
}

void end_reply(void)
{
    put("}", 1);
    write_line();
}

void print(const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    put(text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

/* Writes what is not printable ASCII as a question mark. */
static void print_string(const char *s)
{
    put("\"", 1);
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            put("\\", 1);
        put(*s < 0x20 || *s > 0x7e ? "?" : s, 1);
    }
    put("\"", 1);
}

void print_base64(const unsigned char *p, size_t n)
{
    put("\"", 1);
    for (; n; p += n < 3 ? n : 3, n -= n < 3 ? n : 3) {
        unsigned long v = (unsigned long)p[0] << 16 | (n > 1 ? (unsigned long)p[1] << 8 : 0) |
                          (n > 2 ? p[2] : 0);
        char four[4] = {base64[v >> 18], base64[v >> 12 & 63],
                        n > 1 ? base64[v >> 6 & 63] : '=', n > 2 ? base64[v & 63] : '='};
        put(four, 4);
    }
    put("\"", 1);
}

void print_headers(const struct pubsub_message *m)
{
    size_t at = out.n;
    put(m->headers, m->headers_size);
    for (; at < out.n; at++)                /* valid headers have these between tokens only */
        if (out.p[at] == '\n' || out.p[at] == '\r')
            out.p[at] = ' ';
}

void print_message(const struct pubsub_message *m)
{
    print("{\"id\": \"%" PRIu64 "\", \"timestamp\": \"%" PRIu64 "\", \"topic\": \"%s\", \"headers\": ",
          m->id, m->timestamp, m->topic);
    print_headers(m);
    print(", \"content\": ");
    print_base64(m->content, m->content_size);
    print("}");
}

void print_times(int64_t start, int64_t end)
{
    print("\"start\": \"%" PRId64 "\", \"end\": \"%" PRId64 "\"", start, end);
}

static const char *errno_name(int errnum)
{
#define E(name) {name, #name}
    static const struct { int number; const char *name; } names[] = {
        E(E2BIG), E(EACCES), E(EAGAIN), E(EBADF), E(EBUSY), E(EDQUOT), E(EEXIST), E(EFAULT), E(EFBIG),
        E(EINTR), E(EINVAL), E(EIO), E(EISDIR), E(ELOOP), E(EMFILE), E(EMLINK), E(ENAMETOOLONG),
        E(ENFILE), E(ENODEV), E(ENOENT), E(ENOMEM), E(ENOSPC), E(ENOSYS), E(ENOTDIR), E(ENOTEMPTY),
        E(ENOTSUP), E(ENXIO), E(EOVERFLOW), E(EPERM), E(EPIPE), E(EROFS), E(ESTALE), E(ETXTBSY), E(EXDEV),
    };
#undef E
    static char other[16];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].number == errnum)
            return names[i].name;
    snprintf(other, sizeof other, "E%d", errnum);
    return other;
}

void print_error(const struct pubsub_error *e, const size_t *count)
{
    print(", \"error\": {\"code\": \"%s\", \"detail\": ", pubsub_code_name(e->code));
    print_string(e->text);
    if (e->code == PUBSUB_IO_ERROR) {
        print(", \"errno\": \"%s\"", errno_name(e->errnum));
        if (count)
            print(", \"count\": %zu", *count);
    }
    print("}");
}

void reply_error(const struct pubsub_error *e, const size_t *count)
{
    begin_reply();
    print_error(e, count);
    end_reply();
}

void reply_refusal(const char *code, const char *detail)
{
    begin_reply();
    print(", \"error\": {\"code\": \"%s\", \"detail\": ", code);
    print_string(detail);
    print("}");
    end_reply();
}

void bad_request(const char *detail)
{
    reply_refusal("bad-request", detail);
}
