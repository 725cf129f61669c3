/* pubsub.h - publish/subscribe on the file system, version 1
 *
 * Processes of one machine meet in a directory: PUBSUB_HOME, or /dev/shm/pubsub, or $TMPDIR/pubsub,
 * or /tmp/pubsub (BASE-1, BASE-2; read at each call). There is no daemon and nothing to initialise.
 *
 *     size_t count;
 *     struct pubsub_error error;
 *     if (pubsub_publish("news.sports", "{\"minute\": 90}", "goal", 4, 0, &count, &error))
 *         fprintf(stderr, "%s: %s\n", pubsub_code_name(error.code), error.text);
 *
 *     struct pubsub_channel *channel;
 *     struct pubsub_message *message;
 *     bool ready;
 *     pubsub_open("news.=", &channel, &error);
 *     while (!pubsub_wait(channel, -1, &ready, &error))
 *         while (!pubsub_fetch(channel, &message, &error) && message) {
 *             ... message->topic, message->headers, message->content ...
 *             pubsub_message_free(message);
 *         }
 *     pubsub_close(channel, &error);
 *     pubsub_channel_free(channel);
 *
 * Conventions
 * - Each function returns PUBSUB_OK (0) or the code of the error. `error` may be NULL.
 * - Times are in milliseconds. Strings end with NUL; sizes do not count it.
 * - All functions may be called from several threads at once, also with the same channel;
 *   pubsub_channel_free() alone must be the last call for its channel.
 * - SIGPIPE is never raised by them (PUB-16).
 * - After fork() a channel belongs to the parent: in the child every call but
 *   pubsub_channel_free(), which then closes descriptors and no more, says channel-closed.
 */
#ifndef PUBSUB_H
#define PUBSUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PUBSUB_SPEC "1"              /* the version of the specification */
#define PUBSUB_TOPIC_MAX 200         /* octets of a topic or pattern, TOPIC-1, TOPIC-2 */
#define PUBSUB_NAME_MAX 224          /* octets of a channel's name */
#define PUBSUB_STALE_MS 3600000LL    /* the stale age of the specification */
#ifndef PUBSUB_FILE_MAX
#define PUBSUB_FILE_MAX (1L << 28)   /* octets of a message file; pubsub_fetch() discards larger ones */
#endif

/* The error codes of the specification, one to one. */
enum pubsub_code {
    PUBSUB_OK = 0,
    PUBSUB_INVALID_TOPIC,
    PUBSUB_INVALID_PATTERN,
    PUBSUB_INVALID_HEADERS,
    PUBSUB_TOO_LARGE,
    PUBSUB_INVALID_MESSAGE,
    PUBSUB_DAMAGED_QUEUE,
    PUBSUB_BASE_UNUSABLE,
    PUBSUB_CHANNEL_LOST,
    PUBSUB_IO_ERROR,
    PUBSUB_CHANNEL_CLOSED
};

struct pubsub_error {
    enum pubsub_code code;
    int errnum;         /* PUBSUB_IO_ERROR: the errno; else 0 */
    char text[400];     /* a sentence for people */
};

/* "invalid-topic" and so on; "ok" for PUBSUB_OK. */
const char *pubsub_code_name(enum pubsub_code code);

/* ---- topics ----------------------------------------------------------------------------- */

/* Whether topic matches pattern.  Errors: invalid-pattern, invalid-topic. */
enum pubsub_code pubsub_match(const char *pattern, const char *topic, bool *matches,
                              struct pubsub_error *error);

/* ---- messages --------------------------------------------------------------------------- */

struct pubsub_message {
    uint64_t id;            /* never 0 */
    uint64_t timestamp;     /* microseconds since the epoch */
    const char *topic;
    const char *headers;    /* one JSON object as text, UTF-8; never NULL in what you are given */
    const void *content;
    size_t headers_size;    /* octets; ignored by pubsub_encode() */
    size_t content_size;    /* octets */
};

/* The octets of a message file, for free().  headers NULL or "": none.
   Errors: invalid-topic, invalid-headers, too-large, invalid-message (id 0), io-error (ENOMEM). */
enum pubsub_code pubsub_encode(const struct pubsub_message *message, unsigned char **octets,
                               size_t *size, struct pubsub_error *error);

/* The message in the octets of a file, for pubsub_message_free().
   Errors: invalid-message, io-error (ENOMEM). */
enum pubsub_code pubsub_decode(const unsigned char *octets, size_t size,
                               struct pubsub_message **message, struct pubsub_error *error);

void pubsub_message_free(struct pubsub_message *message);

/* Headers are kept as the JSON text that was published.  It has been checked (MSG-7 to MSG-11),
   so that any JSON library reads it, and so do these three. */
struct pubsub_header {
    enum { PUBSUB_STRING, PUBSUB_NUMBER, PUBSUB_TRUE, PUBSUB_FALSE, PUBSUB_NULL } type;
    const char *key, *value;        /* into the text: strings without quotes, escapes as they are */
    size_t key_size, value_size;
};

/* Steps through the headers: begin with *cursor = message->headers; false at the end. */
bool pubsub_header_next(const char **cursor, struct pubsub_header *header);

/* Looks for one key, which is given without escapes. */
bool pubsub_header_find(const char *headers, const char *key, struct pubsub_header *header);

/* Resolves the escapes of a key or a string of a header into out, which has room for raw_size
   octets; returns how many it wrote.  They may hold NUL (\u0000), and none is added. */
size_t pubsub_unescape(const char *raw, size_t raw_size, char *out);

/* ---- publishing ------------------------------------------------------------------------- */

/* Publishes.  headers: a JSON object of scalars as text, or NULL.  wait_ms: how long to wait for
   queues that are full; 0: not at all; negative: without end.  *count, also with an error: the
   number of queues that took the message.
   Errors: invalid-topic, invalid-headers, too-large, base-unusable, io-error. */
enum pubsub_code pubsub_publish(const char *topic, const char *headers, const void *content,
                                size_t content_size, int wait_ms, size_t *count,
                                struct pubsub_error *error);

/* ---- subscribing ------------------------------------------------------------------------ */

struct pubsub_channel;

/* Opens a channel, after removing what the dead left in the base (REAP-1).
   Errors: invalid-pattern, base-unusable, io-error. */
enum pubsub_code pubsub_open(const char *pattern, struct pubsub_channel **channel,
                             struct pubsub_error *error);

/* Takes the next message without waiting, for pubsub_message_free(); *message is NULL if there is
   none.  Errors: invalid-message and damaged-queue (call again, something was discarded), io-error
   (nothing was: want of memory or descriptors, say), channel-lost, channel-closed. */
enum pubsub_code pubsub_fetch(struct pubsub_channel *channel, struct pubsub_message **message,
                              struct pubsub_error *error);

/* Waits until there may be something to fetch (*ready) or wait_ms are over; negative: no end.
   Takes nothing.  Errors: channel-lost, channel-closed, io-error. */
enum pubsub_code pubsub_wait(struct pubsub_channel *channel, int wait_ms, bool *ready,
                             struct pubsub_error *error);

/* Closes the channel and takes its directory away; threads in pubsub_wait() come back with
   channel-closed.  The channel is closed whatever is returned; a second call does nothing.
   Errors: base-unusable, io-error: something stays on disk until somebody reaps it. */
enum pubsub_code pubsub_close(struct pubsub_channel *channel, struct pubsub_error *error);

/* Closes the channel if need be and frees it.  NULL is allowed. */
void pubsub_channel_free(struct pubsub_channel *channel);

/* The name of the channel's directory in the base. */
const char *pubsub_channel_name(const struct pubsub_channel *channel);

/* A descriptor that is readable when there may be something to fetch, for the event loop of a
   daemon: never read it, never close it; -1 once closed.  An empty fetch, at least once a second,
   tells whether the channel is lost. */
int pubsub_channel_fd(const struct pubsub_channel *channel);

/* ---- cleaning up ------------------------------------------------------------------------ */

/* Removes what dead processes left in the base, and in its tmp what is older than stale_ms.
   Errors: base-unusable, io-error. */
enum pubsub_code pubsub_reap(long long stale_ms, struct pubsub_error *error);

/* Removes messages of one's own channel that no id in the queue speaks for and that are older than
   stale_ms, if the queue is empty now (FETCH-17).  pubsub_fetch() does so every hour.
   Errors: channel-closed, io-error. */
enum pubsub_code pubsub_sweep(struct pubsub_channel *channel, long long stale_ms,
                              struct pubsub_error *error);

/* From now on nothing waits in this process: pubsub_wait() and the waiting of pubsub_publish() end
   within half a second, as if their time were over.  For a handler of SIGTERM: it is
   async-signal-safe. */
void pubsub_interrupt(void);

#ifdef __cplusplus
}
#endif
#endif
