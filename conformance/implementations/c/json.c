/* json.c - reads JSON text; see json.h */
#include "internal.h"
#include "json.h"

#include <string.h>

#define DIGITS "0123456789"

const char *ps_json_space(const char *p)
{
    while (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')
        p++;
    return p;
}

/* Whether an octet within a string is a character, and means itself. */
static bool is_plain(char c)
{
    return (unsigned char)c >= 0x20 && (unsigned char)c < 0x80 && c != '"' && c != '\\';
}

/* The length of the UTF-8 sequence at p: shortest form, no surrogates (MSG-11). 0: it is none. */
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

/* The value of four hexadecimal digits, or -1. */
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

/* The code unit of the escape \uXXXX at p, or -1. */
static long escaped_unit(const char *p)
{
    return p[0] == '\\' && p[1] == 'u' ? hex4(p + 2) : -1;
}

const char *ps_json_char(const char *p, char out[4], size_t *size)
{
    static const char escapes[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    if (is_plain(*p)) {
        out[0] = *p;
        *size = 1;
        return p + 1;
    }
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
    long c = escaped_unit(p);
    if (c < 0)
        return NULL;                        /* the text may end within six octets */
    p += 6;
    if (c >= 0xd800 && c <= 0xdbff) {
        long low = escaped_unit(p);
        if (low >= 0xdc00 && low <= 0xdfff) {
            c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
            p += 6;
        }
    }
    *size = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = *size; i-- > 1; c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(*size == 1 ? c : (0xf0 << (4 - *size)) | c);
    return p;
}

bool ps_json_is_half(const char out[4], size_t size)
{
    return size == 3 && (unsigned char)out[0] == 0xed && (unsigned char)out[1] > 0x9f;
}

const char *ps_json_string(const char *p, bool *half)
{
    char c[4];
    size_t size;
    if (*p++ != '"')
        return NULL;
    for (;;) {
        while (is_plain(*p))                /* nearly all of a long string */
            p++;
        if (*p == '"')
            return p + 1;
        if (!(p = ps_json_char(p, c, &size)))
            return NULL;
        if (ps_json_is_half(c, size))
            *half = true;
    }
}

static const char *read_number(const char *p)
{
    p += *p == '-';
    size_t n = strspn(p, DIGITS);
    if (!n || (*p == '0' && n > 1))
        return NULL;
    p += n;
    if (*p == '.') {
        if (!(n = strspn(++p, DIGITS)))
            return NULL;
        p += n;
    }
    if (*p == 'e' || *p == 'E') {
        p += p[1] == '-' || p[1] == '+' ? 2 : 1;
        if (!(n = strspn(p, DIGITS)))
            return NULL;
        p += n;
    }
    return p;
}

const char *ps_json_scalar(const char *p, bool *half)
{
    static const char *const words[] = {"true", "false", "null"};
    if (*p == '"')
        return ps_json_string(p, half);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strncmp(p, words[i], strlen(words[i])))
            return p + strlen(words[i]);
    return read_number(p);
}

bool ps_json_equals(const char *raw, size_t raw_size, const char *text)
{
    const char *end = raw + raw_size;
    size_t left = strlen(text), size;
    char c[4];
    while (raw < end && (raw = ps_json_char(raw, c, &size))) {
        if (size > left || memcmp(text, c, size))
            return false;
        text += size;
        left -= size;
    }
    return raw == end && !left;
}
