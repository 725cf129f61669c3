/* driver.c - the driver of the conformance kit for pubsub.c, protocol 1
 *
 * Why no JSON library: headers must reach the implementation as the text that was sent, for it is
 * to judge them (a key twice, a lone surrogate, 1e400, a depth of a million), and a topic may hold
 * NUL or half a surrogate pair.  cJSON and jansson refuse or mend such lines before anybody sees
 * them.  What remains to be done here is to cut one line into slices.
 */
#define _XOPEN_SOURCE 700

#include "pubsub.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- the end ----------------------------------------------------------------------------------- */

static int stop_pipe[2];
static volatile sig_atomic_t stopped;

static void on_term(int signal)
{
    int err = errno;
    (void)signal;
    stopped = 1;
    pubsub_interrupt();
    if (write(stop_pipe[1], "", 1) < 0)
        stopped = 1;
    errno = err;
}

/* Waits until fd is ready or SIGTERM came (DRIVER-7); fd -1: just so long. */
static bool wait_fd(int fd, short events, int ms)
{
    struct pollfd fds[2] = {{.fd = fd, .events = events}, {.fd = stop_pipe[0], .events = POLLIN}};
    while (!stopped) {
        int n = poll(fds, 2, ms);
        if (n >= 0 || errno != EINTR)
            return n > 0 && fds[0].revents;
    }
    return false;
}

static void *need(void *memory)
{
    if (!memory) {
        perror("driver");
        exit(70);
    }
    return memory;
}

/* ---- output: one line is gathered, then written ------------------------------------------------- */

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

#ifdef __GNUC__
__attribute__((format(printf, 1, 2)))
#endif
static void print(const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    put(text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

static void put_string(const char *s)       /* for ASCII; what is none becomes a question mark */
{
    put("\"", 1);
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            put("\\", 1);
        put(*s < 0x20 || *s > 0x7e ? "?" : s, 1);
    }
    put("\"", 1);
}

static void put_base64(const unsigned char *p, size_t n)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    put("\"", 1);
    for (; n; p += n < 3 ? n : 3, n -= n < 3 ? n : 3) {
        unsigned long v = (unsigned long)p[0] << 16 | (n > 1 ? (unsigned long)p[1] << 8 : 0) |
                          (n > 2 ? p[2] : 0);
        char four[4] = {letters[v >> 18], letters[v >> 12 & 63],
                        n > 1 ? letters[v >> 6 & 63] : '=', n > 2 ? letters[v & 63] : '='};
        put(four, 4);
    }
    put("\"", 1);
}

static void put_headers(const struct pubsub_message *m)
{
    size_t at = out.n;
    put(m->headers, m->headers_size);
    for (; at < out.n; at++)                /* between tokens only: the text has been checked */
        if (out.p[at] == '\n' || out.p[at] == '\r')
            out.p[at] = ' ';
}

static void put_message(const struct pubsub_message *m)
{
    print("{\"id\": \"%" PRIu64 "\", \"timestamp\": \"%" PRIu64 "\", \"topic\": \"%s\", \"headers\": ",
          m->id, m->timestamp, m->topic);
    put_headers(m);
    put(", \"content\": ", 13);
    put_base64(m->content, m->content_size);
    put("}", 1);
}

static void flush_line(void)
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

/* ---- input: lines and slices of JSON ------------------------------------------------------------- */

static char *read_line(size_t *size)        /* NULL at the end; of any length (DRIVER-9) */
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

struct slice {
    const char *p;
    size_t n;
};

static const char *space(const char *p)
{
    return p + strspn(p, " \t\r\n");
}

static const char *skip_string(const char *p)       /* from its quote; NULL: it is none */
{
    if (*p++ != '"')
        return NULL;
    for (; *p != '"'; p++) {
        if ((unsigned char)*p < 0x20)
            return NULL;
        if (*p == '\\') {
            if (*++p == 'u') {
                if (strspn(p + 1, "0123456789abcdefABCDEF") < 4)
                    return NULL;
                p += 4;
            } else if (!*p || !strchr("\"\\/bfnrt", *p)) {
                return NULL;
            }
        }
    }
    return p + 1;
}

static const char *skip_scalar(const char *p)
{
    static const char *const words[] = {"true", "false", "null"};
    if (*p == '"')
        return skip_string(p);
    for (int i = 0; i < 3; i++)
        if (!strncmp(p, words[i], strlen(words[i])))
            return p + strlen(words[i]);
    p += *p == '-';
    size_t n = strspn(p, "0123456789");
    if (!n || (*p == '0' && n > 1))
        return NULL;
    p += n;
    if (*p == '.') {
        if (!(n = strspn(++p, "0123456789")))
            return NULL;
        p += n;
    }
    if (*p == 'e' || *p == 'E') {
        p += p[1] == '-' || p[1] == '+' ? 2 : 1;
        if (!(n = strspn(p, "0123456789")))
            return NULL;
        p += n;
    }
    return p;
}

static const char *skip_key(const char *p)
{
    p = skip_string(space(p));
    p = p ? space(p) : NULL;
    return p && *p == ':' ? p + 1 : NULL;
}

/* Any JSON value, of any depth: what follows it, or NULL. */
static const char *skip_value(const char *p, size_t most)
{
    static char *closers;
    static size_t room;
    size_t depth = 0;
    if (most > room)
        closers = need(realloc(closers, room = most));
    for (;;) {
        p = space(p);
        bool object = *p == '{';
        if (object || *p == '[') {
            closers[depth++] = object ? '}' : ']';
            p = space(p + 1);
            if (*p != closers[depth - 1]) {
                if (object && !(p = skip_key(p)))
                    return NULL;
                continue;
            }
        } else if (!(p = skip_scalar(p))) {
            return NULL;
        }
        for (;;) {
            if (!depth)
                return p;
            p = space(p);
            if (*p != closers[depth - 1])
                break;
            depth--;
            p++;
        }
        if (*p++ != ',' || (closers[depth - 1] == '}' && !(p = skip_key(p))))
            return NULL;
    }
}

static bool is_utf8(const char *text)
{
    const unsigned char *p = (const unsigned char *)text;
    while (*p) {
        int more = *p < 0x80 ? 0 : *p < 0xc2 ? -1 : *p < 0xe0 ? 1 : *p < 0xf0 ? 2 : *p < 0xf5 ? 3 : -1;
        if (more < 0 || (*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) ||
            (*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] > 0x8f))
            return false;
        for (p++; more--; p++)
            if ((*p & 0xc0) != 0x80)
                return false;
    }
    return true;
}

/* A member of a valid object; n is 0 if it has none of that name. */
static struct slice member(struct slice object, const char *name)
{
    struct slice found = {NULL, 0};
    const char *p = space(object.p + 1);
    while (*p != '}') {
        const char *key = space(p), *value = space(skip_key(key));
        p = skip_value(value, object.n);
        if (!strncmp(key + 1, name, strlen(name)) && key[1 + strlen(name)] == '"')
            found = (struct slice){value, (size_t)(p - value)};
        p = space(p);
        p += *p == ',';
    }
    return found;
}

/* ---- requests -------------------------------------------------------------------------------------- */

static struct slice request, seq;
static char *strings[8];                    /* the current request's, freed with it */
static int n_strings;

/* A string as a C string.  That cannot hold NUL, so that becomes 01, which is as invalid. */
static bool text_of(struct slice s, char **result)
{
    if (!s.n || *s.p != '"')
        return false;
    char *o = strings[n_strings++] = *result = need(malloc(s.n));
    const char *p = s.p + 1;
    while (p < s.p + s.n - 1) {
        if (*p != '\\') {
            *o++ = *p++;
        } else if (p[1] != 'u') {
            *o++ = "\"\\/\b\f\n\r\t"[strchr("\"\\/bfnrt", p[1]) - "\"\\/bfnrt"];
            p += 2;
        } else {
            char hex[5] = {p[2], p[3], p[4], p[5], 0};
            long c = strtol(hex, NULL, 16);         /* half a surrogate pair becomes no UTF-8 */
            if (c >= 0x800)
                *o++ = (char)(0xe0 | c >> 12);
            if (c >= 0x80)
                *o++ = (char)(c >= 0x800 ? 0x80 | (c >> 6 & 63) : 0xc0 | c >> 6);
            *o++ = (char)(c >= 0x80 ? 0x80 | (c & 63) : c ? c : 1);
            p += 6;
        }
    }
    *o = 0;
    return true;
}

static bool text(const char *name, char **result)
{
    return text_of(member(request, name), result);
}

static bool object_text(struct slice s, char **result)
{
    if (!s.n || *s.p != '{')
        return false;
    *result = strings[n_strings++] = need(calloc(s.n + 1, 1));
    memcpy(*result, s.p, s.n);
    return true;
}

static bool octets_of(struct slice s, unsigned char **octets, size_t *size)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    static signed char value[256];
    char *t;
    if (!value[0]) {
        memset(value, -1, sizeof value);
        for (int i = 0; i < 64; i++)
            value[(unsigned char)letters[i]] = (signed char)i;
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

static bool u64_of(struct slice s, uint64_t *result)
{
    char *t;
    if (!text_of(s, &t) || !*t || strspn(t, "0123456789") != strlen(t) || (*t == '0' && t[1]))
        return false;
    errno = 0;
    *result = strtoull(t, NULL, 10);
    return strlen(t) <= 20 && !errno;
}

static bool number_of(struct slice s, double *result)
{
    if (!s.n || !strchr("-0123456789", *s.p))
        return false;
    *result = strtod(s.p, NULL);
    return isfinite(*result);
}

/* A span in seconds as milliseconds; not there: `absent`. */
static bool span(const char *name, bool optional, double absent, double *ms)
{
    struct slice s = member(request, name);
    *ms = absent;
    if (!s.n)
        return optional;
    if (!number_of(s, ms) || *ms < 0)
        return false;
    *ms *= 1000;
    return true;
}

static int to_int(double ms)
{
    return ms >= INT_MAX ? INT_MAX : (int)ceil(ms);
}

static bool integer_of(struct slice s, double *result)
{
    return number_of(s, result) && *result >= 0 && *result == floor(*result) && *result < 9007199254740992.0;
}

static bool report_all(bool *all)
{
    char *t;
    if (!text("report", &t))
        return false;
    *all = !strcmp(t, "all");
    return *all || !strcmp(t, "totals");
}

/* ---- replies --------------------------------------------------------------------------------------- */

static void begin(void)
{
    print("{\"seq\": ");
    put(seq.p, seq.n);
}

static void end(void)
{
    put("}", 1);
    flush_line();
}

static void plain_error(const char *code, const char *detail)
{
    begin();
    print(", \"error\": {\"code\": \"%s\", \"detail\": ", code);
    put_string(detail);
    put("}", 1);
    end();
}

static void bad_request(const char *detail)
{
    plain_error("bad-request", detail);
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

static void put_error(const struct pubsub_error *e, const size_t *count)
{
    print(", \"error\": {\"code\": \"%s\", \"detail\": ", pubsub_code_name(e->code));
    put_string(e->text);
    if (e->code == PUBSUB_IO_ERROR) {
        print(", \"errno\": \"%s\"", errno_name(e->errnum));
        if (count)
            print(", \"count\": %zu", *count);
    }
    put("}", 1);
}

static void error_reply(const struct pubsub_error *e, const size_t *count)
{
    begin();
    put_error(e, count);
    end();
}

static int64_t clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void put_times(int64_t start, int64_t stop)
{
    print("\"start\": \"%" PRId64 "\", \"end\": \"%" PRId64 "\"", start, stop);
}

/* ---- operations -------------------------------------------------------------------------------------- */

static void op_hello(void)
{
    double protocol;
    if (!number_of(member(request, "protocol"), &protocol) || protocol != 1) {
        bad_request("protocol 1 is spoken here");
        return;
    }
    begin();
    print(", \"implementation\": \"pubsub-c\", \"version\": \"0.1\", \"language\": \"C11, "
#if defined __clang__
          "clang " __clang_version__
#elif defined __GNUC__
          "gcc " __VERSION__
#else
          "unknown compiler"
#endif
          "\", \"spec\": \"" PUBSUB_SPEC "\", \"roles\": "
          "[\"topics\", \"codec\", \"publisher\", \"subscriber\", \"reaper\"]");
    end();
}

static void op_match(void)
{
    char *pattern, *topic;
    bool match;
    struct pubsub_error e;
    if (!text("pattern", &pattern) || !text("topic", &topic)) {
        bad_request("pattern, topic");
    } else if (pubsub_match(pattern, topic, &match, &e)) {
        error_reply(&e, NULL);
    } else {
        begin();
        print(", \"match\": %s", match ? "true" : "false");
        end();
    }
}

static void op_encode(void)
{
    struct slice m = member(request, "message");
    struct pubsub_message message = {0};
    struct pubsub_error e;
    char *topic, *headers;
    unsigned char *content, *octets;
    size_t size;
    if (!m.n || *m.p != '{' || !u64_of(member(m, "id"), &message.id) ||
        !u64_of(member(m, "timestamp"), &message.timestamp) ||
        !text_of(member(m, "topic"), &topic) || !object_text(member(m, "headers"), &headers) ||
        !octets_of(member(m, "content"), &content, &message.content_size) || !message.id) {
        bad_request("message");
        return;
    }
    message.topic = topic;
    message.headers = headers;
    message.content = content;
    if (pubsub_encode(&message, &octets, &size, &e)) {
        error_reply(&e, NULL);
        return;
    }
    begin();
    print(", \"bytes\": ");
    put_base64(octets, size);
    end();
    free(octets);
}

static void op_decode(void)
{
    unsigned char *octets;
    size_t size;
    struct pubsub_message *m;
    struct pubsub_error e;
    if (!octets_of(member(request, "bytes"), &octets, &size)) {
        bad_request("bytes");
        return;
    }
    unsigned char *exact = need(malloc(size ? size : 1));   /* valgrind sees the end of this one */
    memcpy(exact, octets, size);
    if (pubsub_decode(exact, size, &m, &e)) {
        error_reply(&e, NULL);
    } else {
        begin();
        print(", \"message\": ");
        put_message(m);
        end();
        pubsub_message_free(m);
    }
    free(exact);
}

static void op_publish(void)
{
    char *topic, *headers;
    unsigned char *content;
    size_t size, count;
    double ms;
    struct pubsub_error e;
    if (!text("topic", &topic) || !octets_of(member(request, "content"), &content, &size) ||
        !object_text(member(request, "headers"), &headers) || !span("timeout", true, 0, &ms)) {
        bad_request("topic, content, headers, timeout");
    } else if (pubsub_publish(topic, headers, content, size, to_int(ms), &count, &e)) {
        error_reply(&e, &count);
    } else {
        begin();
        print(", \"count\": %zu", count);
        end();
    }
}

static void op_produce(void)
{
    char *topic, *prefix;
    double count, rate = 0, ms, size, biggest = 0, sizes[1000];
    size_t n_sizes = 0;
    bool all, good = true;
    struct pubsub_error e;
    struct slice list = member(request, "sizes"), r = member(request, "rate");
    if (!text("topic", &topic) || !text("prefix", &prefix) || !integer_of(member(request, "count"), &count) ||
        !list.n || *list.p != '[' || (r.n && (!number_of(r, &rate) || rate <= 0)) ||
        !span("timeout", true, 0, &ms) || !report_all(&all) || strlen(prefix) > 200 ||
        strspn(prefix, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-") != strlen(prefix))
        good = false;
    for (const char *p = good ? space(list.p + 1) : "]"; *p != ']' && good;) {
        const char *next = skip_value(p, list.n);
        good = n_sizes < sizeof sizes / sizeof *sizes &&
               integer_of((struct slice){p, (size_t)(next - p)}, &size) && size <= UINT32_MAX;
        if (good)
            sizes[n_sizes++] = size;
        biggest = size > biggest ? size : biggest;
        next = space(next);
        p = space(next + (*next == ','));
    }
    if (!good || !n_sizes) {
        bad_request("topic, prefix, count, sizes, rate, timeout, report");
        return;
    }
    char *content = need(malloc((size_t)biggest + strlen(prefix) + 32)), headers[300];
    int64_t first = 0, last = 0;
    uint64_t messages = 0, total = 0;
    for (uint64_t n = 0; n < (uint64_t)count && !stopped; n++) {
        size_t once = (size_t)sprintf(content, "%s:%" PRIu64 ":", prefix, n);
        size_t length = (size_t)sizes[n % n_sizes], took;
        for (size_t i = once; i < length; i++)
            content[i] = content[i - once];
        length = length > once ? length : once;
        sprintf(headers, "{\"publisher\": \"%s\", \"n\": %" PRIu64 "}", prefix, n);
        while (rate > 0 && n && !stopped) {
            double left = (double)n / rate * 1e9 - (double)(clock_ns() - first);
            if (left <= 0)
                break;
            wait_fd(-1, 0, to_int(left / 1e6));
        }
        int64_t start = clock_ns();
        enum pubsub_code code = pubsub_publish(topic, headers, content, length, to_int(ms), &took, &e);
        last = clock_ns();
        if (n == 0)
            first = start;
        if (code == PUBSUB_INVALID_TOPIC || code == PUBSUB_INVALID_HEADERS || code == PUBSUB_TOO_LARGE) {
            error_reply(&e, NULL);
            free(content);
            return;
        }
        if (!code) {
            messages++;
            total += took;
        }
        if (all) {
            begin();
            print(", \"event\": {\"n\": %" PRIu64 ", ", n);
            put_times(start, last);
            if (code)
                put_error(&e, &took);
            else
                print(", \"count\": %zu", took);
            put("}", 1);
            end();
        }
    }
    free(content);
    if (!first)
        first = last = clock_ns();
    begin();
    print(", \"done\": {\"messages\": %" PRIu64 ", \"count\": %" PRIu64 ", ", messages, total);
    put_times(first, last);
    put("}", 1);
    end();
}

static struct pubsub_channel **channels;
static size_t n_channels;

/* The place of the request's channel; answers itself if there is none (DRIVER-11). */
static struct pubsub_channel **channel_of_request(void)
{
    char *handle, *rest;
    if (!text("channel", &handle)) {
        bad_request("channel");
        return NULL;
    }
    if (*handle == 'c' && handle[1] >= '1' && handle[1] <= '9') {
        unsigned long i = strtoul(handle + 1, &rest, 10);
        if (!*rest && i <= n_channels && channels[i - 1])
            return &channels[i - 1];
    }
    plain_error("channel-closed", "no such channel is open");
    return NULL;
}

static void op_open(void)
{
    char *pattern;
    struct pubsub_channel *channel;
    struct pubsub_error e;
    if (!text("pattern", &pattern)) {
        bad_request("pattern");
    } else if (pubsub_open(pattern, &channel, &e)) {
        error_reply(&e, NULL);
    } else {
        channels = need(realloc(channels, (n_channels + 1) * sizeof *channels));
        channels[n_channels++] = channel;
        begin();
        print(", \"channel\": \"c%zu\", \"directory\": \"%s\"", n_channels, pubsub_channel_name(channel));
        end();
    }
}

static void op_fetch(void)
{
    struct pubsub_channel **channel = channel_of_request();
    struct pubsub_message *m;
    struct pubsub_error e;
    if (!channel)
        return;
    if (pubsub_fetch(*channel, &m, &e)) {
        error_reply(&e, NULL);
        return;
    }
    begin();
    print(", \"message\": ");
    if (m)
        put_message(m);
    else
        print("null");
    end();
    pubsub_message_free(m);
}

static void op_wait(void)
{
    double ms;
    bool ready;
    struct pubsub_error e;
    if (!span("timeout", false, 0, &ms)) {
        bad_request("timeout");
        return;
    }
    struct pubsub_channel **channel = channel_of_request();
    if (!channel)
        return;
    if (pubsub_wait(*channel, to_int(ms), &ready, &e)) {
        error_reply(&e, NULL);
        return;
    }
    begin();
    print(", \"ready\": %s", ready ? "true" : "false");
    end();
}

static unsigned long crc32(const unsigned char *p, size_t n)
{
    static unsigned long table[256];
    unsigned long crc = 0xffffffff;
    for (unsigned i = 0; !table[255] && i < 256; i++) {
        unsigned long c = i;
        for (int k = 0; k < 8; k++)
            c = c & 1 ? 0xedb88320 ^ c >> 1 : c >> 1;
        table[i] = c;
    }
    while (n--)
        crc = table[(crc ^ *p++) & 255] ^ crc >> 8;
    return crc ^ 0xffffffff;
}

static void op_consume(void)
{
    double count = HUGE_VAL, idle, deadline;
    bool all, ready;
    struct slice c = member(request, "count");
    if ((c.n && !integer_of(c, &count)) || !span("idle", true, HUGE_VAL, &idle) ||
        !span("deadline", true, HUGE_VAL, &deadline) || !report_all(&all)) {
        bad_request("count, idle, deadline, report");
        return;
    }
    struct pubsub_channel **channel = channel_of_request();
    if (!channel)
        return;
    int64_t began = clock_ns(), last = began;
    uint64_t messages = 0;
    while ((double)messages < count && (double)(clock_ns() - began) < deadline * 1e6 && !stopped) {
        struct pubsub_message *m;
        struct pubsub_error e;
        int64_t start = clock_ns();
        enum pubsub_code code = pubsub_fetch(*channel, &m, &e);
        int64_t stop = clock_ns();
        if (!code && !m) {
            double a = idle - (double)(stop - last) / 1e6, b = deadline - (double)(stop - began) / 1e6;
            if (a <= 0 || b <= 0)
                break;
            code = pubsub_wait(*channel, to_int(a < b ? a : b), &ready, &e);
            if (!code)
                continue;
        }
        if (code && code != PUBSUB_INVALID_MESSAGE && code != PUBSUB_DAMAGED_QUEUE) {
            error_reply(&e, NULL);
            return;
        }
        if (!code) {
            messages++;
            last = stop;
        }
        if (all) {
            begin();
            print(", \"event\": {");
            put_times(start, stop);
            if (code) {
                put_error(&e, NULL);
            } else {
                print(", \"topic\": \"%s\", \"headers\": ", m->topic);
                put_headers(m);
                print(", \"size\": %zu, \"crc\": %lu", m->content_size, crc32(m->content, m->content_size));
            }
            put("}", 1);
            end();
        }
        pubsub_message_free(m);
    }
    begin();
    print(", \"done\": {\"messages\": %" PRIu64 ", ", messages);
    put_times(began, clock_ns());
    put("}", 1);
    end();
}

static void op_close(void)
{
    struct pubsub_channel **channel = channel_of_request();
    struct pubsub_error e;
    if (!channel)
        return;
    if (pubsub_close(*channel, &e)) {
        error_reply(&e, NULL);
    } else {
        begin();
        end();
    }
    pubsub_channel_free(*channel);
    *channel = NULL;
}

static void op_reap(void)
{
    double ms;
    struct pubsub_error e;
    if (!span("stale_age", true, PUBSUB_STALE_MS, &ms)) {
        bad_request("stale_age");
        return;
    }
    long long stale = ms > 1e12 ? 1000000000000LL : (long long)ms;
    enum pubsub_code code = pubsub_reap(stale, &e);
    for (size_t i = 0; i < n_channels && !code; i++)
        if (channels[i])
            code = pubsub_sweep(channels[i], stale, &e);
    if (code) {
        error_reply(&e, NULL);
    } else {
        begin();
        end();
    }
}

static void answer(char *line, size_t size)
{
    static const struct { const char *name; void (*run)(void); } ops[] = {
        {"hello", op_hello}, {"match", op_match}, {"encode", op_encode}, {"decode", op_decode},
        {"publish", op_publish}, {"produce", op_produce}, {"open", op_open}, {"fetch", op_fetch},
        {"wait", op_wait}, {"consume", op_consume}, {"close", op_close}, {"reap", op_reap},
    };
    char *op;
    const char *p;
    seq = (struct slice){"null", 4};
    request = (struct slice){space(line), size};
    if (!is_utf8(line) || *request.p != '{' || !(p = skip_value(request.p, size + 1)) ||
        space(p) != line + size) {
        bad_request("no JSON object");
        return;
    }
    struct slice s = member(request, "seq");
    if (s.n && s.n == (size_t)(*s.p == '-') + strspn(s.p + (*s.p == '-'), "0123456789"))
        seq = s;
    if (seq.p != s.p || !text("op", &op)) {
        bad_request("seq, op");
        return;
    }
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (!strcmp(op, ops[i].name)) {
            ops[i].run();
            return;
        }
    plain_error("unknown-op", op);
}

int main(void)
{
    char *line;
    size_t size;
    if (pipe(stop_pipe))
        need(NULL);
    sigaction(SIGTERM, &(struct sigaction){.sa_handler = on_term}, NULL);
    while ((line = read_line(&size))) {
        answer(line, size);
        while (n_strings)
            free(strings[--n_strings]);
    }
    for (size_t i = 0; i < n_channels; i++)         /* DRIVER-6 */
        pubsub_channel_free(channels[i]);
    free(channels);
    free(out.p);
    return 0;
}
