/* channel.c - opens and closes one's own channels */
#include "channel.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int ps_look(const struct pubsub_channel *ch)
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
    if (ch->marked)
        ps_queue_shrink(ch->reader);                                            /* INLINE-25 */
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
static enum pubsub_code open_once(struct pubsub_channel *ch, const char *pattern, int flags,
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
    ps_record_key(ch->name, ch->key);
    ch->marked = false;
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
        (flags & PUBSUB_INLINE && ps_mark(ch->dir, ch->reader, ch->writer, &ch->marked)) ||
        renameat(tmp, dir, b->fd, ch->name)) {                                  /* CHAN-10 */
        err = errno;
        ps_close_fd(&ch->reader);
        ps_close_fd(&ch->writer);
        if (ch->dir >= 0) {         /* opens nothing: that may be what the system refuses */
            unlinkat(ch->dir, "queue", 0);
            unlinkat(ch->dir, PS_MARKER, 0);
        }
        ps_close_fd(&ch->dir);
        unlinkat(tmp, dir, AT_REMOVEDIR);
    }
    close(tmp);
    if (err)
        return ps_entry_fail(&ch->base, ch->name, err, e);
    ch->dev = made.st_dev;
    ch->queue_inode = made.st_ino;
    ch->dir_inode = st.st_ino;
    err = ps_look(ch);                                                             /* CHAN-12 */
    if (!err)
        return PUBSUB_OK;
    take_down(ch);
    return ps_entry_fail(&ch->base, ch->name, err, e);
}

enum pubsub_code pubsub_open(const char *pattern, struct pubsub_channel **channel,
                             struct pubsub_error *e)
{
    return pubsub_open_with(pattern, 0, channel, e);
}

enum pubsub_code pubsub_open_with(const char *pattern, int flags, struct pubsub_channel **channel,
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
        code = open_once(ch, pattern, flags, e);
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

enum pubsub_code ps_enter(struct pubsub_channel *ch, struct pubsub_error *e)
{
    if (ch->owner == getpid()) {
        pthread_mutex_lock(&ch->lock);
        if (!ch->closed)
            return PUBSUB_OK;
        pthread_mutex_unlock(&ch->lock);
    }
    return ps_fail(e, PUBSUB_CHANNEL_CLOSED, 0, "%s is closed", ch->name);      /* CHAN-18 */
}

void ps_wake(const struct pubsub_channel *ch)
{
    static const unsigned char wake_up[8];                                      /* FETCH-10 */
    ssize_t woken = ps_write(ch->writer, wake_up, 8);
    (void)woken;                    /* a full queue is readable */
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
        ps_wake(ch);
    while (ch->waiters)
        pthread_cond_wait(&ch->no_waiters, &ch->lock);
    int err = take_down(ch);
    enum pubsub_code code = PUBSUB_OK;
    free(ch->batch);
    ch->batch = NULL;
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
        free(ch->batch);
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

bool pubsub_channel_is_inline(const struct pubsub_channel *ch)
{
    return ch->marked;
}
