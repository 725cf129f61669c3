/* deliver.c - brings a message to one channel: step 4 of spec/publish.md, with that of spec/inline.md */
#include "publish.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* One write, whole or not at all (PUB-9, INLINE-7). */
static enum ps_outcome send_octets(struct ps_publish *p, struct ps_target *t, int fd,
                                   const unsigned char *octets, size_t size, struct pubsub_error *e)
{
    ssize_t n = ps_write(fd, octets, size);
    if (n == (ssize_t)size) {
        if (t->allowance > 0)
            t->allowance -= (int)size;
        return PS_TOOK;
    }
    int err = n < 0 ? errno : EIO;
    if (err == EAGAIN)
        return PS_FULL;
    if (err == EPIPE) {
        p->broke = true;
        return PS_GONE;
    }
    ps_entry_fail(&p->base, t->name, err, e);
    return PS_FAILED;
}

/* ---- as a record ------------------------------------------------------------------------ */

/* Whether the queue takes records: each that was opened has an owner anew (INLINE-5). */
static bool is_inline(const struct ps_target *t)
{
    return t->marker == PS_MARKED && t->marker_owner == t->owner;
}

/* Whether less than half of the queue is full (INLINE-12, INLINE-13). */
static bool has_room(struct ps_publish *p, struct ps_target *t, int fd)
{
    if ((int)p->record_size <= t->allowance)
        return true;
    int octets = ps_queue_octets(fd), size = ps_queue_size(fd);
    int most = size / 2 - octets < size / 16 ? size / 2 - octets : size / 16;
    bool is_known = octets >= 0 && size >= 0;
    t->allowance = is_known && most > 0 ? most : 0; /* if it has none, the next publish looks again */
    return !is_known || most > 0;
}

static enum ps_outcome send_record(struct ps_publish *p, struct ps_target *t, int fd,
                                   struct pubsub_error *e)
{
    memcpy(p->record, t->key, PS_RECORD_KEY);
    enum ps_outcome outcome = send_octets(p, t, fd, p->record, p->record_size, e);
    if (outcome == PS_FULL)
        t->allowance = 0;
    return outcome;
}

/* ---- the base and the queue -------------------------------------------------------------- */

/* The base, which a publish with a kept list does not need for records. PS_TOOK: it is open. */
static enum ps_outcome open_base(struct ps_publish *p, struct pubsub_error *e)
{
    if (p->base.fd >= 0)
        return PS_TOOK;
    if (ps_base_open(&p->base, false, e))
        return PS_FAILED;
    if (p->base.fd >= 0 &&
        (p->base.dev != p->list->base.st_dev || p->base.inode != p->list->base.st_ino))
        ps_close_fd(&p->base.fd);           /* it was replaced: the channels went with the old one */
    return p->base.fd >= 0 ? PS_TOOK : PS_GONE;
}

/* Step 4.1. The channel is reached by its path each time: a descriptor of its directory would still
   lead into a channel that was closed. PS_TOOK: *fd is its queue. */
static enum ps_outcome open_queue(struct ps_publish *p, struct ps_target *t, int *fd,
                                  struct pubsub_error *e)
{
    struct stat st;
    enum ps_outcome outcome = open_base(p, e);
    if (outcome != PS_TOOK)
        return outcome;
    enum ps_life life = PS_UNKNOWN;
    if (!fstatat(p->base.fd, t->name, &st, AT_SYMLINK_NOFOLLOW)) {
        if (!S_ISDIR(st.st_mode))           /* a link to one would lead out of the base (BASE-10) */
            return PS_GONE;
        life = ps_open_queue(p->base.fd, t->name, fd, &st);
    }
    if (life == PS_UNKNOWN && errno != ENXIO && errno != ENOTDIR && errno != ENOENT) {
        ps_entry_fail(&p->base, t->name, errno, e);
        return PS_FAILED;
    }
    if (life != PS_ALIVE)                                                       /* PUB-11 */
        return PS_GONE;
    t->dev = st.st_dev;
    t->inode = st.st_ino;
    t->owner = st.st_uid;
    t->allowance = 0;
    if (t->marker == PS_UNSEEN && p->record_size)
        t->marker = ps_is_marked(p->base.fd, t->name, &t->marker_owner) ? PS_MARKED : PS_UNMARKED;
    return PS_TOOK;
}

/* The descriptor that was kept, or the one of this publish, *own. The kept one may have been dropped for
   want of descriptors since it was had last (INLINE-24). PS_TOOK: *fd is the queue. */
static enum ps_outcome have_queue(struct ps_publish *p, struct ps_target *t, int *own, int *fd,
                                  struct pubsub_error *e)
{
    enum ps_outcome outcome = t->in_use || *own >= 0 ? PS_TOOK : open_queue(p, t, own, e);
    *fd = t->in_use ? t->fd : *own;
    return outcome;
}

/* ---- by file ---------------------------------------------------------------------------- */

/* Stages the message for the first time or again (PUB-12). PS_TOOK: it is staged. */
static enum ps_outcome stage(struct ps_publish *p, struct pubsub_error *e)
{
    if (!*p->staged && p->unstaged.code) {
        *e = p->unstaged;
        return PS_UNSTAGED;
    }
    bool again = p->was_staged;
    int err = ps_stage(p, e);
    if (!err)
        return PS_TOOK;
    if (err == ENOENT && p->tries > 0)      /* the base went, and the channel with it */
        return PS_GONE;
    if (again && e->code == PUBSUB_BASE_UNUSABLE)
        ps_entry_fail(&p->base, "tmp", err, e);
    if (!*p->staged)
        p->unstaged = *e;
    return PS_UNSTAGED;
}

/* Step 4.2: links the message into the channel, under another id if need be. */
static enum ps_outcome link_message(struct ps_publish *p, const char *channel, char link[PS_ENTRY],
                                    struct pubsub_error *e)
{
    struct stat st;
    for (bool again = !*p->staged;; again = true) {
        enum ps_outcome staged = again ? stage(p, e) : PS_TOOK;
        if (staged != PS_TOOK)
            return staged;
        snprintf(link, PS_ENTRY, "%s/%s", channel, p->staged);
        if (!linkat(p->tmp, p->staged, p->base.fd, link, 0))
            return PS_TOOK;                                                     /* PUB-7 */
        int err = errno;
        if (err == ENOENT || err == ENOTDIR) {
            if (!fstatat(p->tmp, p->staged, &st, AT_SYMLINK_NOFOLLOW))
                return PS_GONE;
            if (errno != ENOENT) {          /* it may well be there */
                ps_entry_fail(&p->base, link, errno, e);
                return PS_FAILED;
            }
            *p->staged = 0;                 /* PUB-12: a cleaner took it */
        }
        if ((err != ENOENT && err != ENOTDIR && err != EEXIST && err != EMLINK) ||
            p->tries-- <= 0) {
            ps_entry_fail(&p->base, link, err, e);
            return PS_FAILED;
        }
    }
}

static enum ps_outcome send_file(struct ps_publish *p, struct ps_target *t, int *own,
                                 struct pubsub_error *e)
{
    char link[PS_ENTRY];
    unsigned char id[8];
    int fd;
    enum ps_outcome outcome = open_base(p, e);
    if (outcome == PS_TOOK)
        outcome = link_message(p, t->name, link, e);
    if (outcome != PS_TOOK)
        return outcome;
    ps_put(id, p->staged_id, 8);
    outcome = have_queue(p, t, own, &fd, e);
    if (outcome == PS_TOOK)
        outcome = send_octets(p, t, fd, id, 8, e);
    if (outcome != PS_TOOK && unlinkat(p->base.fd, link, 0) && errno != ENOENT &&  /* PUB-10 */
        outcome != PS_FAILED) {
        ps_entry_fail(&p->base, link, errno, e);
        outcome = PS_FAILED;
    }
    return outcome;
}

/* ---- one channel ------------------------------------------------------------------------ */

enum ps_outcome ps_deliver(struct ps_publish *p, struct ps_target *t, struct pubsub_error *e)
{
    int own = -1, fd;
    ps_borrow_queue(t);
    if (p->is_waiting)                                                          /* INLINE-18 */
        ps_close_queue(t);
    enum ps_outcome outcome = have_queue(p, t, &own, &fd, e);
    if (outcome != PS_TOOK)
        return outcome;
    bool is_small = is_inline(t) && p->record_size;
    outcome = is_small && has_room(p, t, fd) ? send_record(p, t, fd, e) : PS_FULL;
    if (outcome == PS_FULL)                                                     /* INLINE-16 */
        outcome = send_file(p, t, &own, e);
    if (outcome == PS_UNSTAGED) {
        struct pubsub_error reason = *e;
        outcome = is_small ? have_queue(p, t, &own, &fd, e) : PS_FULL;
        if (is_small && outcome == PS_TOOK)
            outcome = send_record(p, t, fd, e);                                 /* INLINE-15 */
        if (outcome == PS_FULL) {
            outcome = PS_FAILED;                                                /* INLINE-14 */
            p->gave_up = true;
            *e = reason;
        }
    }
    if (is_inline(t) && !p->is_waiting && (outcome == PS_TOOK || outcome == PS_FULL))
        ps_keep_queue(p->list, t, &own);
    else if (t->in_use) {
        ps_close_queue(t);
        if (outcome == PS_FAILED && e->errnum == EBADF)     /* the program has closed it */
            return ps_deliver(p, t, e);
    }
    ps_close_fd(&own);
    return outcome;
}
