/* pubsub.c - publish/subscribe on the file system, version 1; see pubsub.h
 *
 * In order: errors, fresh names and ids, topics, headers, the message file, the base directory,
 * removing, reaping, publishing, channels.  Ids such as PUB-7 are those of the specification.
 *
 * Everything in the base is reached through a descriptor of the base that was judged after it
 * was opened, by names relative to it: nobody can slip in another base between look and use.
 * What is in tmp, and in one's own channel, is reached through descriptors of these directories,
 * opened without following links: whoever may write into the base can put a link in their place at
 * any time, and it leads nowhere (BASE-15).
 */
#define _XOPEN_SOURCE 700          /* POSIX.1-2008, and the sticky bit, which is XSI */
#define _FILE_OFFSET_BITS 64
#ifdef __APPLE__
#define _DARWIN_C_SOURCE
#endif

#include "pubsub.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef PATH_MAX
#define PATH_MAX 4096
#endif
#ifdef __APPLE__
#define CTIM st_ctimespec
#define MTIM st_mtimespec
#else
#define CTIM st_ctim
#define MTIM st_mtim
#endif

enum {
    TRIES = 100,            /* how often anything is started again */
    FRESH = 12,             /* characters with 71 random bits */
    ENTRY = 280,            /* room for "<channel>/<id>" and "tmp/<anything>" */
    LOOK_MS = 500,          /* FETCH-14: at least once a second */
    ROOM_MS = 20            /* PUB-19: a full queue is tried again at least so often */
};

/* ---- errors ------------------------------------------------------------------------------- */

#ifdef __GNUC__
__attribute__((format(printf, 4, 5)))
#endif
static enum pubsub_code fail(struct pubsub_error *e, enum pubsub_code code, int errnum,
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

static const char *reason(int errnum, char text[128])
{
    if (strerror_r(errnum, text, 128))
        snprintf(text, 128, "error %d", errnum);
    return text;
}

static enum pubsub_code io_fail(struct pubsub_error *e, int errnum, const char *what)
{
    char text[128];
    return fail(e, PUBSUB_IO_ERROR, errnum, "%s: %s", what, reason(errnum, text));
}

const char *pubsub_code_name(enum pubsub_code code)
{
    static const char *const names[] = {
        "ok", "invalid-topic", "invalid-pattern", "invalid-headers", "too-large", "invalid-message",
        "damaged-queue", "base-unusable", "channel-lost", "io-error", "channel-closed",
    };
    return (unsigned)code < sizeof names / sizeof *names ? names[code] : "unknown";
}

/* ---- memory and descriptors ----------------------------------------------------------------- */

/* The list with room for one more behind the n that it has, or NULL, with the list as it was. */
static void *grown(void *list, size_t n, size_t size)
{
    return n & (n - 1) ? list : realloc(list, (n ? 2 * n : 1) * size);
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* ---- time ----------------------------------------------------------------------------------- */

static atomic_int interrupted;

void pubsub_interrupt(void)
{
    atomic_store(&interrupted, 1);
}

static struct timespec now(clockid_t clock)
{
    struct timespec t = {0, 0};
    clock_gettime(clock, &t);
    return t;
}

/* Deadlines are monotonic (FETCH-15), in ns; INT64_MAX is never. */
static int64_t deadline_in(int ms)
{
    struct timespec t = now(CLOCK_MONOTONIC);
    return ms < 0 ? INT64_MAX : t.tv_sec * INT64_C(1000000000) + t.tv_nsec + ms * INT64_C(1000000);
}

/* Milliseconds until the deadline, rounded up, at most `most`. */
static int left_until(int64_t deadline, int most)
{
    int64_t ns = deadline - deadline_in(0);
    if (atomic_load(&interrupted) || ns <= 0)
        return 0;
    return ns / 1000000 >= most ? most : (int)((ns + 999999) / 1000000);
}

/* "Stale" is older than the stale age.  A time in the future is not old. */
static bool older(struct timespec t, long long ms)
{
    struct timespec n = now(CLOCK_REALTIME);
    ms = ms < 8000000000000 ? ms : 8000000000000;
    long long seconds = (long long)n.tv_sec - t.tv_sec, ns = n.tv_nsec - t.tv_nsec;
    return seconds > ms / 1000 + 1 ||
           (seconds >= 0 && seconds * 1000000000 + ns > ms * 1000000);
}

/* ---- fresh names and ids -------------------------------------------------------------------- */

static pthread_mutex_t fresh_lock = PTHREAD_MUTEX_INITIALIZER;

/* Random octets from a pool that is filled anew in a forked child.  With fresh_lock held. */
static int random_octets(unsigned char *out, size_t n)
{
    static unsigned char pool[512];
    static size_t left;
    static pid_t owner;
    for (; n; n--) {
        if (!left || owner != getpid()) {
            int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
            if (fd < 0)
                return -1;
            ssize_t got = read(fd, pool, sizeof pool);
            int err = errno;
            close(fd);
            if (got <= 0) {
                errno = got ? err : EIO;
                return -1;
            }
            left = (size_t)got;
            owner = getpid();
        }
        *out++ = pool[--left];
    }
    return 0;
}

/* Appends a fresh name to the string in `name`. */
static int fresh_name(char *name)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    char *p = name + strlen(name);
    int rc = 0;
    pthread_mutex_lock(&fresh_lock);
    for (int i = 0; i < FRESH && !rc;) {
        unsigned char octet;
        rc = random_octets(&octet, 1);
        if (!rc && octet < 4 * 62)          /* no letter more likely than another */
            p[i++] = letters[octet % 62];
    }
    pthread_mutex_unlock(&fresh_lock);
    p[FRESH] = 0;
    return rc;
}

static uint64_t microseconds(void)
{
    struct timespec t = now(CLOCK_REALTIME);
    return t.tv_sec < 0 ? 0 : (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* Rises within the process (PUB-2), and is at least 2^56 (PUB-1) where a clock says 1970, too. */
static int fresh_id(uint64_t *id)
{
    static uint64_t last = UINT64_C(1) << 46;
    unsigned char bits[2];
    pthread_mutex_lock(&fresh_lock);
    int rc = random_octets(bits, 2);
    if (!rc) {
        uint64_t time = microseconds();
        last = time > last ? time : last + 1;
        *id = last << 10 | ((bits[0] << 8 | bits[1]) & 1023);
    }
    pthread_mutex_unlock(&fresh_lock);
    return rc;
}

/* ---- topics ----------------------------------------------------------------------------------- */

static bool is_alnum(char c)            /* isalnum() asks the locale */
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* Whether the octets are a topic (TOPIC-1) or, with wildcards, a pattern (TOPIC-2). */
static bool is_words(const char *s, size_t size, bool wildcards)
{
    if (size < 1 || size > PUBSUB_TOPIC_MAX)
        return false;
    for (size_t start = 0, i = 0; i <= size; i++) {
        if (i == size || s[i] == '.') {
            if (i == start)
                return false;
            start = i + 1;
        } else if (s[i] == '=' || s[i] == '+') {
            bool whole = i == start && (i + 1 == size || s[i + 1] == '.');
            if (!wildcards || !whole)
                return false;
        } else if (!is_alnum(s[i]) && s[i] != '-') {
            return false;
        }
    }
    return true;
}

/* Both are valid.  reached[j]: the first j terms account for the words up to here.  One row of the
   table is enough, so this takes at most 100 times 100 steps (TOPIC-7). */
static bool matches(const char *pattern, const char *topic)
{
    const char *term[PUBSUB_TOPIC_MAX / 2 + 1];
    bool reached[PUBSUB_TOPIC_MAX / 2 + 2] = {true};
    size_t terms = 0;
    for (const char *p = pattern; *p; p += *p == '.') {
        term[terms++] = p;
        p += strcspn(p, ".");
    }
    for (const char *word = topic; *word; word += *word == '.') {
        size_t size = strcspn(word, ".");
        for (size_t j = terms; j > 0; j--) {
            const char *t = term[j - 1];
            bool fits = *t == '=' || *t == '+' ||
                        (strcspn(t, ".") == size && !memcmp(t, word, size));
            reached[j] = (reached[j - 1] && fits) || (reached[j] && *t == '+');
        }
        reached[0] = false;
        word += size;
    }
    return reached[terms];
}

static enum pubsub_code check_topic(const char *topic, struct pubsub_error *e)
{
    return is_words(topic, strlen(topic), false) ? PUBSUB_OK
        : fail(e, PUBSUB_INVALID_TOPIC, 0, "not a topic: \"%.60s\"", topic);
}

static enum pubsub_code check_pattern(const char *pattern, struct pubsub_error *e)
{
    return is_words(pattern, strlen(pattern), true) ? PUBSUB_OK
        : fail(e, PUBSUB_INVALID_PATTERN, 0, "not a pattern: \"%.60s\"", pattern);
}

enum pubsub_code pubsub_match(const char *pattern, const char *topic, bool *result,
                              struct pubsub_error *e)
{
    enum pubsub_code code = check_pattern(pattern, e);
    if (!code)
        code = check_topic(topic, e);
    if (!code)
        *result = matches(pattern, topic);
    return code;
}

/* ---- headers ---------------------------------------------------------------------------------- */

/* A strict parser for one flat object.  The text ends with NUL, which no rule accepts, so that it
   needs no other guard.  A value that is a list or an object is refused at its first octet: there
   is no depth (MSG-12). */

static const char *skip_space(const char *p)
{
    return p + strspn(p, " \t\n\r");
}

/* The length of the UTF-8 sequence at p, 0 if it is none: shortest form, no surrogates (MSG-11). */
static size_t utf8_size(const char *text)
{
    const unsigned char *p = (const unsigned char *)text;
    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xc2 || p[0] > 0xf4 || p[1] < 0x80 || p[1] > 0xbf)
        return 0;
    if (p[0] < 0xe0)
        return 2;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f) ||
        p[2] < 0x80 || p[2] > 0xbf)
        return 0;
    if (p[0] < 0xf0)
        return 3;
    return p[3] < 0x80 || p[3] > 0xbf ? 0 : 4;
}

static long hex4(const char *p)
{
    long value = 0;
    for (int i = 0; i < 4; i++) {
        const char *digits = "0123456789abcdef0123456789ABCDEF";
        const char *d = p[i] ? strchr(digits, p[i]) : NULL;
        if (!d)
            return -1;
        value = value * 16 + (d - digits) % 16;
    }
    return value;
}

/* One character of a string: what follows it, or NULL; its UTF-8 and the size of that. */
static const char *scan_char(const char *p, char out[4], size_t *size)
{
    static const char escapes[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    if ((unsigned char)*p < 0x20)
        return NULL;
    if (*p != '\\') {
        *size = utf8_size(p);
        memcpy(out, p, *size);
        return *size ? p + *size : NULL;
    }
    if (p[1] != 'u') {
        const char *escape = p[1] ? strchr(escapes, p[1]) : NULL;
        if (!escape)
            return NULL;
        out[0] = meanings[escape - escapes];
        *size = 1;
        return p + 2;
    }
    long c = hex4(p + 2);
    p += 6;
    if (c < 0 || (c >= 0xdc00 && c <= 0xdfff))
        return NULL;
    if (c >= 0xd800 && c <= 0xdbff) {
        long low = p[0] == '\\' && p[1] == 'u' ? hex4(p + 2) : -1;
        if (low < 0xdc00 || low > 0xdfff)
            return NULL;
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        p += 6;
    }
    *size = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = *size; i-- > 1; c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(*size == 1 ? c : (0xf0 << (4 - *size)) | c);
    return p;
}

/* A string after its quote: what follows its closing quote, or NULL. */
static const char *scan_string(const char *p)
{
    char out[4];
    size_t size;
    while (p && *p != '"')
        p = scan_char(p, out, &size);
    return p ? p + 1 : NULL;
}

/* Whether 0.d1d2d3... times 10^exponent, d1 not 0, becomes infinite when it is rounded to the
   nearest double: if it is not below 2^1024 - 2^970, which has 309 digits.  The digits may have a
   point among them.  Not strtod(): that listens to the locale. */
static bool is_infinite(const char *digits, size_t size, long long exponent)
{
    static const char limit[] =
        "17976931348623158079372897140530341507993413271003782693617377"
        "89804449682927647509466490179775872070963302864166928879109465"
        "55547851940402630657488671505820681908902000708383676273854845"
        "81771153176447573027006985557136695962284291481986083493647529"
        "2719074168444365510704342711559699508093042880177904174497792";
    if (exponent != 309)
        return exponent > 309;
    size_t i = 0;
    for (const char *d = digits; d < digits + size && i < sizeof limit - 1; d++)
        if (*d != '.') {
            if (*d != limit[i])
                return *d > limit[i];
            i++;
        }
    return i == sizeof limit - 1;           /* fewer digits: zeros follow, and the limit has more */
}

/* A number (MSG-10): what follows it, or NULL. */
static const char *scan_number(const char *p)
{
    p += *p == '-';
    const char *start = p;
    size_t whole = strspn(p, "0123456789"), fraction = 0;
    long long exponent = 0;
    if (!whole || (*p == '0' && whole > 1))
        return NULL;
    p += whole;
    if (*p != '.' && *p != 'e' && *p != 'E') {
        const char *most = "9007199254740991";              /* 2^53 - 1 */
        return whole < 16 || (whole == 16 && memcmp(start, most, 16) <= 0) ? p : NULL;
    }
    if (*p == '.') {
        fraction = strspn(++p, "0123456789");
        if (!fraction)
            return NULL;
        p += fraction;
    }
    const char *end = p;
    if (*p == 'e' || *p == 'E') {
        bool negative = p[1] == '-';
        p += p[1] == '-' || p[1] == '+' ? 2 : 1;
        if (*p < '0' || *p > '9')
            return NULL;
        for (; *p >= '0' && *p <= '9'; p++)
            if (exponent < 1000000000000)   /* beyond what 2^32 digits can make up for */
                exponent = exponent * 10 + (*p - '0');
        if (negative)
            exponent = -exponent;
    }
    size_t zeros = strspn(start, "0.");
    if (start + zeros >= end)
        return p;                           /* zero, whatever its exponent */
    exponent += *start != '0' ? (long long)whole : -(long long)(zeros - 2);
    return is_infinite(start + zeros, (size_t)(end - start) - zeros, exponent) ? NULL : p;
}

/* One member of the object, with the space around it: what follows, or NULL. */
static const char *scan_member(const char *p, struct pubsub_header *h)
{
    p = skip_space(p);
    if (*p != '"')
        return NULL;
    h->key = p + 1;
    if (!(p = scan_string(p + 1)))
        return NULL;
    h->key_size = (size_t)(p - 1 - h->key);
    p = skip_space(p);
    if (*p != ':')
        return NULL;
    p = skip_space(p + 1);
    h->value = p;
    if (*p == '"') {
        h->type = PUBSUB_STRING;
        h->value++;
        p = scan_string(p + 1);
    } else if (!strncmp(p, "true", 4)) {
        h->type = PUBSUB_TRUE;
        p += 4;
    } else if (!strncmp(p, "false", 5)) {
        h->type = PUBSUB_FALSE;
        p += 5;
    } else if (!strncmp(p, "null", 4)) {
        h->type = PUBSUB_NULL;
        p += 4;
    } else {
        h->type = PUBSUB_NUMBER;
        p = scan_number(p);
    }
    if (!p)
        return NULL;
    h->value_size = (size_t)(p - h->value) - (h->type == PUBSUB_STRING);
    return skip_space(p);
}

size_t pubsub_unescape(const char *raw, size_t raw_size, char *out)
{
    size_t n = 0, size;
    char c[4];
    for (const char *p = raw; p && p < raw + raw_size;)
        if ((p = scan_char(p, c, &size))) {
            memcpy(out + n, c, size);
            n += size;
        }
    return n;
}

struct key {
    const char *octets;
    size_t size;
};

static int compare_keys(const void *a, const void *b)
{
    const struct key *x = a, *y = b;
    return x->size != y->size ? (x->size < y->size ? -1 : 1) : memcmp(x->octets, y->octets, x->size);
}

/* MSG-7 to MSG-11, text[size] being NUL: 0, or EINVAL, or ENOMEM.  Duplicate keys are found by
   sorting, so that a million of them take no quadratic time. */
static int check_headers(const char *text, size_t size)
{
    struct pubsub_header h;
    struct key *keys = NULL;
    char *arena = NULL;
    size_t n = 0, used = 0;
    int err = EINVAL;
    const char *p = skip_space(text);
    if (*p != '{')
        return EINVAL;
    if (*skip_space(p + 1) == '}')
        return skip_space(skip_space(p + 1) + 1) == text + size ? 0 : EINVAL;
    if (!(arena = malloc(size)))
        return ENOMEM;
    do {
        if (!(p = scan_member(p + 1, &h)) || (*p != ',' && *p != '}'))
            goto out;
        struct key *more = grown(keys, n, sizeof *keys);
        if (!more) {
            err = ENOMEM;
            goto out;
        }
        keys = more;
        keys[n].octets = arena + used;
        used += keys[n].size = pubsub_unescape(h.key, h.key_size, arena + used);
        n++;
    } while (*p == ',');
    if (skip_space(p + 1) != text + size)
        goto out;
    qsort(keys, n, sizeof *keys, compare_keys);
    err = 0;
    for (size_t i = 1; i < n && !err; i++)
        if (!compare_keys(&keys[i - 1], &keys[i]))
            err = EINVAL;
out:
    free(keys);
    free(arena);
    return err;
}

bool pubsub_header_next(const char **cursor, struct pubsub_header *header)
{
    const char *p = skip_space(*cursor);
    if ((*p != '{' && *p != ',') || !(p = scan_member(p + 1, header)))
        return false;
    *cursor = p;
    return true;
}

bool pubsub_header_find(const char *headers, const char *key, struct pubsub_header *header)
{
    size_t size = strlen(key);
    while (pubsub_header_next(&headers, header)) {
        size_t at = 0, n = 0;
        char c[4];
        const char *p = header->key, *end = p + header->key_size;
        while (p < end && (p = scan_char(p, c, &n)) && n <= size - at && !memcmp(key + at, c, n))
            at += n, n = 0;
        if (p == end && !n && at == size)
            return true;
    }
    return false;
}

/* ---- the message file --------------------------------------------------------------------------- */

enum { FIXED = 25, LEAST = 33 };        /* octets before the topic; of a whole file without fields */

static void put(unsigned char *p, uint64_t value, int octets)
{
    while (octets--) {
        p[octets] = (unsigned char)value;
        value >>= 8;
    }
}

static uint64_t get(const void *octets_at, int octets)
{
    const unsigned char *p = octets_at;
    uint64_t value = 0;
    while (octets--)
        value = value << 8 | *p++;
    return value;
}

enum pubsub_code pubsub_encode(const struct pubsub_message *m, unsigned char **octets, size_t *size,
                               struct pubsub_error *e)
{
    const char *headers = m->headers ? m->headers : "";
    size_t t = strlen(m->topic), h = strlen(headers), c = m->content_size;
    enum pubsub_code code = check_topic(m->topic, e);
    if (code)
        return code;
    if (h > UINT32_MAX || c > UINT32_MAX)                                       /* MSG-16 */
        return fail(e, PUBSUB_TOO_LARGE, 0, "headers or content exceed 2^32 - 1 octets");
    int err = h ? check_headers(headers, h) : 0;                                /* MSG-15 */
    if (err == EINVAL)
        return fail(e, PUBSUB_INVALID_HEADERS, 0,
                    "headers are not a JSON object of strings, numbers, booleans and nulls");
    if (!m->id)
        return fail(e, PUBSUB_INVALID_MESSAGE, 0, "an id is not 0");            /* MSG-4 */
    unsigned char *p = NULL;
    if (err || LEAST + t + h < h || LEAST + t + h + c < c || !(p = malloc(LEAST + t + h + c)))
        return io_fail(e, ENOMEM, "encoding");
    *octets = p;
    *size = LEAST + t + h + c;
    memcpy(p, "PMSG\1", 5);
    put(p + 5, m->id, 8);
    put(p + 13, m->timestamp, 8);
    put(p + 21, t, 4);
    memcpy(p += FIXED, m->topic, t);
    put(p += t, h, 4);
    memcpy(p += 4, headers, h);
    put(p += h, c, 4);
    if (c)
        memcpy(p + 4, m->content, c);
    return PUBSUB_OK;
}

/* Takes the file apart that stands behind *m; its fields point into it.  Each length is held
   against what is left (MSG-13), and makes room for the NUL of the field before it once it was
   read.  0, or EBADMSG with *why, or ENOMEM. */
static int parse(struct pubsub_message *m, size_t size, const char **why)
{
    char *p = (char *)(m + 1);
    *why = "it ends too early";
    if (size < LEAST)
        return EBADMSG;
    *why = "magic or version";
    if (memcmp(p, "PMSG\1", 5))
        return EBADMSG;
    m->id = get(p + 5, 8);
    *why = "its id is 0";
    if (!m->id)
        return EBADMSG;
    m->timestamp = get(p + 13, 8);
    size_t left = size - LEAST, t = get(p + 21, 4);
    *why = "the length of its topic";
    if (t > left)
        return EBADMSG;
    left -= t;
    m->topic = p += FIXED;
    m->headers_size = get(p += t, 4);
    *p = 0;
    *why = "the length of its headers";
    if (m->headers_size > left)
        return EBADMSG;
    left -= m->headers_size;
    m->headers = p += 4;
    m->content_size = get(p += m->headers_size, 4);
    *p = 0;
    *why = "the length of its content";
    if (m->content_size != left)                                                /* MSG-14 */
        return EBADMSG;
    m->content = p + 4;
    *why = "its topic";
    if (!is_words(m->topic, t, false))
        return EBADMSG;
    if (!m->headers_size) {
        m->headers = "{}";                                                      /* MSG-7 */
        m->headers_size = 2;
        return 0;
    }
    *why = "its headers";
    int err = check_headers(m->headers, m->headers_size);
    return err == EINVAL ? EBADMSG : err;
}

enum pubsub_code pubsub_decode(const unsigned char *octets, size_t size,
                               struct pubsub_message **message, struct pubsub_error *e)
{
    struct pubsub_message *m = malloc(sizeof *m + size);
    const char *why;
    if (!m)
        return io_fail(e, ENOMEM, "decoding");
    memcpy(m + 1, octets, size);
    int err = parse(m, size, &why);
    if (!err) {
        *message = m;
        return PUBSUB_OK;
    }
    free(m);
    return err == EBADMSG ? fail(e, PUBSUB_INVALID_MESSAGE, 0, "not a message: %s", why)
                          : io_fail(e, err, "decoding");
}

void pubsub_message_free(struct pubsub_message *message)
{
    free(message);
}

/* ---- the base directory --------------------------------------------------------------------------- */

struct base {
    int fd;                     /* -1: it is not there */
    mode_t share;               /* its bits for group and others if one of them may write, else 0 */
    char path[PATH_MAX];
};

/* BASE-9: whatever the umask.  What the kernel passed on, the set-group-id bit, stays: without it
   what is staged in tmp would not belong to the group of a shared base. */
static int set_mode(int fd, mode_t mode)
{
    struct stat st;
    if (fstat(fd, &st))
        return -1;
    return (st.st_mode & 0777) == mode ? 0
        : fchmod(fd, (st.st_mode & (S_ISUID | S_ISGID | S_ISVTX)) | mode);
}

static int open_place(int at, const char *name)
{
    return openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* BASE-1, BASE-2.  Returns whether the base is explicit, or -1 if the path is too long. */
static int base_path(char path[PATH_MAX])
{
    const char *home = getenv("PUBSUB_HOME"), *tmpdir = getenv("TMPDIR");
    bool is_explicit = home && *home;
    struct stat st;
    int n;
    if (is_explicit)
        n = snprintf(path, PATH_MAX, "%s", home);
    else if (!stat("/dev/shm", &st) && S_ISDIR(st.st_mode))
        n = snprintf(path, PATH_MAX, "/dev/shm/pubsub");
    else
        n = snprintf(path, PATH_MAX, "%s/pubsub", tmpdir && *tmpdir ? tmpdir : "/tmp");
    for (size_t i = n < PATH_MAX ? (size_t)n : 0; i > 1 && path[i - 1] == '/'; i--)
        path[i - 1] = 0;
    return n >= PATH_MAX ? -1 : is_explicit;
}

static int base_make(char *path)                                                /* BASE-3 */
{
    for (char *p = path + 1; *p; p++)
        if (*p == '/') {
            *p = 0;
            mkdir(path, 0777);              /* whether it helped the last one tells */
            *p = '/';
        }
    return mkdir(path, 0700) && errno != EEXIST ? -1 : 0;
}

static enum pubsub_code unusable(struct pubsub_error *e, const struct base *b, const char *what)
{
    return fail(e, PUBSUB_BASE_UNUSABLE, 0,                                     /* BASE-6 */
                "%.200s %s; set PUBSUB_HOME to another directory", b->path, what);
}

/* What a busy system says, and not the base. */
static bool is_passing(int err)
{
    return err == EMFILE || err == ENFILE || err == ENOMEM || err == EIO;
}

/* Opens the base and judges what was opened.  If it is not there: makes it, or b->fd = -1. */
static enum pubsub_code base_open(struct base *b, bool make, struct pubsub_error *e)
{
    struct stat st = {0};
    int is_explicit = base_path(b->path), tries = TRIES;
    b->fd = -1;
    if (is_explicit < 0)
        return unusable(e, b, "has too long a path");
    do
        b->fd = open(b->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (is_explicit ? 0 : O_NOFOLLOW));
    while (b->fd < 0 && (errno == EINTR ||
                         (errno == ENOENT && make && tries-- && !base_make(b->path))));
    if (b->fd < 0) {
        char text[128], what[160];
        int err = errno;
        if (err == ENOENT && lstat(b->path, &st) && !make)
            return PUBSUB_OK;
        if (is_passing(err))
            return io_fail(e, err, b->path);
        if (err == ENOTDIR || err == ELOOP || (err == ENOENT && S_ISLNK(st.st_mode)))
            return unusable(e, b, is_explicit ? "is not a directory"
                                              : "is not a directory or is a symbolic link");
        snprintf(what, sizeof what, "cannot be made or opened: %s", reason(err, text));
        return unusable(e, b, what);
    }
    const char *wrong = NULL;
    if (fstat(b->fd, &st))
        wrong = "cannot be looked at";
    else if (!is_explicit && st.st_uid != geteuid() && st.st_uid != 0)          /* BASE-4 */
        wrong = "belongs to another user";
    else if (st.st_mode & (is_explicit ? 002 : 022) && !(st.st_mode & S_ISVTX)) /* BASE-5 */
        wrong = "may be written to by others and has no sticky bit";
    if (wrong) {
        close_fd(&b->fd);
        return unusable(e, b, wrong);
    }
    b->share = st.st_mode & 022 ? st.st_mode & 077 : 0;
    return PUBSUB_OK;
}

/* Opens tmp, and makes it if need be.  Else -1; ENOENT: the base is gone. */
static int open_tmp(const struct base *b)
{
    struct stat st;
    bool made = false;
    for (int i = 0; i < TRIES; i++) {
        int tmp = open_place(b->fd, "tmp"), err = errno;
        if (tmp >= 0) {
            if (!made || !set_mode(tmp, 0700 | b->share))
                return tmp;
            close_fd(&tmp);
            return -1;
        }
        if (err != ENOENT) {            /* of a link, systems say different things */
            bool other = !fstatat(b->fd, "tmp", &st, AT_SYMLINK_NOFOLLOW) && !S_ISDIR(st.st_mode);
            errno = other ? ENOTDIR : err;                                      /* BASE-12 */
            return -1;
        }
        made = !mkdirat(b->fd, "tmp", 0700);                                    /* BASE-11 */
        if (!made && errno != EEXIST)
            return -1;
    }
    return -1;
}

static enum pubsub_code tmp_fail(const struct base *b, int err, struct pubsub_error *e)
{
    if (err == ENOTDIR)
        return unusable(e, b, "holds a tmp that is not a directory");
    if (err == ENOENT || is_passing(err))
        return io_fail(e, err, "tmp");
    return unusable(e, b, "has a tmp that cannot be made or looked at");
}

static DIR *open_dir(int at, const char *name)
{
    int fd = open_place(at, name);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (fd >= 0 && !dir) {
        int err = errno;
        close(fd);
        errno = err;
    }
    return dir;
}

static const char *next_name(DIR *dir)
{
    struct dirent *d;
    do
        d = readdir(dir);
    while (d && (!strcmp(d->d_name, ".") || !strcmp(d->d_name, "..")));
    return d ? d->d_name : NULL;
}

/* Takes a name apart by the grammar of channel names. */
static bool parse_channel(const char *name, char pattern[PUBSUB_TOPIC_MAX + 1], long long *pid)
{
    size_t size = strcspn(name, "_");
    const char *p = name + size;
    if (!*p++ || !is_words(name, size, true))
        return false;
    for (int i = 0; i < FRESH; i++)
        if (!is_alnum(*p++))
            return false;
    if (*p++ != '_' || *p < '1' || *p > '9' || strspn(p, "0123456789") != strlen(p) || strlen(p) > 10)
        return false;
    memcpy(pattern, name, size);
    pattern[size] = 0;
    *pid = strtoll(p, NULL, 10);
    return true;
}

static bool is_message_name(const char *name)
{
    size_t size = strspn(name, "0123456789");
    return *name != '0' && size && !name[size] &&
           (size < 20 || (size == 20 && strcmp(name, "18446744073709551615") <= 0));
}

/* ---- removing ----------------------------------------------------------------------------------------- */

/* Removes an entry of the directory `top`.  The directories in a directory are not descended into
   but moved up into top, for the next round: any depth needs two descriptors and no stack. */
static int remove_entry(int top, const char *name, bool *progress)
{
    struct stat st;
    if (fstatat(top, name, &st, AT_SYMLINK_NOFOLLOW))                           /* CHAN-15 */
        return errno == ENOENT ? 0 : -1;
    int flag = S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0;
    if (!unlinkat(top, name, flag) || errno == ENOENT) {
        *progress = true;
        return 0;
    }
    if (!flag)
        return -1;
    DIR *dir = open_dir(top, name);
    if (!dir && errno == EACCES && !fchmodat(top, name, 0700, AT_SYMLINK_NOFOLLOW))
        dir = open_dir(top, name);
    if (!dir)
        return -1;
    for (const char *child; (child = next_name(dir));) {
        char up[ENTRY] = "up-";
        if (fstatat(dirfd(dir), child, &st, AT_SYMLINK_NOFOLLOW))
            continue;
        if (S_ISDIR(st.st_mode) ? !fresh_name(up) && !renameat(dirfd(dir), child, top, up)
                                : !unlinkat(dirfd(dir), child, 0))
            *progress = true;
    }
    closedir(dir);
    if (unlinkat(top, name, AT_REMOVEDIR))
        return -1;
    *progress = true;
    return 0;
}

/* Steps 3 and 4 of closing.  Goes on while late links arrive (CHAN-17), not where something
   refuses to go. */
static int remove_tree(int at, const char *name)
{
    for (int idle = 0; idle < TRIES; idle++) {
        int refused = 0;
        bool progress = false;
        DIR *dir = open_dir(at, name);
        if (!dir)
            return errno == ENOENT ? 0 : -1;
        for (const char *entry; errno = 0, (entry = next_name(dir));)
            if (remove_entry(dirfd(dir), entry, &progress))
                refused = errno;
        if (errno)                          /* of the listing */
            refused = errno;
        closedir(dir);
        if (!unlinkat(at, name, AT_REMOVEDIR) || errno == ENOENT)
            return 0;
        if (errno != ENOTEMPTY && errno != EEXIST)
            return -1;
        if (progress)
            idle = 0;
        else if (refused) {
            errno = refused;
            return -1;
        }
    }
    return -1;
}

/* CHAN-16, REAP-12: renames a directory of the base to a fresh name in tmp, of which it returns a
   descriptor, or -1.  ENOENT: somebody was faster, which is told apart from a missing tmp. */
static int claim(const struct base *b, const char *from, char to[ENTRY])
{
    struct stat st;
    for (int i = 0; i < TRIES; i++) {
        int tmp = open_tmp(b);
        if (tmp < 0)
            return -1;
        strcpy(to, "old-");                 /* not a name that a message file could have */
        int err = fresh_name(to) || renameat(b->fd, from, tmp, to) ? errno : 0;
        if (!err)
            return tmp;
        close(tmp);
        errno = err;
        if (err == ENOENT && fstatat(b->fd, from, &st, AT_SYMLINK_NOFOLLOW))
            return -1;
        if (err != ENOENT && err != EEXIST && err != ENOTEMPTY)
            return -1;
    }
    return -1;
}

/* ---- reaping ------------------------------------------------------------------------------------------- */

enum life { ALIVE, DEAD, NO_QUEUE, NO_FIFO, UNKNOWN };

/* CHAN-9: opening the queue of a directory for writing tells whether it has a reader.
   ALIVE: *fd is open, and in all but NO_QUEUE and UNKNOWN *st is the queue's; UNKNOWN: see errno. */
static enum life open_queue(int at, const char *dir, int *fd, struct stat *st)
{
    char queue[ENTRY + 8];
    snprintf(queue, sizeof queue, "%s/queue", dir);
    *fd = openat(at, queue, O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
    int err = *fd < 0 ? errno : 0;
    if (err == ENOENT)
        return NO_QUEUE;
    /* What the error is for a thing that is no FIFO depends on the system; looking does not. */
    bool seen = !(*fd < 0 ? fstatat(at, queue, st, AT_SYMLINK_NOFOLLOW) : fstat(*fd, st));
    int unseen = seen ? 0 : errno;
    if (seen && S_ISFIFO(st->st_mode) && !err)
        return ALIVE;
    close_fd(fd);
    if (seen && !S_ISFIFO(st->st_mode))
        return NO_FIFO;
    errno = err ? err : unseen;
    return seen && err == ENXIO ? DEAD : UNKNOWN;
}

static enum life probe(int at, const char *dir, struct stat *st)
{
    int fd;
    enum life life = open_queue(at, dir, &fd, st);
    close_fd(&fd);
    return life;
}

static bool runs(long long pid)
{
    if ((long long)(pid_t)pid != pid || (pid_t)pid <= 0)
        return false;               /* ten digits: more than a pid_t holds */
    return !kill((pid_t)pid, 0) || errno != ESRCH;
}

/* What was claimed, back under the name that it had if it has a reader after all. */
static void bury(int tmp, const char *grave, int at, const char *name)
{
    struct stat st;
    enum life life = probe(tmp, grave, &st);
    if (life == ALIVE || life == UNKNOWN)
        renameat(tmp, grave, at, name);                                         /* REAP-13 */
    else
        remove_tree(tmp, grave);
}

static void reap_channel(const struct base *b, const char *name, long long stale)
{
    char pattern[PUBSUB_TOPIC_MAX + 1], grave[ENTRY];
    struct stat dir, queue;
    long long pid;
    int tmp;
    if (!parse_channel(name, pattern, &pid) ||
        fstatat(b->fd, name, &dir, AT_SYMLINK_NOFOLLOW) || !S_ISDIR(dir.st_mode))
        return;                                                                 /* BASE-10 */
    enum life life = probe(b->fd, name, &queue);
    bool stale_queue = life == DEAD && older(queue.CTIM, stale) && older(queue.MTIM, stale);
    if (((life == DEAD && (stale_queue || !runs(pid))) ||                       /* REAP-3 to REAP-5 */
         (life == NO_QUEUE && older(dir.CTIM, stale) && !runs(pid))) &&         /* REAP-6 */
        (tmp = claim(b, name, grave)) >= 0) {                                   /* REAP-11, REAP-14 */
        bury(tmp, grave, b->fd, name);
        close(tmp);
    }
}

static void reap_staged(int tmp, const char *name, long long stale)
{
    char grave[ENTRY] = "old-";
    struct stat st, queue;
    if (fstatat(tmp, name, &st, AT_SYMLINK_NOFOLLOW) || !older(st.CTIM, stale))
        return;                                                                 /* REAP-8, REAP-10 */
    if (!S_ISDIR(st.st_mode)) {
        unlinkat(tmp, name, 0);                                                 /* REAP-7 */
        return;
    }
    enum life life = probe(tmp, name, &queue);
    if (life != ALIVE && life != UNKNOWN && !fresh_name(grave) &&
        !renameat(tmp, name, tmp, grave))
        bury(tmp, grave, tmp, name);                                            /* REAP-9 */
}

static enum pubsub_code reap_base(const struct base *b, long long stale, struct pubsub_error *e)
{
    const char *name;
    struct stat st;
    if (!fstatat(b->fd, "tmp", &st, AT_SYMLINK_NOFOLLOW) && !S_ISDIR(st.st_mode))
        return tmp_fail(b, ENOTDIR, e);
    DIR *dir = open_dir(b->fd, ".");
    if (!dir)
        return io_fail(e, errno, b->path);
    while ((name = next_name(dir)))
        reap_channel(b, name, stale);
    closedir(dir);
    if ((dir = open_dir(b->fd, "tmp"))) {
        while ((name = next_name(dir)))
            reap_staged(dirfd(dir), name, stale);
        closedir(dir);
    } else if (errno != ENOENT && errno != EACCES) {
        return io_fail(e, errno, "tmp");
    }
    return PUBSUB_OK;
}

enum pubsub_code pubsub_reap(long long stale_ms, struct pubsub_error *e)
{
    struct pubsub_error own;
    struct base b;
    e = e ? e : &own;
    enum pubsub_code code = base_open(&b, false, e);
    if (!code && b.fd >= 0)
        code = reap_base(&b, stale_ms, e);
    close_fd(&b.fd);
    return code;
}

/* ---- publishing ---------------------------------------------------------------------------------------- */

struct publish {
    struct base base;
    unsigned char *file;
    size_t size;
    uint64_t id;
    int tmp;                        /* where it is staged */
    char staged[24];                /* its name there, the id, or empty */
    char (*channels)[PUBSUB_NAME_MAX + 1];
    size_t n;
    int unseen;                     /* why a channel could not be looked at, or 0 */
    int tries;                      /* how often something may still be repeated */
};

/* Step 2: the channels whose pattern matches.  The list is made anew for each publish, so that
   PUB-21 and PUB-22 have nothing to ask for. */
static enum pubsub_code find_channels(struct publish *p, const char *topic, struct pubsub_error *e)
{
    char pattern[PUBSUB_TOPIC_MAX + 1];
    const char *name;
    long long pid;
    struct stat st;
    DIR *dir = open_dir(p->base.fd, ".");
    if (!dir)
        return io_fail(e, errno, p->base.path);
    p->n = 0;
    while (errno = 0, (name = next_name(dir))) {
        if (!parse_channel(name, pattern, &pid) || !matches(pattern, topic))
            continue;
        if (fstatat(p->base.fd, name, &st, AT_SYMLINK_NOFOLLOW)) {
            if (errno != ENOENT)
                p->unseen = errno;                                              /* PUB-13 */
            continue;
        }
        if (!S_ISDIR(st.st_mode))           /* a link to one would lead out of the base (BASE-10) */
            continue;
        void *more = grown(p->channels, p->n, sizeof *p->channels);
        if (!more) {
            errno = ENOMEM;
            break;
        }
        p->channels = more;
        strcpy(p->channels[p->n++], name);
    }
    int err = errno;
    closedir(dir);
    return err ? io_fail(e, err, p->base.path) : PUBSUB_OK;
}

static int unstage(struct publish *p)
{
    if (*p->staged && unlinkat(p->tmp, p->staged, 0) && errno != ENOENT)
        return -1;
    *p->staged = 0;
    return 0;
}

static int write_whole(int fd, const unsigned char *octets, size_t n)
{
    while (n) {
        ssize_t put = write(fd, octets, n < 1 << 30 ? n : 1 << 30);
        if (put < 0 && errno != EINTR)
            return -1;
        if (put > 0) {
            octets += put;
            n -= (size_t)put;
        }
    }
    return 0;
}

/* BASE-9: read for those who may read and write in the base. */
static mode_t message_mode(const struct base *b)
{
    return 0600 | ((b->share & 060) == 060 ? 040 : 0) | ((b->share & 06) == 06 ? 04 : 0);
}

/* Step 3: stages the message under a fresh id, in place of an earlier copy, which stays if this
   fails.  io-error with ENOENT: the base is gone. */
static enum pubsub_code stage(struct publish *p, struct pubsub_error *e)
{
    char name[sizeof p->staged];
    uint64_t id;
    int tmp = -1, fd, err;
    do {
        close_fd(&tmp);
        if ((tmp = open_tmp(&p->base)) < 0)
            return tmp_fail(&p->base, errno, e);
        if (fresh_id(&id)) {
            err = errno;
            close(tmp);
            return io_fail(e, err, "/dev/urandom");
        }
        snprintf(name, sizeof name, "%" PRIu64, id);
        fd = openat(tmp, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        err = fd < 0 ? errno : 0;
    } while ((err == EEXIST || err == ENOENT || err == EINTR) && p->tries-- > 0);
    if (err) {                                                                  /* PUB-3, PUB-6 */
        close(tmp);
        return io_fail(e, err, name);
    }
    put(p->file + 5, id, 8);
    if (write_whole(fd, p->file, p->size) || fchmod(fd, message_mode(&p->base)))
        err = errno;
    if (close(fd) && errno != EINTR && !err)
        err = errno;
    if (!err && unstage(p))
        err = errno;
    if (err) {
        unlinkat(tmp, name, 0);
        close(tmp);
        return io_fail(e, err, name);
    }
    close_fd(&p->tmp);
    p->tmp = tmp;
    strcpy(p->staged, name);
    p->id = id;
    return PUBSUB_OK;
}

enum outcome { TOOK, GONE, FULL, FAILED };

/* Step 4.2: links the message into the channel, under another id where need be. */
static enum outcome link_message(struct publish *p, const char *channel, char link[ENTRY],
                                 struct pubsub_error *e)
{
    struct stat st;
    for (bool again = !*p->staged;; again = true) {
        if (again && stage(p, e))           /* ENOENT: the base went, and the channel with it */
            return e->errnum == ENOENT && p->tries > 0 ? GONE : FAILED;
        snprintf(link, ENTRY, "%s/%" PRIu64, channel, p->id);
        if (!linkat(p->tmp, p->staged, p->base.fd, link, 0))
            return TOOK;                                                        /* PUB-7 */
        int err = errno;
        if (err == ENOENT || err == ENOTDIR) {
            if (!fstatat(p->tmp, p->staged, &st, AT_SYMLINK_NOFOLLOW))
                return GONE;
            if (errno != ENOENT) {          /* it may well be there */
                io_fail(e, errno, link);
                return FAILED;
            }
            *p->staged = 0;                 /* PUB-12: a cleaner took it */
        }
        if ((err != ENOENT && err != ENOTDIR && err != EEXIST && err != EMLINK) ||
            p->tries-- <= 0) {
            io_fail(e, err, link);
            return FAILED;
        }
    }
}

/* Step 4 for one channel.  It is reached by its path each time: a descriptor of its directory
   would still lead into a channel that was closed. */
static enum outcome deliver(struct publish *p, const char *channel, struct pubsub_error *e)
{
    char name[ENTRY];
    struct stat st;
    int fd;
    enum life life = open_queue(p->base.fd, channel, &fd, &st);
    if (life == UNKNOWN && errno != ENXIO && errno != ENOTDIR) {
        io_fail(e, errno, channel);
        return FAILED;
    }
    if (life != ALIVE)                                                          /* PUB-11 */
        return GONE;
    enum outcome outcome = link_message(p, channel, name, e);
    if (outcome == TOOK) {
        unsigned char id[8];
        ssize_t n;
        put(id, p->id, 8);
        do
            n = write(fd, id, 8);                                               /* PUB-9 */
        while (n < 0 && errno == EINTR);
        if (n != 8) {
            int err = n < 0 ? errno : EIO;
            outcome = err == EAGAIN ? FULL : err == EPIPE ? GONE : FAILED;
            if (outcome == FAILED)
                io_fail(e, err, name);
            if (unlinkat(p->base.fd, name, 0) && errno != ENOENT &&             /* PUB-10 */
                outcome != FAILED) {
                io_fail(e, errno, name);
                outcome = FAILED;
            }
        }
    }
    close(fd);
    return outcome;
}

/* Waits a moment for room in a full queue.  Trying again at intervals is needed anyhow: there
   may be more of them, and not every system reports room by the octet. */
static void wait_for_room(struct publish *p, const char *channel, int ms)
{
    struct pollfd room = {.events = POLLOUT};
    struct stat st;
    if (open_queue(p->base.fd, channel, &room.fd, &st) != ALIVE)
        return;                             /* the next try tells what it is then */
    poll(&room, 1, ms);
    close(room.fd);
}

/* Step 4 for all.  Channels with room come first, and all of them, in each round (PUB-20); those
   that are full move to the front of the list for the next. */
static enum pubsub_code deliver_all(struct publish *p, int wait_ms, size_t *count,
                                    struct pubsub_error *e)
{
    int64_t deadline = deadline_in(wait_ms);
    enum pubsub_code code = PUBSUB_OK;
    for (;;) {
        size_t full = 0;
        for (size_t i = 0; i < p->n; i++) {
            struct pubsub_error one;
            switch (deliver(p, p->channels[i], &one)) {
            case TOOK:
                ++*count;                                                       /* GUAR-1 */
                break;
            case FULL:
                memmove(p->channels[full++], p->channels[i], sizeof *p->channels);
                break;
            case FAILED:                                                        /* PUB-13 */
                if (!code) {
                    code = one.code;
                    *e = one;
                }
                break;
            case GONE:
                break;
            }
        }
        p->n = full;
        int ms = left_until(deadline, ROOM_MS);
        if (!full || !ms)
            return code;
        wait_for_room(p, p->channels[0], ms);
    }
}

enum pubsub_code pubsub_publish(const char *topic, const char *headers, const void *content,
                                size_t content_size, int wait_ms, size_t *count,
                                struct pubsub_error *e)
{
    struct pubsub_error own;
    struct publish p = {.base.fd = -1, .tmp = -1, .tries = TRIES};
    struct pubsub_message m = {.id = 1, .timestamp = microseconds(), .topic = topic,
        .headers = headers, .content = content, .content_size = content_size};
    e = e ? e : &own;
    *count = 0;
    enum pubsub_code code = pubsub_encode(&m, &p.file, &p.size, e);             /* PUB-4 */
    if (code)
        return code;
    do {                                    /* ENOENT: the base went away under us */
        close_fd(&p.base.fd);
        code = base_open(&p.base, true, e);                                     /* BASE-7, BASE-13 */
        if (!code)
            code = find_channels(&p, topic, e);
        if (!code && p.n)
            code = stage(&p, e);
    } while (code == PUBSUB_IO_ERROR && e->errnum == ENOENT && p.tries-- > 0);
    if (!code && p.n) {
        /* PUB-16: a queue whose reader dies raises SIGPIPE, which must end with us. */
        sigset_t pipe, old, pending;
        int signal;
        sigemptyset(&pipe);
        sigaddset(&pipe, SIGPIPE);
        sigpending(&pending);
        bool was_pending = sigismember(&pending, SIGPIPE);
        pthread_sigmask(SIG_BLOCK, &pipe, &old);
        code = deliver_all(&p, wait_ms, count, e);
        sigpending(&pending);
        if (!was_pending && sigismember(&pending, SIGPIPE))
            sigwait(&pipe, &signal);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        if (unstage(&p) && !code)                                               /* PUB-14 */
            code = io_fail(e, errno, "removing the staged file");
    }
    if (!code && p.unseen)
        code = io_fail(e, p.unseen, "looking at a channel");
    close_fd(&p.tmp);
    close_fd(&p.base.fd);
    free(p.channels);
    free(p.file);
    return code;
}

/* ---- channels ------------------------------------------------------------------------------------------ */

struct pubsub_channel {
    pthread_mutex_t lock;           /* guards what stands below */
    pthread_cond_t no_waiters;
    int waiters;
    bool closed;
    uint64_t hand;                  /* FETCH-8: an id that was read and not done with, or 0 */
    int64_t next_sweep;

    int reader, writer;             /* CHAN-6, CHAN-7 */
    int dir;                        /* BASE-15: wherever its path may lead */
    pid_t owner;
    dev_t dev;                      /* of queue and directory: what they must be under their names */
    ino_t queue_inode, dir_inode;
    struct base base;
    char name[PUBSUB_NAME_MAX + 1];
    char queue_path[2 * PATH_MAX + PUBSUB_NAME_MAX + 8];
};

/* FETCH-14, by the path, for no event tells: 0 if the queue is ours, ENOENT if the channel is lost,
   another errno if nobody knows. */
static int look(const struct pubsub_channel *ch)
{
    struct stat st;
    if (lstat(ch->queue_path, &st))
        return errno == ENOTDIR ? ENOENT : errno;
    return st.st_dev == ch->dev && st.st_ino == ch->queue_inode ? 0 : ENOENT;
}

/* The steps of closing: 0 or an errno. */
static int take_down(struct pubsub_channel *ch)
{
    char grave[ENTRY];
    struct stat st;
    int err = fstatat(ch->base.fd, ch->name, &st, AT_SYMLINK_NOFOLLOW) ? errno : 0;
    bool ours = !err && st.st_ino == ch->dir_inode && st.st_dev == ch->dev;     /* CHAN-20 */
    int tmp = ours ? claim(&ch->base, ch->name, grave) : -1;                    /* CHAN-16 */
    if (ours && tmp < 0)
        err = errno;
    close_fd(&ch->reader);
    close_fd(&ch->writer);
    close_fd(&ch->dir);
    if (tmp >= 0 && remove_tree(tmp, grave))                                    /* CHAN-14 */
        err = errno;
    close_fd(&tmp);
    return err == ENOENT ? 0 : err;
}

static int open_queue_end(int dir, int end)
{
    return openat(dir, "queue", end | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
}

/* Steps 2 to 6 of opening.  io-error with ENOENT, EEXIST, ENOTEMPTY or ENOTDIR: start again. */
static enum pubsub_code open_once(struct pubsub_channel *ch, const char *pattern,
                                  struct pubsub_error *e)
{
    char dir[ENTRY] = "new-", cwd[PATH_MAX] = "";
    const struct base *b = &ch->base;
    struct stat st, made;
    ch->reader = ch->writer = ch->dir = -1;
    snprintf(ch->name, sizeof ch->name, "%s_", pattern);
    if (fresh_name(dir) || fresh_name(ch->name))
        return io_fail(e, errno, "/dev/urandom");
    snprintf(ch->name + strlen(ch->name), 12, "_%" PRIu32, (uint32_t)getpid());
    if (*b->path != '/' && !getcwd(cwd, sizeof cwd))                            /* BASE-14 */
        return io_fail(e, errno, "working directory");
    snprintf(ch->queue_path, sizeof ch->queue_path, "%s%s%s/%s/queue", cwd, *cwd ? "/" : "",
             b->path, ch->name);
    int tmp = open_tmp(b), err = 0;
    if (tmp < 0)
        return tmp_fail(b, errno, e);
    if (mkdirat(tmp, dir, 0700) ||
        (ch->dir = open_place(tmp, dir)) < 0 || set_mode(ch->dir, 0700 | b->share) ||
        mkfifoat(ch->dir, "queue", 0600) ||
        (ch->reader = open_queue_end(ch->dir, O_RDONLY)) < 0 ||
        set_mode(ch->reader, 0600 | (b->share & 022)) ||
        (ch->writer = open_queue_end(ch->dir, O_WRONLY)) < 0 ||
        fstat(ch->reader, &made) || fstat(ch->dir, &st) ||
        renameat(tmp, dir, b->fd, ch->name)) {                                  /* CHAN-10 */
        err = errno;
        close_fd(&ch->reader);
        close_fd(&ch->writer);
        if (ch->dir >= 0)                   /* opening nothing, for that may be what fails */
            unlinkat(ch->dir, "queue", 0);
        close_fd(&ch->dir);
        unlinkat(tmp, dir, AT_REMOVEDIR);
    }
    close(tmp);
    if (err)
        return io_fail(e, err, ch->name);
    ch->dev = made.st_dev;
    ch->queue_inode = made.st_ino;
    ch->dir_inode = st.st_ino;
    err = look(ch);                                                             /* CHAN-12 */
    if (!err)
        return PUBSUB_OK;
    take_down(ch);
    return io_fail(e, err, ch->name);
}

enum pubsub_code pubsub_open(const char *pattern, struct pubsub_channel **channel,
                             struct pubsub_error *e)
{
    struct pubsub_error own, ignored;
    e = e ? e : &own;
    enum pubsub_code code = check_pattern(pattern, e);
    if (code)
        return code;
    struct pubsub_channel *ch = calloc(1, sizeof *ch);
    if (!ch)
        return io_fail(e, ENOMEM, "opening a channel");
    ch->owner = getpid();
    for (int i = 0; i < TRIES; i++) {
        if ((code = base_open(&ch->base, true, e)))
            break;
        if (i == 0)
            reap_base(&ch->base, PUBSUB_STALE_MS, &ignored);                    /* REAP-1 */
        code = open_once(ch, pattern, e);
        if (code != PUBSUB_IO_ERROR ||
            (e->errnum != ENOENT && e->errnum != EEXIST && e->errnum != ENOTEMPTY &&
             e->errnum != ENOTDIR))
            break;
        close_fd(&ch->base.fd);
    }
    if (code) {
        close_fd(&ch->base.fd);
        free(ch);
        return code;
    }
    ch->next_sweep = deadline_in(0) + PUBSUB_STALE_MS * 1000000;
    pthread_mutex_init(&ch->lock, NULL);
    pthread_cond_init(&ch->no_waiters, NULL);
    *channel = ch;
    return PUBSUB_OK;
}

/* Takes the lock if the channel is open and ours. */
static enum pubsub_code enter(struct pubsub_channel *ch, struct pubsub_error *e)
{
    if (ch->owner == getpid()) {
        pthread_mutex_lock(&ch->lock);
        if (!ch->closed)
            return PUBSUB_OK;
        pthread_mutex_unlock(&ch->lock);
    }
    return fail(e, PUBSUB_CHANNEL_CLOSED, 0, "%s is closed", ch->name);         /* CHAN-18 */
}

static enum pubsub_code lost(const struct pubsub_channel *ch, struct pubsub_error *e)
{
    return fail(e, PUBSUB_CHANNEL_LOST, 0, "%s is gone", ch->name);
}

/* FETCH-17: what was stale, and still there after the queue was seen empty.  With the lock. */
static int sweep(struct pubsub_channel *ch, long long stale)
{
    char (*names)[24] = NULL;
    size_t n = 0;
    const char *name;
    struct stat st;
    int err = 0;
    DIR *dir = open_dir(ch->dir, ".");
    if (!dir)
        return errno == ENOENT ? 0 : errno;
    while ((name = next_name(dir)) && !err) {
        if (!is_message_name(name) || fstatat(dirfd(dir), name, &st, AT_SYMLINK_NOFOLLOW) ||
            !S_ISREG(st.st_mode) || !older(st.CTIM, stale))
            continue;
        void *more = grown(names, n, sizeof *names);
        if (!more) {
            err = ENOMEM;
            break;
        }
        names = more;
        strcpy(names[n++], name);
    }
    closedir(dir);
    struct pollfd queue = {.fd = ch->reader, .events = POLLIN};
    if (!err && n && !ch->hand && poll(&queue, 1, 0) == 0)
        for (size_t i = 0; i < n; i++)
            if (unlinkat(ch->dir, names[i], 0) && errno != ENOENT)
                err = errno;
    free(names);
    return err;
}

enum pubsub_code pubsub_sweep(struct pubsub_channel *ch, long long stale_ms, struct pubsub_error *e)
{
    enum pubsub_code code = enter(ch, e);
    if (code)
        return code;
    int err = sweep(ch, stale_ms);
    pthread_mutex_unlock(&ch->lock);
    return err ? io_fail(e, err, ch->name) : PUBSUB_OK;
}

/* Step 5: the message in an open file.  0, or EBADMSG with *why, or the errno of the system. */
static int read_message(int fd, off_t size, struct pubsub_message **message, const char **why)
{
    *why = "larger than PUBSUB_FILE_MAX";
    if (size > PUBSUB_FILE_MAX)
        return EBADMSG;
    struct pubsub_message *m = malloc(sizeof *m + (size_t)size);
    size_t n = 0;
    ssize_t got = 0;
    if (!m)
        return ENOMEM;
    do {
        got = read(fd, (char *)(m + 1) + n, (size_t)size - n);
        n += got > 0 ? (size_t)got : 0;
    } while ((got > 0 && n < (size_t)size) || (got < 0 && errno == EINTR));
    int err = got < 0 ? errno : parse(m, n, why);
    if (err)
        free(m);
    else
        *message = m;
    return err;
}

/* Steps 3 to 6 for the id in hand: 0, ENOENT (no such file), EBADMSG, or the errno of the system,
   with which the id stays in hand. */
static int take(struct pubsub_channel *ch, struct pubsub_message **message, const char **why)
{
    char name[24];
    struct stat st;
    snprintf(name, sizeof name, "%" PRIu64, ch->hand);
    int fd = openat(ch->dir, name,
                    O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
    int err = fd < 0 ? errno : 0;
    if (err == ENOENT || err == ENOTDIR)
        return ENOENT;
    /* What the error is for a link or a socket depends on the system; looking does not. */
    if (fd < 0 ? fstatat(ch->dir, name, &st, AT_SYMLINK_NOFOLLOW) : fstat(fd, &st)) {
        err = err ? err : errno;
        close_fd(&fd);
        return err;
    }
    *why = "not a regular file";                                                /* FETCH-7 */
    if (!S_ISREG(st.st_mode)) {
        err = EBADMSG;
    } else if (err == EACCES) {             /* FETCH-19: asked again, and the file itself denies */
        *why = "it must not be read";
        if (faccessat(ch->dir, name, R_OK, AT_EACCESS) && errno == EACCES)
            err = EBADMSG;
    } else if (!err) {
        err = read_message(fd, st.st_size, message, why);
    }
    close_fd(&fd);
    if (!err && (*message)->id != ch->hand) {                                   /* FETCH-6 */
        *why = "its id is not its name";
        free(*message);
        *message = NULL;
        err = EBADMSG;
    }
    if ((!err || err == EBADMSG) && !S_ISDIR(st.st_mode))
        unlinkat(ch->dir, name, 0);                                         /* FETCH-4, FETCH-5 */
    return err;
}

/* How many ids stand in the queue. */
static int queued(const struct pubsub_channel *ch)
{
    int octets;
    return ioctl(ch->reader, FIONREAD, &octets) ? INT_MAX - 1 : octets / 8;
}

enum pubsub_code pubsub_fetch(struct pubsub_channel *ch, struct pubsub_message **message,
                              struct pubsub_error *e)
{
    *message = NULL;
    enum pubsub_code code = enter(ch, e);       /* FETCH-11: one at a time */
    if (code)
        return code;
    for (int reads = 0, left = 2; left > 0; reads++, left--) {
        if (reads == 1)                     /* FETCH-22: not what is written meanwhile */
            left = queued(ch) + 1;
        if (!ch->hand) {
            unsigned char id[8];
            ssize_t n = read(ch->reader, id, 8);
            if (n < 0 && errno == EINTR)
                continue;
            if (n == 0 || (n < 0 && errno == EAGAIN)) {
                if (look(ch) == ENOENT) {                                       /* FETCH-20 */
                    code = lost(ch, e);
                } else if (deadline_in(0) >= ch->next_sweep) {                  /* FETCH-16 */
                    ch->next_sweep = deadline_in(0) + PUBSUB_STALE_MS * 1000000;
                    sweep(ch, PUBSUB_STALE_MS);
                }
                break;
            }
            if (n < 0) {
                code = io_fail(e, errno, ch->queue_path);
                break;
            }
            if (n < 8) {                                                        /* FETCH-9 */
                code = fail(e, PUBSUB_DAMAGED_QUEUE, 0, "%d stray octets discarded", (int)n);
                break;
            }
            ch->hand = get(id, 8);
            if (!ch->hand)                                                      /* FETCH-10 */
                continue;
        }
        const char *why = "";
        uint64_t id = ch->hand;
        int err = take(ch, message, &why);
        if (err && err != ENOENT && err != EBADMSG) {                           /* FETCH-8 */
            code = io_fail(e, err, ch->name);
            break;
        }
        ch->hand = 0;
        if (err == EBADMSG)
            code = fail(e, PUBSUB_INVALID_MESSAGE, 0, "%s/%" PRIu64 ": not a message: %s",
                        ch->name, id, why);
        if (err != ENOENT)                                                      /* FETCH-3 */
            break;
    }
    pthread_mutex_unlock(&ch->lock);
    return code;
}

enum pubsub_code pubsub_wait(struct pubsub_channel *ch, int wait_ms, bool *ready,
                             struct pubsub_error *e)
{
    int64_t deadline = deadline_in(wait_ms);
    *ready = false;
    enum pubsub_code code = enter(ch, e);
    if (code)
        return code;
    ch->waiters++;                  /* closing waits for us before it closes the descriptors */
    struct pollfd queue = {.fd = ch->reader, .events = POLLIN};
    *ready = ch->hand != 0;                                                     /* FETCH-21 */
    for (int ms = 0; !*ready && !ch->closed;) {
        pthread_mutex_unlock(&ch->lock);
        int n = poll(&queue, 1, ms);                                            /* FETCH-13 */
        if (n < 0 && errno != EINTR)
            code = io_fail(e, errno, "poll");
        else if (n > 0)
            *ready = true;
        else if (look(ch) == ENOENT)                                            /* FETCH-14 */
            code = lost(ch, e);
        pthread_mutex_lock(&ch->lock);
        ms = left_until(deadline, LOOK_MS);
        if (code || !ms)
            break;
    }
    if (ch->closed) {
        *ready = false;
        code = fail(e, PUBSUB_CHANNEL_CLOSED, 0, "%s is closed", ch->name);
    }
    if (!--ch->waiters)
        pthread_cond_signal(&ch->no_waiters);
    pthread_mutex_unlock(&ch->lock);
    return code;
}

enum pubsub_code pubsub_close(struct pubsub_channel *ch, struct pubsub_error *e)
{
    static const unsigned char wake_up[8];                                      /* FETCH-10 */
    if (ch->owner != getpid())
        return fail(e, PUBSUB_CHANNEL_CLOSED, 0, "%s belongs to another process", ch->name);
    pthread_mutex_lock(&ch->lock);
    if (ch->closed) {
        pthread_mutex_unlock(&ch->lock);
        return PUBSUB_OK;
    }
    ch->closed = true;
    ssize_t woken = ch->waiters ? write(ch->writer, wake_up, 8) : 0;
    (void)woken;                    /* full: then they are awake */
    while (ch->waiters)
        pthread_cond_wait(&ch->no_waiters, &ch->lock);
    int err = take_down(ch);
    enum pubsub_code code = !err ? PUBSUB_OK
        : err == ENOTDIR ? tmp_fail(&ch->base, err, e) : io_fail(e, err, ch->name);
    close_fd(&ch->base.fd);
    pthread_mutex_unlock(&ch->lock);
    return code;
}

void pubsub_channel_free(struct pubsub_channel *ch)
{
    if (!ch)
        return;
    if (ch->owner == getpid()) {
        pubsub_close(ch, NULL);
        pthread_mutex_destroy(&ch->lock);
        pthread_cond_destroy(&ch->no_waiters);
    } else {                        /* a child gives up what it inherited */
        close_fd(&ch->reader);
        close_fd(&ch->writer);
        close_fd(&ch->dir);
        close_fd(&ch->base.fd);
    }
    free(ch);
}

const char *pubsub_channel_name(const struct pubsub_channel *ch)
{
    return ch->name;
}

int pubsub_channel_fd(const struct pubsub_channel *ch)
{
    return ch->reader;
}
