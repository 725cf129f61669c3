/* fetch.c - fetches from one's own channels, waits, and removes orphans */
#include "channel.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    LOOK_MS = 500,              /* FETCH-14: at least once a second */
    HAND_MOST = 65536           /* INLINE-19 */
};

static enum pubsub_code lost(const struct pubsub_channel *ch, struct pubsub_error *e)
{
    return ps_fail(e, PUBSUB_CHANNEL_LOST, 0, "%.200s/%s is gone", ch->base.path, ch->name);
}

/* ---- in hand ---------------------------------------------------------------------------- */

/* The word or record that comes next. */
static unsigned char *next(struct pubsub_channel *ch)
{
    return (ch->batch ? ch->batch : ch->word) + ch->at;
}

/* Its octets; 0: there is none in hand, or not the whole of it. */
static size_t next_size(struct pubsub_channel *ch)
{
    size_t n = ch->end - ch->at;
    size_t record = n >= 8 && ch->marked ? ps_record_size(ch->key, next(ch)) : 0;
    size_t size = record ? record : 8;
    return size <= n ? size : 0;
}

static void pass_over(struct pubsub_channel *ch, size_t size)
{
    ch->at += size;
    if (ch->at == ch->end) {
        free(ch->batch);
        ch->batch = NULL;
        ch->at = ch->end = 0;
    }
}

/* Adds to the hand what is in the queue. 0, or an errno; EAGAIN: the queue is empty. */
static int read_on(struct pubsub_channel *ch)
{
    size_t rest = ch->end - ch->at, most = ch->marked ? HAND_MOST : sizeof ch->word;
    unsigned char *batch = ch->marked ? malloc(most) : NULL;
    unsigned char *to = ch->marked ? batch : ch->word;
    if (!to)
        return ENOMEM;
    ssize_t n = ps_read(ch->reader, to + rest, most - rest);
    if (n <= 0) {
        int err = n < 0 ? errno : EAGAIN;
        free(batch);
        return err;
    }
    ch->shown = false;              /* a word that showed the hand may have been among these */
    if (batch) {
        memcpy(batch, next(ch), rest);
        free(ch->batch);
        ch->batch = realloc(batch, rest + (size_t)n);
        ch->batch = ch->batch ? ch->batch : batch;
    }
    ch->at = 0;
    ch->end = rest + (size_t)n;
    return !ch->marked && n < 8 ? EAGAIN : 0;       /* nothing was left behind these octets */
}

/* 1 if there is something in the queue, 0 if not, -1 if that is not known. */
static int is_readable(const struct pubsub_channel *ch)
{
    struct pollfd queue = {.fd = ch->reader, .events = POLLIN};
    int n;
    do
        n = poll(&queue, 1, 0);
    while (n < 0 && errno == EINTR);
    return n;
}

/* Makes the queue readable while a message is in hand, for threads that wait, and for a program that
   watches it (FETCH-21, INLINE-20). Called with the lock, before it is released after a read. */
static void show_hand(struct pubsub_channel *ch)
{
    if ((!ch->watched && !ch->waiters) || ch->shown || !next_size(ch))
        return;
    if (is_readable(ch) != 1)
        ps_wake(ch);
    ch->shown = true;
}

/* ---- orphans ---------------------------------------------------------------------------- */

/* Removes what was stale and is still there after the queue was seen empty (FETCH-17). 0 or an
   errno. Called with the lock. */
static int sweep(struct pubsub_channel *ch, long long stale_ms)
{
    struct ps_names names = {0};
    const char *name;
    struct stat st;
    DIR *dir = ps_open_dir(ch->dir, ".");
    if (!dir)
        return errno == ENOENT ? 0 : errno;
    while ((name = ps_next_name(dir)))
        if (ps_is_message_name(name) && !fstatat(dirfd(dir), name, &st, AT_SYMLINK_NOFOLLOW) &&
            S_ISREG(st.st_mode) && ps_older(st.CTIM, stale_ms) && ps_add_name(&names, name))
            break;
    int err = errno;
    closedir(dir);
    if (!err && !next_size(ch) && is_readable(ch) == 0)
        for (name = NULL; (name = ps_name_after(&names, name));)
            if (unlinkat(ch->dir, name, 0) && errno != ENOENT)
                err = errno;
    free(names.text);
    return err;
}

enum pubsub_code pubsub_sweep(struct pubsub_channel *ch, long long stale_ms, struct pubsub_error *e)
{
    enum pubsub_code code = ps_enter(ch, e);
    if (code)
        return code;
    int err = sweep(ch, stale_ms);
    pthread_mutex_unlock(&ch->lock);
    return err ? ps_entry_fail(&ch->base, ch->name, err, e) : PUBSUB_OK;
}

/* ---- fetching --------------------------------------------------------------------------- */

/* Step 5: reads the message in an open file. 0, or EBADMSG with *why, or the errno of the system. */
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
        got = ps_read(fd, (char *)(m + 1) + n, (size_t)size - n);
        n += got > 0 ? (size_t)got : 0;
    } while (got > 0 && n < (size_t)size);
    int err = got < 0 ? errno : ps_parse(m, n, why);
    if (err)
        free(m);
    else
        *message = m;
    return err;
}

/* Steps 3 to 6 for an id: 0, ENOENT (no such file), EBADMSG with *why, or the errno of the system. */
static int read_and_remove(struct pubsub_channel *ch, uint64_t id, struct pubsub_message **message,
                           const char **why)
{
    char name[24];
    struct stat st;
    snprintf(name, sizeof name, "%" PRIu64, id);
    int fd = ps_open(ch->dir, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY);
    int err = fd < 0 ? errno : 0;
    if (err == ENOENT || err == ENOTDIR)
        return ENOENT;
    /* For a link or a socket, systems give different errors; they agree on what it is. */
    if (fd < 0 ? fstatat(ch->dir, name, &st, AT_SYMLINK_NOFOLLOW) : fstat(fd, &st)) {
        err = err ? err : errno;
        ps_close_fd(&fd);
        return err;
    }
    *why = "not a regular file";                                                /* FETCH-7 */
    if (!S_ISREG(st.st_mode)) {
        err = EBADMSG;
    } else if (err == EACCES) {             /* FETCH-19: does the file itself deny, too? */
        *why = "it must not be read";
        if (faccessat(ch->dir, name, R_OK, AT_EACCESS) && errno == EACCES)
            err = EBADMSG;
    } else if (!err) {
        err = read_message(fd, st.st_size, message, why);
    }
    ps_close_fd(&fd);
    if (!err && (*message)->id != id) {                                   /* FETCH-6 */
        *why = "its id is not its name";
        free(*message);
        *message = NULL;
        err = EBADMSG;
    }
    if ((!err || err == EBADMSG) && !S_ISDIR(st.st_mode))
        unlinkat(ch->dir, name, 0);                                         /* FETCH-4, FETCH-5 */
    return err;
}

/* A record: the message in it, which leaves the directory alone (INLINE-11). Returns as the above. */
static int read_record(const unsigned char *record, struct pubsub_message **message, const char **why)
{
    size_t n = (size_t)ps_get(record + PS_RECORD_KEY, 2);
    struct pubsub_message *m = malloc(sizeof *m + n);
    if (!m)
        return ENOMEM;
    memcpy(m + 1, record + 8, n);
    int err = ps_parse(m, n, why);
    if (err)
        free(m);
    else
        *message = m;
    return err;
}

/* Takes the word or record that comes next: *message, or NULL for an id of 0 or without a file
   (FETCH-3, FETCH-10). */
static enum pubsub_code take(struct pubsub_channel *ch, size_t size, struct pubsub_message **message,
                             struct pubsub_error *e)
{
    const char *why = "";
    char what[24] = "a record";
    uint64_t id = size == 8 ? ps_get(next(ch), 8) : 0;
    int err = size > 8 ? read_record(next(ch), message, &why)
        : id ? read_and_remove(ch, id, message, &why) : 0;
    if (err && err != ENOENT && err != EBADMSG)
        return ps_entry_fail(&ch->base, ch->name, err, e);      /* FETCH-8: it stays in hand */
    pass_over(ch, size);                                                        /* INLINE-9 */
    if (err != EBADMSG)
        return PUBSUB_OK;
    if (id)
        snprintf(what, sizeof what, "%" PRIu64, id);
    return ps_fail(e, PUBSUB_INVALID_MESSAGE, 0, "%.200s/%s/%s: not a message: %s", ch->base.path,
                   ch->name, what, why);
}

/* The queue is empty. What is in hand then was cut short (FETCH-9, INLINE-10). */
static enum pubsub_code end_of_queue(struct pubsub_channel *ch, struct pubsub_error *e)
{
    size_t rest = ch->end - ch->at;
    if (rest) {
        pass_over(ch, rest);
        return ps_fail(e, PUBSUB_DAMAGED_QUEUE, 0, "%zu stray octets discarded", rest);
    }
    if (ps_look(ch) == ENOENT)                                                  /* FETCH-20 */
        return lost(ch, e);
    if (ps_deadline_in(0) >= ch->next_sweep) {                                  /* FETCH-16 */
        ch->next_sweep = ps_deadline_in(0) + PUBSUB_STALE_MS * 1000000;
        sweep(ch, PUBSUB_STALE_MS);
    }
    return PUBSUB_OK;
}

/* The words in hand and in the queue. */
static int words(const struct pubsub_channel *ch)
{
    int octets = ps_queue_octets(ch->reader);
    return octets < 0 ? INT_MAX : (octets + (int)(ch->end - ch->at)) / 8 + 1;
}

enum pubsub_code pubsub_fetch(struct pubsub_channel *ch, struct pubsub_message **message,
                              struct pubsub_error *e)
{
    bool empty = false;
    *message = NULL;
    enum pubsub_code code = ps_enter(ch, e);    /* FETCH-11: one thread at a time */
    if (code)
        return code;
    for (int taken = 0, left = 2; left > 0 && !code && !empty && !*message; taken++, left--) {
        if (taken == 1)                     /* FETCH-22: not what is written meanwhile */
            left = words(ch);
        size_t size;
        int err = 0;
        while (!(size = next_size(ch)) && !err)
            err = read_on(ch);
        empty = err == EAGAIN;
        if (size)
            code = take(ch, size, message, e);
        else if (empty)
            code = end_of_queue(ch, e);
        else
            code = ps_entry_fail(&ch->base, ch->name, err, e);
    }
    show_hand(ch);
    pthread_mutex_unlock(&ch->lock);
    return code;
}

/* ---- waiting ---------------------------------------------------------------------------- */

enum pubsub_code pubsub_wait(struct pubsub_channel *ch, int wait_ms, bool *ready,
                             struct pubsub_error *e)
{
    int64_t deadline = ps_deadline_in(wait_ms);
    *ready = false;
    enum pubsub_code code = ps_enter(ch, e);
    if (code)
        return code;
    ch->waiters++;                  /* pubsub_close() waits for it before it closes descriptors */
    struct pollfd queue = {.fd = ch->reader, .events = POLLIN};
    *ready = next_size(ch);                                         /* FETCH-21, INLINE-20 */
    for (int ms = 0; !*ready && !ch->closed;) {
        pthread_mutex_unlock(&ch->lock);
        int n = poll(&queue, 1, ms);                                            /* FETCH-13 */
        int err = n < 0 ? errno : 0;
        bool is_lost = !n && ps_look(ch) == ENOENT;                             /* FETCH-14 */
        pthread_mutex_lock(&ch->lock);
        ms = ps_left_until(deadline, LOOK_MS);
        *ready = n > 0 || next_size(ch);
        if (err && err != EINTR)
            code = ps_io_fail(e, err, "poll");
        else if (is_lost && !*ready)
            code = lost(ch, e);
        if (code || !ms)
            break;
    }
    if (ch->closed) {
        *ready = false;
        code = ps_fail(e, PUBSUB_CHANNEL_CLOSED, 0, "%s is closed", ch->name);
    }
    if (!--ch->waiters)
        pthread_cond_signal(&ch->no_waiters);
    pthread_mutex_unlock(&ch->lock);
    return code;
}

int pubsub_channel_fd(struct pubsub_channel *ch)
{
    if (ps_enter(ch, NULL))
        return -1;
    ch->watched = true;
    show_hand(ch);
    int fd = ch->reader;
    pthread_mutex_unlock(&ch->lock);
    return fd;
}
