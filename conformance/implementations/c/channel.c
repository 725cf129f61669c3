/* channel.c - one's own channels: opening, fetching, waiting, closing */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { LOOK_MS = 500 };             /* FETCH-14: at least once a second */

struct pubsub_channel {
    pthread_mutex_t lock;           /* guards the fields up to the descriptors */
    pthread_cond_t no_waiters;
    int waiters;
    bool closed;
    uint64_t hand;                  /* FETCH-8: an id that was read and is not done with, or 0 */
    bool watched;                   /* the program polls the queue itself */
    int64_t next_sweep;

    int reader, writer;             /* CHAN-6, CHAN-7 */
    int dir;                        /* BASE-15: the directory, wherever its path may lead */
    pid_t owner;
    dev_t dev;                      /* the device of queue and directory */
    ino_t queue_inode, dir_inode;
    struct ps_base base;
    char name[PUBSUB_NAME_MAX + 1];
    char queue_path[PATH_MAX + PUBSUB_NAME_MAX + 8];
};

/* FETCH-14, by the path, for no event reports it: 0 if the queue there is this channel's, ENOENT if
   the channel is lost, another errno if nothing is known. */
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
    char grave[PS_ENTRY];
    struct stat st;
    int err = fstatat(ch->base.fd, ch->name, &st, AT_SYMLINK_NOFOLLOW) ? errno : 0;
    bool ours = !err && st.st_ino == ch->dir_inode && st.st_dev == ch->dev;     /* CHAN-20 */
    int tmp = ours ? ps_claim(&ch->base, ch->name, grave) : -1;                 /* CHAN-16 */
    if (ours && tmp < 0)
        err = errno;
    if (tmp >= 0 && !fstatat(tmp, grave, &st, AT_SYMLINK_NOFOLLOW) &&
        (st.st_ino != ch->dir_inode || st.st_dev != ch->dev)) {                 /* CHAN-22 */
        renameat(tmp, grave, ch->base.fd, ch->name);
        ps_close_fd(&tmp);
    }
    ps_close_fd(&ch->reader);
    ps_close_fd(&ch->writer);
    ps_close_fd(&ch->dir);
    if (tmp >= 0 && ps_remove_tree(tmp, grave))                                 /* CHAN-14 */
        err = errno;
    ps_close_fd(&tmp);
    return err == ENOENT ? 0 : err;
}

/* ---- opening ---------------------------------------------------------------------------- */

/* Makes the queue in the open directory of this name in tmp. By the path, the system may have been
   led elsewhere; opening it by the descriptor shows that. */
static int make_queue(const struct ps_base *b, const char *name, int dir)
{
#ifdef PS_NO_MKFIFOAT
    char path[PATH_MAX + PS_ENTRY + 16];
    (void)dir;
    snprintf(path, sizeof path, "%s/tmp/%s/queue", b->path, name);
    return mkfifo(path, 0600);
#else
    (void)b;
    (void)name;
    return mkfifoat(dir, "queue", 0600);
#endif
}

static int open_queue_end(int dir, int end)
{
    return ps_open(dir, "queue", end | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY);
}

/* Steps 2 to 6 of opening. io-error with ENOENT, EEXIST, ENOTEMPTY or ENOTDIR: start again. */
static enum pubsub_code open_once(struct pubsub_channel *ch, const char *pattern,
                                  struct pubsub_error *e)
{
    char dir[PS_ENTRY] = "new-";
    const struct ps_base *b = &ch->base;
    struct stat st, made;
    ch->reader = ch->writer = ch->dir = -1;
    snprintf(ch->name, sizeof ch->name, "%s_", pattern);
    if (ps_fresh_name(dir) || ps_fresh_name(ch->name))
        return ps_io_fail(e, errno, "/dev/urandom");
    snprintf(ch->name + strlen(ch->name), 12, "_%" PRIu32, (uint32_t)getpid());
    snprintf(ch->queue_path, sizeof ch->queue_path, "%s/%s/queue", b->path, ch->name);
    int tmp = ps_open_tmp(b), err = 0;
    if (tmp < 0)
        return ps_tmp_fail(b, errno, e);
    if (mkdirat(tmp, dir, 0700) ||
        (ch->dir = ps_open_place(tmp, dir)) < 0 || ps_set_mode(ch->dir, 0700 | b->share) ||
        make_queue(b, dir, ch->dir) ||
        (ch->reader = open_queue_end(ch->dir, O_RDONLY)) < 0 ||
        ps_set_mode(ch->reader, 0600 | (b->share & 022)) ||
        (ch->writer = open_queue_end(ch->dir, O_WRONLY)) < 0 ||
        fstat(ch->reader, &made) || fstat(ch->dir, &st) ||
        renameat(tmp, dir, b->fd, ch->name)) {                                  /* CHAN-10 */
        err = errno;
        ps_close_fd(&ch->reader);
        ps_close_fd(&ch->writer);
        if (ch->dir >= 0)           /* opens nothing: that may be what the system refuses */
            unlinkat(ch->dir, "queue", 0);
        ps_close_fd(&ch->dir);
        unlinkat(tmp, dir, AT_REMOVEDIR);
    }
    close(tmp);
    if (err)
        return ps_entry_fail(&ch->base, ch->name, err, e);
    ch->dev = made.st_dev;
    ch->queue_inode = made.st_ino;
    ch->dir_inode = st.st_ino;
    err = look(ch);                                                             /* CHAN-12 */
    if (!err)
        return PUBSUB_OK;
    take_down(ch);
    return ps_entry_fail(&ch->base, ch->name, err, e);
}

enum pubsub_code pubsub_open(const char *pattern, struct pubsub_channel **channel,
                             struct pubsub_error *e)
{
    struct pubsub_error own, ignored;
    e = e ? e : &own;
    enum pubsub_code code = ps_check_pattern(pattern, e);
    if (code)
        return code;
    struct pubsub_channel *ch = calloc(1, sizeof *ch);
    if (!ch)
        return ps_io_fail(e, ENOMEM, "opening a channel");
    ch->owner = getpid();
    for (int i = 0; i < PS_TRIES; i++) {
        if ((code = ps_base_open(&ch->base, true, e)))
            break;
        if (i == 0)
            ps_reap_base(&ch->base, PUBSUB_STALE_MS, &ignored);                 /* REAP-1 */
        code = open_once(ch, pattern, e);
        if (code != PUBSUB_IO_ERROR ||
            (e->errnum != ENOENT && e->errnum != EEXIST && e->errnum != ENOTEMPTY &&
             e->errnum != ENOTDIR))
            break;
        ps_close_fd(&ch->base.fd);
    }
    if (code) {
        ps_close_fd(&ch->base.fd);
        free(ch);
        return code;
    }
    ch->next_sweep = ps_deadline_in(0) + PUBSUB_STALE_MS * 1000000;
    pthread_mutex_init(&ch->lock, NULL);
    pthread_cond_init(&ch->no_waiters, NULL);
    *channel = ch;
    return PUBSUB_OK;
}

/* Takes the lock if the channel is open and this process's own. */
static enum pubsub_code enter(struct pubsub_channel *ch, struct pubsub_error *e)
{
    if (ch->owner == getpid()) {
        pthread_mutex_lock(&ch->lock);
        if (!ch->closed)
            return PUBSUB_OK;
        pthread_mutex_unlock(&ch->lock);
    }
    return ps_fail(e, PUBSUB_CHANNEL_CLOSED, 0, "%s is closed", ch->name);      /* CHAN-18 */
}

static enum pubsub_code lost(const struct pubsub_channel *ch, struct pubsub_error *e)
{
    return ps_fail(e, PUBSUB_CHANNEL_LOST, 0, "%.200s/%s is gone", ch->base.path, ch->name);
}

/* ---- the queue --------------------------------------------------------------------------- */

/* 1 if there is something in the queue, 0 if not, -1 if that is not known. */
static int is_readable(const struct pubsub_channel *ch)
{
    struct pollfd queue = {.fd = ch->reader, .events = POLLIN};
    return poll(&queue, 1, 0);
}

/* Makes the queue readable, for those who wait. */
static void wake(const struct pubsub_channel *ch)
{
    static const unsigned char wake_up[8];                                      /* FETCH-10 */
    ssize_t woken = write(ch->writer, wake_up, 8);
    (void)woken;                    /* a full queue is readable */
}

/* Makes the queue readable while an id is in hand, if the program watches it (FETCH-21). Called with
   the lock. */
static void show_hand(const struct pubsub_channel *ch)
{
    if (ch->watched && ch->hand && is_readable(ch) != 1)
        wake(ch);
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
    if (!err && !ch->hand && is_readable(ch) == 0)
        for (name = NULL; (name = ps_name_after(&names, name));)
            if (unlinkat(ch->dir, name, 0) && errno != ENOENT)
                err = errno;
    free(names.text);
    return err;
}

enum pubsub_code pubsub_sweep(struct pubsub_channel *ch, long long stale_ms, struct pubsub_error *e)
{
    enum pubsub_code code = enter(ch, e);
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
        got = read(fd, (char *)(m + 1) + n, (size_t)size - n);
        n += got > 0 ? (size_t)got : 0;
    } while ((got > 0 && n < (size_t)size) || (got < 0 && errno == EINTR));
    int err = got < 0 ? errno : ps_parse(m, n, why);
    if (err)
        free(m);
    else
        *message = m;
    return err;
}

/* Steps 3 to 6 for the id in hand: 0, ENOENT (no such file), EBADMSG with *why, or the errno of the
   system. */
static int read_and_remove(struct pubsub_channel *ch, struct pubsub_message **message, const char **why)
{
    char name[24];
    struct stat st;
    snprintf(name, sizeof name, "%" PRIu64, ch->hand);
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

/* The number of ids in the queue. */
static int queued(const struct pubsub_channel *ch)
{
    int octets;
    return ioctl(ch->reader, FIONREAD, &octets) ? INT_MAX - 1 : octets / 8;
}

/* Step 1: the id in hand is then the next one. *empty: there is none. */
static enum pubsub_code next_id(struct pubsub_channel *ch, bool *empty, struct pubsub_error *e)
{
    unsigned char id[8];
    ssize_t n;
    do
        n = read(ch->reader, id, 8);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN)
        return ps_entry_fail(&ch->base, ch->name, errno, e);
    if (n == 8) {
        ch->hand = ps_get(id, 8);
        return PUBSUB_OK;
    }
    if (n > 0)                                                                  /* FETCH-9 */
        return ps_fail(e, PUBSUB_DAMAGED_QUEUE, 0, "%d stray octets discarded", (int)n);
    *empty = true;
    if (look(ch) == ENOENT)                                                     /* FETCH-20 */
        return lost(ch, e);
    if (ps_deadline_in(0) >= ch->next_sweep) {                                  /* FETCH-16 */
        ch->next_sweep = ps_deadline_in(0) + PUBSUB_STALE_MS * 1000000;
        sweep(ch, PUBSUB_STALE_MS);
    }
    return PUBSUB_OK;
}

/* Steps 3 to 6: *message, or NULL for an id without a file (FETCH-3). */
static enum pubsub_code take(struct pubsub_channel *ch, struct pubsub_message **message,
                             struct pubsub_error *e)
{
    const char *why = "";
    uint64_t id = ch->hand;
    int err = read_and_remove(ch, message, &why);
    if (err && err != ENOENT && err != EBADMSG)
        return ps_entry_fail(&ch->base, ch->name, err, e);      /* FETCH-8: the id stays in hand */
    ch->hand = 0;
    return err != EBADMSG ? PUBSUB_OK
        : ps_fail(e, PUBSUB_INVALID_MESSAGE, 0, "%.200s/%s/%" PRIu64 ": not a message: %s",
                  ch->base.path, ch->name, id, why);
}

enum pubsub_code pubsub_fetch(struct pubsub_channel *ch, struct pubsub_message **message,
                              struct pubsub_error *e)
{
    bool empty = false;
    *message = NULL;
    enum pubsub_code code = enter(ch, e);       /* FETCH-11: one thread at a time */
    if (code)
        return code;
    for (int reads = 0, left = 2; left > 0 && !code && !empty && !*message; reads++, left--) {
        if (reads == 1)                     /* FETCH-22: not what is written meanwhile */
            left = queued(ch) + 1;
        if (!ch->hand)
            code = next_id(ch, &empty, e);
        if (ch->hand)                                                           /* FETCH-10 */
            code = take(ch, message, e);
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
    enum pubsub_code code = enter(ch, e);
    if (code)
        return code;
    ch->waiters++;                  /* pubsub_close() waits for it before it closes descriptors */
    struct pollfd queue = {.fd = ch->reader, .events = POLLIN};
    *ready = ch->hand != 0;                                                     /* FETCH-21 */
    for (int ms = 0; !*ready && !ch->closed;) {
        pthread_mutex_unlock(&ch->lock);
        int n = poll(&queue, 1, ms);                                            /* FETCH-13 */
        if (n < 0 && errno != EINTR)
            code = ps_io_fail(e, errno, "poll");
        else if (n > 0)
            *ready = true;
        else if (look(ch) == ENOENT)                                            /* FETCH-14 */
            code = lost(ch, e);
        pthread_mutex_lock(&ch->lock);
        ms = ps_left_until(deadline, LOOK_MS);
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

/* ---- closing ---------------------------------------------------------------------------- */

enum pubsub_code pubsub_close(struct pubsub_channel *ch, struct pubsub_error *e)
{
    if (ch->owner != getpid())
        return ps_fail(e, PUBSUB_CHANNEL_CLOSED, 0, "%s belongs to another process", ch->name);
    pthread_mutex_lock(&ch->lock);
    if (ch->closed) {
        pthread_mutex_unlock(&ch->lock);
        return PUBSUB_OK;
    }
    ch->closed = true;
    if (ch->waiters)
        wake(ch);
    while (ch->waiters)
        pthread_cond_wait(&ch->no_waiters, &ch->lock);
    int err = take_down(ch);
    enum pubsub_code code = PUBSUB_OK;
    if (err)
        code = err == ENOTDIR ? ps_tmp_fail(&ch->base, err, e)
                              : ps_entry_fail(&ch->base, ch->name, err, e);
    ps_close_fd(&ch->base.fd);
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
    } else {                        /* a forked child closes the descriptors that it inherited */
        ps_close_fd(&ch->reader);
        ps_close_fd(&ch->writer);
        ps_close_fd(&ch->dir);
        ps_close_fd(&ch->base.fd);
    }
    free(ch);
}

const char *pubsub_channel_name(const struct pubsub_channel *ch)
{
    return ch->name;
}

int pubsub_channel_fd(struct pubsub_channel *ch)
{
    if (enter(ch, NULL))
        return -1;
    ch->watched = true;
    show_hand(ch);
    int fd = ch->reader;
    pthread_mutex_unlock(&ch->lock);
    return fd;
}
