/* driver.h - what the files of the driver share; conformance/DRIVER.md is its specification
 *
 *     driver.c                the loop over requests, and its end
 *     driver_protocol.c       lines, the fields of requests, replies
 *     driver_operations.c     operations that answer with one line
 *     driver_streams.c        produce and consume, which answer with many
 *
 * The driver has no JSON library. Headers must reach the implementation as the text that was sent,
 * for the implementation is to judge them: a key twice, half a surrogate pair, 1e400, a depth of a
 * million. A topic may hold NUL or half a surrogate pair. cJSON and jansson refuse or mend such
 * lines. The reader of pubsub's headers (json.h) keeps all of it; the driver adds what cuts a line
 * into slices.
 */
#ifndef DRIVER_H
#define DRIVER_H

#define _POSIX_C_SOURCE 200809L
#define _XOPEN_SOURCE 700

#include "pubsub.h"

#include <signal.h>

/* ---- driver.c --------------------------------------------------------------------------- */

extern volatile sig_atomic_t stopped;       /* SIGTERM came (DRIVER-7) */

/* Waits until fd is ready or SIGTERM comes; fd -1: for the time alone; ms -1: without end. */
bool wait_fd(int fd, short events, int ms);

void *need(void *memory);                   /* ends the driver if there is none */

/* ---- driver_protocol.c: requests -------------------------------------------------------- */

/* A part of the line; n is 0 if it is not there. */
struct slice {
    const char *p;
    size_t n;
};

/* The next line, which ends with NUL, or NULL at the end of stdin or at SIGTERM. */
char *read_line(size_t *size);

/* Takes the line for the request that all functions below speak of. False: it is none, and was
   answered so. */
bool begin_request(const char *line, size_t size, char **op);
void end_request(void);                     /* frees its memory */

void *request_memory(size_t size);

/* The value of a field of the request, or of an object in it. */
struct slice field(const char *name);
struct slice member(struct slice object, const char *name);

/* Steps through the elements of a list: begin with *element of n 0; false at the end. */
bool next_element(struct slice list, struct slice *element);

/* These return false for a value of another type, and for none. What they give lives as long as the
   request. */
bool text_of(struct slice s, char **text);
bool object_of(struct slice s, char **text);
bool octets_of(struct slice s, unsigned char **octets, size_t *size);      /* from base64 */
bool u64_of(struct slice s, uint64_t *number);                             /* from a string */
bool number_of(struct slice s, double *number);
bool integer_of(struct slice s, double *number);                           /* not negative */
bool optional_bool(struct slice s, bool *value);                           /* absent: false */
bool report_of(struct slice s, bool *all);

/* Seconds, as milliseconds. optional_span: `absent` if it is not there. */
bool span_of(struct slice s, double *ms);
bool optional_span(struct slice s, double absent, double *ms);
int to_int(double ms);

/* ---- driver_protocol.c: replies --------------------------------------------------------- */

/* A line is gathered, and written by end_reply(). */
void begin_reply(void);
void end_reply(void);

#ifdef __GNUC__
__attribute__((format(printf, 1, 2)))
#endif
void print(const char *format, ...);        /* short texts */
void print_base64(const unsigned char *octets, size_t size);
void print_headers(const struct pubsub_message *m);
void print_message(const struct pubsub_message *m);
void print_times(int64_t start, int64_t end);
void print_error(const struct pubsub_error *e, const size_t *count);

/* Whole replies. */
void reply_error(const struct pubsub_error *e, const size_t *count);
void reply_refusal(const char *code, const char *detail);
void bad_request(const char *detail);

/* ---- driver_operations.c ---------------------------------------------------------------- */

typedef void operation(void);

operation *find_operation(const char *name);        /* NULL: there is none */

/* The place of the request's channel, or NULL after it answered that there is none (DRIVER-11). */
struct pubsub_channel **requested_channel(void);

void free_channels(void);

/* ---- driver_streams.c ------------------------------------------------------------------- */

operation op_produce, op_consume;

#endif
