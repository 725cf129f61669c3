/* json.h - reads JSON text: the headers of messages, and the requests of the driver
 *
 * The text ends with NUL, which no rule of JSON accepts: nothing here reads beyond it. A function
 * that returns a pointer returns what follows the thing that it read, or NULL where the text breaks
 * the grammar.
 */
#ifndef PUBSUB_JSON_H
#define PUBSUB_JSON_H

#include <stdbool.h>
#include <stddef.h>

const char *ps_json_space(const char *p);

/* Reads one character of a string and gives its UTF-8 in out. JSON's grammar allows the escape of
   half a surrogate pair, Unicode does not: its three octets are no UTF-8, see ps_json_is_half(). */
const char *ps_json_char(const char *p, char out[4], size_t *size);

bool ps_json_is_half(const char out[4], size_t size);

/* Reads a string from its opening quote; sets *half if it holds half a surrogate pair. */
const char *ps_json_string(const char *p, bool *half);

/* Reads a string, number, true, false or null. */
const char *ps_json_scalar(const char *p, bool *half);

/* Whether the characters between the quotes of a string, which has been read, are this text. */
bool ps_json_equals(const char *raw, size_t raw_size, const char *text);

#endif
