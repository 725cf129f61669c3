/* pubsub.h - publish/subscribe on the file system, version 1
 *
 * Processes of one machine meet in a directory: PUBSUB_HOME, or /dev/shm/pubsub, or $TMPDIR/pubsub,
 * or /tmp/pubsub (BASE-1, BASE-2). Each call reads the environment. There is no daemon, and nothing
 * to initialise. Ids such as PUB-7 are those of the specification, spec/ in the source.
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
 * - Several threads may call all functions at once, with the same channel, too. Only
 *   pubsub_channel_free() must be the last call for its channel.
 * - They raise no SIGPIPE (PUB-16).
 * - After fork() a channel belongs to the parent. In the child pubsub_channel_free() closes the
 *   inherited descriptors and frees memory; every other call returns channel-closed.
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
#define PUBSUB_FILE_MAX (1L << 28)   /* octets; pubsub_fetch() discards larger message files */
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
    int errnum;         /* PUBSUB_IO_ERROR: the errno; PUBSUB_BASE_UNUSABLE: perhaps one; else 0 */
    char text[600];     /* a sentence for people; of a long path, the beginning */
};

/* "invalid-topic" and so on; "ok" for PUBSUB_OK. */
const char *pubsub_code_name(enum pubsub_code code);

/* ---- topics ----------------------------------------------------------------------------- */

/* Whether topic matches pattern. Errors: invalid-pattern, invalid-topic. */
enum pubsub_code pubsub_match(const char *pattern, const char *topic, bool *matches,
                              struct pubsub_error *error);

/* ---- messages --------------------------------------------------------------------------- */

struct pubsub_message {
    uint64_t id;            /* never 0 */
    uint64_t timestamp;     /* microseconds since the epoch */
    const char *topic;
    const char *headers;    /* one JSON object as text, UTF-8; the library never gives NULL */
    const void *content;
    size_t headers_size;    /* octets; pubsub_encode() ignores it */
    size_t content_size;    /* octets */
};

/* Gives the octets of the message file, which the caller frees with free(). Headers NULL or "":
   none.
   Errors: invalid-topic, invalid-headers, too-large, invalid-message (id 0), io-error (ENOMEM). */
enum pubsub_code pubsub_encode(const struct pubsub_message *message, unsigned char **octets,
                               size_t *size, struct pubsub_error *error);

/* Gives the message in the octets of a file, which the caller frees with pubsub_message_free().
   Errors: invalid-message, io-error (ENOMEM). */
enum pubsub_code pubsub_decode(const unsigned char *octets, size_t size,
                               struct pubsub_message **message, struct pubsub_error *error);

void pubsub_message_free(struct pubsub_message *message);

/* Headers stay the JSON text that was published. The library has checked it (MSG-7 to MSG-11), so
   any JSON library reads it, and so do the next three functions. */
struct pubsub_header {
    enum { PUBSUB_STRING, PUBSUB_NUMBER, PUBSUB_TRUE, PUBSUB_FALSE, PUBSUB_NULL } type;
    const char *key, *value;        /* in the text: strings without quotes, with their escapes */
    size_t key_size, value_size;
};

/* Steps through the headers: begin with *cursor = message->headers; false at the end. */
bool pubsub_header_next(const char **cursor, struct pubsub_header *header);

/* Finds the header with this key, which has no escapes; false: there is none. */
bool pubsub_header_find(const char *headers, const char *key, struct pubsub_header *header);

/* Writes a key or a string without its escapes to out, which has room for raw_size octets, and
   returns how many it wrote. They may hold NUL (\u0000); none is added. */
size_t pubsub_unescape(const char *raw, size_t raw_size, char *out);

/* ---- publishing ------------------------------------------------------------------------- */

/* Publishes a message. headers: a JSON object of scalars as text, or NULL. wait_ms: how long to
   wait for full queues; 0: not at all; negative: without end. *count, with an error, too: the number
   of queues that took the message.
   Errors: invalid-topic, invalid-headers, too-large, base-unusable, io-error. */
enum pubsub_code pubsub_publish(const char *topic, const char *headers, const void *content,
                                size_t content_size, int wait_ms, size_t *count,
                                struct pubsub_error *error);

/* A process keeps descriptors of queues from one publish to the next, only of channels that were opened
   with PUBSUB_INLINE: at most 256, and an eighth of those that it may have open. They are closed on
   exec and in a forked child, and when an operation of this library needs a descriptor and gets none.
   This function closes them; call it before you close descriptors that are not yours, as daemons do. */
void pubsub_close_kept_queues(void);

/* ---- subscribing ------------------------------------------------------------------------ */

struct pubsub_channel;

/* Opens a channel, after it removed what dead processes left in the base (REAP-1).
   Errors: invalid-pattern, base-unusable, io-error. */
enum pubsub_code pubsub_open(const char *pattern, struct pubsub_channel **channel,
                             struct pubsub_error *error);

/* The same, with flags. PUBSUB_INLINE asks for the inline lane: small messages then travel in the queue
   itself, which is faster, and are no files. The queue then takes three eighths as many messages, or
   more. Only Linux has the lane; elsewhere the flag changes nothing. */
#define PUBSUB_INLINE 1
enum pubsub_code pubsub_open_with(const char *pattern, int flags, struct pubsub_channel **channel,
                                  struct pubsub_error *error);

/* Whether the channel has the inline lane. */
bool pubsub_channel_is_inline(const struct pubsub_channel *channel);

/* Takes the next message, which the caller frees with pubsub_message_free(); *message is NULL if
   there is none. It does not wait. Errors: invalid-message and damaged-queue (something was
   discarded: call again), io-error (nothing was discarded: memory or descriptors are short, say),
   channel-lost, channel-closed. */
enum pubsub_code pubsub_fetch(struct pubsub_channel *channel, struct pubsub_message **message,
                              struct pubsub_error *error);

/* Waits until there may be something to fetch (*ready), or wait_ms are over; negative: without end.
   It takes nothing. Errors: channel-lost, channel-closed, io-error. */
enum pubsub_code pubsub_wait(struct pubsub_channel *channel, int wait_ms, bool *ready,
                             struct pubsub_error *error);

/* Closes the channel and removes its directory with all unread messages; threads in pubsub_wait()
   return with channel-closed. With an error, too, the channel is closed; a second call does
   nothing.
   Errors: base-unusable, io-error: something stays on disk until somebody reaps it. */
enum pubsub_code pubsub_close(struct pubsub_channel *channel, struct pubsub_error *error);

/* Closes the channel if need be and frees it.  NULL is allowed. */
void pubsub_channel_free(struct pubsub_channel *channel);

/* The name of the channel's directory in the base. */
const char *pubsub_channel_name(const struct pubsub_channel *channel);

/* A descriptor for an event loop: it is readable when there may be something to fetch, a message that
   pubsub_fetch() returned io-error for included. Never read it, never close it. -1 once the channel is
   closed, and in a forked child. No descriptor reports that a channel is lost: call pubsub_fetch() at
   least once a second. */
int pubsub_channel_fd(struct pubsub_channel *channel);

/* ---- cleaning up ------------------------------------------------------------------------ */

/* Removes what dead processes left in the base, and what in its tmp is older than stale_ms.
   Errors: base-unusable, io-error. */
enum pubsub_code pubsub_reap(long long stale_ms, struct pubsub_error *error);

/* If the queue is empty, removes messages of one's own channel that are older than stale_ms: no id
   in the queue names them (FETCH-17). pubsub_fetch() does so every hour.
   Errors: channel-closed, io-error. */
enum pubsub_code pubsub_sweep(struct pubsub_channel *channel, long long stale_ms,
                              struct pubsub_error *error);

/* From now on nothing waits in this process: pubsub_wait() and pubsub_publish() end within half a
   second, as if their time were over. A handler of SIGTERM may call it: it is async-signal-safe. */
void pubsub_interrupt(void);

#ifdef __cplusplus
}
#endif
#endif
