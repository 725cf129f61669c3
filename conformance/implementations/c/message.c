/* message.c - topics, headers and message files; no I/O */
#include "internal.h"
#include "json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- topics ----------------------------------------------------------------------------- */

bool ps_is_alnum(char c)                /* isalnum() asks the locale */
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* Whether the octets are a topic (TOPIC-1) or, with wildcards, a pattern (TOPIC-2). */
bool ps_is_words(const char *s, size_t size, bool wildcards)
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
        } else if (!ps_is_alnum(s[i]) && s[i] != '-') {
            return false;
        }
    }
    return true;
}

/* Both are valid. reached[j]: the first j terms account for the words up to here. One row of the
   table is enough, so this takes at most 100 times 100 steps (TOPIC-7). */
bool ps_matches(const char *pattern, const char *topic)
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
    return ps_is_words(topic, strlen(topic), false) ? PUBSUB_OK
        : ps_fail(e, PUBSUB_INVALID_TOPIC, 0, "not a topic: \"%.60s\"", topic);
}

enum pubsub_code ps_check_pattern(const char *pattern, struct pubsub_error *e)
{
    return ps_is_words(pattern, strlen(pattern), true) ? PUBSUB_OK
        : ps_fail(e, PUBSUB_INVALID_PATTERN, 0, "not a pattern: \"%.60s\"", pattern);
}

enum pubsub_code pubsub_match(const char *pattern, const char *topic, bool *result,
                              struct pubsub_error *e)
{
    enum pubsub_code code = ps_check_pattern(pattern, e);
    if (!code)
        code = check_topic(topic, e);
    if (!code)
        *result = ps_matches(pattern, topic);
    return code;
}

/* ---- headers ---------------------------------------------------------------------------- */

/* Headers are one flat object, and stricter than JSON's grammar. A value that is a list or an
   object is refused at its first octet: there is no depth (MSG-12). */

/* Whether 0.d1d2d3... times 10^exponent, d1 not 0, rounds to infinity as a double: it does from
   2^1024 - 2^970 on, which has 309 digits. The digits may have a point among them. strtod() is no
   help: it asks the locale. */
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

/* Whether a JSON number is one that every reader understands alike (MSG-10). */
static bool is_interoperable(const char *p, const char *end)
{
    p += *p == '-';
    size_t whole = strspn(p, "0123456789");
    if (p + whole == end)                                       /* at most 2^53 - 1 */
        return whole < 16 || (whole == 16 && memcmp(p, "9007199254740991", 16) <= 0);
    size_t size = strspn(p, "0123456789."), zeros = strspn(p, "0.");
    if (zeros >= size)
        return true;                        /* zero, whatever its exponent */
    long long exponent = 0;
    const char *e = p + size;
    if (e < end) {
        bool negative = e[1] == '-';
        for (e += negative || e[1] == '+' ? 2 : 1; e < end; e++)
            if (exponent < 1000000000000)   /* beyond what 2^32 digits can make up for */
                exponent = exponent * 10 + (*e - '0');
        if (negative)
            exponent = -exponent;
    }
    exponent += *p != '0' ? (long long)whole : -(long long)(zeros - 2);
    return !is_infinite(p + zeros, size - zeros, exponent);
}

/* Reads one member of the object, with the space around it: what follows, or NULL. */
static const char *read_member(const char *p, struct pubsub_header *h)
{
    bool half = false;
    p = ps_json_space(p);
    h->key = p + 1;
    if (!(p = ps_json_string(p, &half)))
        return NULL;
    h->key_size = (size_t)(p - 1 - h->key);
    p = ps_json_space(p);
    if (*p != ':')
        return NULL;
    h->value = p = ps_json_space(p + 1);
    if (!(p = ps_json_scalar(p, &half)) || half)                /* MSG-11 */
        return NULL;
    h->value_size = (size_t)(p - h->value);
    switch (*h->value) {
    case '"':
        h->type = PUBSUB_STRING;
        h->value++;
        h->value_size -= 2;
        break;
    case 't':
        h->type = PUBSUB_TRUE;
        break;
    case 'f':
        h->type = PUBSUB_FALSE;
        break;
    case 'n':
        h->type = PUBSUB_NULL;
        break;
    default:
        h->type = PUBSUB_NUMBER;
        if (!is_interoperable(h->value, p))
            return NULL;
    }
    return ps_json_space(p);
}

size_t pubsub_unescape(const char *raw, size_t raw_size, char *out)
{
    size_t n = 0, size;
    char c[4];
    if (!memchr(raw, '\\', raw_size)) {
        memcpy(out, raw, raw_size);
        return raw_size;
    }
    for (const char *p = raw; p && p < raw + raw_size;)
        if ((p = ps_json_char(p, c, &size))) {
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

/* The keys with room for one more behind the n that there are, or NULL, with the keys as they
   were. */
static struct key *grown(struct key *keys, size_t n)
{
    return n & (n - 1) ? keys : realloc(keys, (n ? 2 * n : 1) * sizeof *keys);
}

/* MSG-7 to MSG-11, text[size] being NUL: 0, EINVAL or ENOMEM. Duplicate keys are found by sorting,
   so that a million of them take no quadratic time. */
static int check_headers(const char *text, size_t size)
{
    struct pubsub_header h;
    struct key *keys = NULL;
    char *arena = NULL;
    size_t n = 0, used = 0;
    int err = EINVAL;
    const char *p = ps_json_space(text);
    if (*p != '{')
        return EINVAL;
    if (*ps_json_space(p + 1) == '}')
        return ps_json_space(ps_json_space(p + 1) + 1) == text + size ? 0 : EINVAL;
    if (!(arena = malloc(size)))
        return ENOMEM;
    do {
        if (!(p = read_member(p + 1, &h)) || (*p != ',' && *p != '}'))
            goto out;
        struct key *more = grown(keys, n);
        if (!more) {
            err = ENOMEM;
            goto out;
        }
        keys = more;
        keys[n].octets = arena + used;
        used += keys[n].size = pubsub_unescape(h.key, h.key_size, arena + used);
        n++;
    } while (*p == ',');
    if (ps_json_space(p + 1) != text + size)
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
    const char *p = ps_json_space(*cursor);
    if ((*p != '{' && *p != ',') || !(p = read_member(p + 1, header)))
        return false;
    *cursor = p;
    return true;
}

bool pubsub_header_find(const char *headers, const char *key, struct pubsub_header *header)
{
    while (pubsub_header_next(&headers, header))
        if (ps_json_equals(header->key, header->key_size, key))
            return true;
    return false;
}

/* ---- message files ---------------------------------------------------------------------- */

enum { FIXED = 25, LEAST = 33 };        /* octets before the topic; of a file without any text */

void ps_put(unsigned char *p, uint64_t value, int octets)
{
    while (octets--) {
        p[octets] = (unsigned char)value;
        value >>= 8;
    }
}

uint64_t ps_get(const void *octets_at, int octets)
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
        return ps_fail(e, PUBSUB_TOO_LARGE, 0, "headers or content exceed 2^32 - 1 octets");
    int err = h ? check_headers(headers, h) : 0;                                /* MSG-15 */
    if (err == EINVAL)
        return ps_fail(e, PUBSUB_INVALID_HEADERS, 0,
                       "headers are not a JSON object of strings, numbers, booleans and nulls");
    if (!m->id)
        return ps_fail(e, PUBSUB_INVALID_MESSAGE, 0, "an id is not 0");         /* MSG-4 */
    unsigned char *p = NULL;
    if (err || LEAST + t + h < h || LEAST + t + h + c < c || !(p = malloc(LEAST + t + h + c)))
        return ps_io_fail(e, ENOMEM, "encoding");
    *octets = p;
    *size = LEAST + t + h + c;
    memcpy(p, "PMSG\1", 5);
    ps_put(p + 5, m->id, 8);
    ps_put(p + 13, m->timestamp, 8);
    ps_put(p + 21, t, 4);
    memcpy(p += FIXED, m->topic, t);
    ps_put(p += t, h, 4);
    memcpy(p += 4, headers, h);
    ps_put(p += h, c, 4);
    if (c)
        memcpy(p + 4, m->content, c);
    return PUBSUB_OK;
}

/* Compares each length with what is left (MSG-13). The first octet of a length, once it was read,
   becomes the NUL of the field before it. */
int ps_parse(struct pubsub_message *m, size_t size, const char **why)
{
    char *p = (char *)(m + 1);
    *why = "it ends too early";
    if (size < LEAST)
        return EBADMSG;
    *why = "magic or version";
    if (memcmp(p, "PMSG\1", 5))
        return EBADMSG;
    m->id = ps_get(p + 5, 8);
    *why = "its id is 0";
    if (!m->id)
        return EBADMSG;
    m->timestamp = ps_get(p + 13, 8);
    size_t left = size - LEAST, t = ps_get(p + 21, 4);
    *why = "the length of its topic";
    if (t > left)
        return EBADMSG;
    left -= t;
    m->topic = p += FIXED;
    m->headers_size = ps_get(p += t, 4);
    *p = 0;
    *why = "the length of its headers";
    if (m->headers_size > left)
        return EBADMSG;
    left -= m->headers_size;
    m->headers = p += 4;
    m->content_size = ps_get(p += m->headers_size, 4);
    *p = 0;
    *why = "the length of its content";
    if (m->content_size != left)                                                /* MSG-14 */
        return EBADMSG;
    m->content = p + 4;
    *why = "its topic";
    if (!ps_is_words(m->topic, t, false))
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
        return ps_io_fail(e, ENOMEM, "decoding");
    memcpy(m + 1, octets, size);
    int err = ps_parse(m, size, &why);
    if (!err) {
        *message = m;
        return PUBSUB_OK;
    }
    free(m);
    return err == EBADMSG ? ps_fail(e, PUBSUB_INVALID_MESSAGE, 0, "not a message: %s", why)
                          : ps_io_fail(e, err, "decoding");
}

void pubsub_message_free(struct pubsub_message *message)
{
    free(message);
}
