/* fuzz.c - message files for libFuzzer: make fuzz
 *
 * The sanitizers find crashes, hangs, leaks and undefined behaviour. This file checks that a
 * decoded message is encoded to the same octets again (MSG-17), and that its headers can be read.
 * Whether the decoder accepts the right files is for the kit's oracle to say: README.md.
 */
#include "pubsub.h"

#include <stdlib.h>
#include <string.h>

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

/* The decoder has checked the text: every member is there, each key is found, each string has its
   escapes resolved. */
static void check_headers(const struct pubsub_message *m)
{
    const char *cursor = m->headers;
    struct pubsub_header h, found;
    while (pubsub_header_next(&cursor, &h)) {
        char *key = malloc(h.key_size + 1), *value = malloc(h.value_size + 1);
        must(key && value);
        size_t size = pubsub_unescape(h.key, h.key_size, key);
        must(size <= h.key_size);
        key[size] = 0;
        if (!memchr(key, 0, size))
            must(pubsub_header_find(m->headers, key, &found) && found.key == h.key);
        if (h.type == PUBSUB_STRING)
            must(pubsub_unescape(h.value, h.value_size, value) <= h.value_size);
        free(key);
        free(value);
    }
    cursor += strspn(cursor, " \t\n\r{");       /* no header: the cursor is before the brace */
    must(*cursor == '}');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pubsub_message *m;
    unsigned char *again;
    size_t again_size;
    if (pubsub_decode(data, size, &m, NULL))
        return 0;
    check_headers(m);
    must(!pubsub_encode(m, &again, &again_size, NULL));
    if (again_size == size)
        must(!memcmp(again, data, size));
    else
        must(again_size == size + 2);       /* empty headers became "{}" */
    free(again);
    pubsub_message_free(m);
    return 0;
}

static size_t get4(const uint8_t *p)
{
    return (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
}

/* Mostly changes one field and corrects its length: otherwise the decoder would refuse every change
   of the headers' size at the lengths. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
    size_t at = 21;                         /* the length of the topic */
    for (unsigned field = seed % 8 < 6 ? 1 : seed % 8 - 6; field && at + 4 <= size; field--)
        at += 4 + get4(data + at);          /* ... of the headers, for most seeds */
    if (seed % 16 == 0 || size >= max_size || at + 4 > size || get4(data + at) > size - at - 4)
        return LLVMFuzzerMutate(data, size, max_size);
    size_t length = get4(data + at), rest = size - at - 4 - length, room = max_size - at - 4 - rest;
    uint8_t *field = malloc(room);
    must(field);
    memcpy(field, data + at + 4, length);
    size_t grown = LLVMFuzzerMutate(field, length, room);
    memmove(data + at + 4 + grown, data + at + 4 + length, rest);
    memcpy(data + at + 4, field, grown);
    for (int i = 0; i < 4; i++)
        data[at + i] = (uint8_t)(grown >> (24 - 8 * i));
    free(field);
    return at + 4 + grown + rest;
}
