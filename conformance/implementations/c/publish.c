/* publish.c - publishes a message, by the steps of spec/publish.md */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROOM_MS = 20 };              /* PUB-19: a full queue is tried again at least so often */

struct publish {
    struct ps_base base;
    unsigned char *file;
    size_t size;
    uint64_t id;
    int tmp;                        /* where the message is staged */
    char staged[24];                /* its name there, which is the id; empty: it is not staged */
    struct ps_names channels;       /* still to be tried */
    struct pubsub_error unseen;     /* of a channel that could not be examined; code 0: none */
    int tries;                      /* how often something may still be repeated */
};

/* Step 2: the channels whose pattern matches. Each publish lists the base anew, so PUB-21 and
   PUB-22 have nothing to ask of it. */
static enum pubsub_code find_channels(struct publish *p, const char *topic, struct pubsub_error *e)
{
    char pattern[PUBSUB_TOPIC_MAX + 1];
    const char *name;
    long long pid;
    struct stat st;
    DIR *dir = ps_open_dir(p->base.fd, ".");
    if (!dir)
        return ps_entry_fail(&p->base, "", errno, e);
    p->channels.size = 0;
    while ((name = ps_next_name(dir))) {
        if (!ps_parse_channel(name, pattern, &pid) || !ps_matches(pattern, topic))
            continue;
        if (fstatat(p->base.fd, name, &st, AT_SYMLINK_NOFOLLOW)) {
            if (errno != ENOENT)
                ps_entry_fail(&p->base, name, errno, &p->unseen);               /* PUB-13 */
            continue;
        }
        if (!S_ISDIR(st.st_mode))           /* a link to one would lead out of the base (BASE-10) */
            continue;
        if (ps_add_name(&p->channels, name))
            break;
    }
    int err = errno;
    closedir(dir);
    return err ? ps_entry_fail(&p->base, "", err, e) : PUBSUB_OK;
}

/* ---- staging ---------------------------------------------------------------------------- */

static int unstage(struct publish *p)
{
    if (*p->staged && unlinkat(p->tmp, p->staged, 0) && errno != ENOENT)
        return -1;
    *p->staged = 0;
    return 0;
}

static int write_whole(int fd, const unsigned char *octets, size_t n)
{
    while (n) {
        ssize_t put = write(fd, octets, n < 1 << 30 ? n : 1 << 30);
        if (put < 0 && errno != EINTR)
            return -1;
        if (put > 0) {
            octets += put;
            n -= (size_t)put;
        }
    }
    return 0;
}

/* BASE-9: read for those who may read and write in the base. */
static mode_t message_mode(const struct ps_base *b)
{
    return 0600 | ((b->share & 060) == 060 ? 040 : 0) | ((b->share & 06) == 06 ? 04 : 0);
}

/* Step 3: stages the message under a fresh id. The new copy replaces an earlier one; if staging
   fails, the earlier one stays. io-error with ENOENT: the base is gone. */
static enum pubsub_code stage(struct publish *p, struct pubsub_error *e)
{
    char name[sizeof p->staged], path[sizeof name + 4];
    uint64_t id;
    int tmp = -1, fd, err;
    do {
        ps_close_fd(&tmp);
        if ((tmp = ps_open_tmp(&p->base)) < 0)
            return ps_tmp_fail(&p->base, errno, e);
        if (ps_fresh_id(&id)) {
            err = errno;
            close(tmp);
            return ps_io_fail(e, err, "/dev/urandom");
        }
        snprintf(name, sizeof name, "%" PRIu64, id);
        snprintf(path, sizeof path, "tmp/%s", name);
        fd = openat(tmp, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        err = fd < 0 ? errno : 0;
    } while ((err == EEXIST || err == ENOENT || err == EINTR) && p->tries-- > 0);
    if (err) {                                                                  /* PUB-3, PUB-6 */
        close(tmp);
        return ps_entry_fail(&p->base, path, err, e);
    }
    ps_put(p->file + 5, id, 8);
    if (write_whole(fd, p->file, p->size) || fchmod(fd, message_mode(&p->base)))
        err = errno;
    if (close(fd) && errno != EINTR && !err)
        err = errno;
    if (!err && unstage(p))
        err = errno;
    if (err) {
        unlinkat(tmp, name, 0);
        close(tmp);
        return ps_entry_fail(&p->base, path, err, e);
    }
    ps_close_fd(&p->tmp);
    p->tmp = tmp;
    strcpy(p->staged, name);
    p->id = id;
    return PUBSUB_OK;
}

/* ---- delivering ------------------------------------------------------------------------- */

enum outcome { TOOK, GONE, FULL, FAILED };

/* Step 4.2: links the message into the channel, under another id if need be. */
static enum outcome link_message(struct publish *p, const char *channel, char link[PS_ENTRY],
                                 struct pubsub_error *e)
{
    struct stat st;
    for (bool again = !*p->staged;; again = true) {
        if (again && stage(p, e))           /* ENOENT: the base went, and the channel with it */
            return e->errnum == ENOENT && p->tries > 0 ? GONE : FAILED;
        snprintf(link, PS_ENTRY, "%s/%" PRIu64, channel, p->id);
        if (!linkat(p->tmp, p->staged, p->base.fd, link, 0))
            return TOOK;                                                        /* PUB-7 */
        int err = errno;
        if (err == ENOENT || err == ENOTDIR) {
            if (!fstatat(p->tmp, p->staged, &st, AT_SYMLINK_NOFOLLOW))
                return GONE;
            if (errno != ENOENT) {          /* it may well be there */
                ps_entry_fail(&p->base, link, errno, e);
                return FAILED;
            }
            *p->staged = 0;                 /* PUB-12: a cleaner took it */
        }
        if ((err != ENOENT && err != ENOTDIR && err != EEXIST && err != EMLINK) ||
            p->tries-- <= 0) {
            ps_entry_fail(&p->base, link, err, e);
            return FAILED;
        }
    }
}

/* Step 4 for one channel. It is reached by its path each time: a descriptor of its directory
   would still lead into a channel that was closed. */
static enum outcome deliver(struct publish *p, const char *channel, struct pubsub_error *e)
{
    char name[PS_ENTRY];
    struct stat st;
    int fd;
    enum ps_life life = ps_open_queue(p->base.fd, channel, &fd, &st);
    if (life == PS_UNKNOWN && errno != ENXIO && errno != ENOTDIR) {
        ps_entry_fail(&p->base, channel, errno, e);
        return FAILED;
    }
    if (life != PS_ALIVE)                                                       /* PUB-11 */
        return GONE;
    enum outcome outcome = link_message(p, channel, name, e);
    if (outcome == TOOK) {
        unsigned char id[8];
        ssize_t n;
        ps_put(id, p->id, 8);
        do
            n = write(fd, id, 8);                                               /* PUB-9 */
        while (n < 0 && errno == EINTR);
        if (n != 8) {
            int err = n < 0 ? errno : EIO;
            outcome = err == EAGAIN ? FULL : err == EPIPE ? GONE : FAILED;
            if (outcome == FAILED)
                ps_entry_fail(&p->base, name, err, e);
            if (unlinkat(p->base.fd, name, 0) && errno != ENOENT &&             /* PUB-10 */
                outcome != FAILED) {
                ps_entry_fail(&p->base, name, errno, e);
                outcome = FAILED;
            }
        }
    }
    close(fd);
    return outcome;
}

/* Waits a moment for room in a full queue. It waits for one of them, and not every system reports
   room by the octet: the caller tries all of them again at intervals. */
static void wait_for_room(struct publish *p, const char *channel, int ms)
{
    struct pollfd room = {.events = POLLOUT};
    struct stat st;
    if (ps_open_queue(p->base.fd, channel, &room.fd, &st) != PS_ALIVE)
        return;                             /* the next try finds out what it is then */
    poll(&room, 1, ms);
    close(room.fd);
}

/* Step 4 for all. Each round tries all channels, so those with room come before a full one is
   waited for (PUB-20). The full ones are the list of the next round. */
static enum pubsub_code deliver_all(struct publish *p, int wait_ms, size_t *count,
                                    struct pubsub_error *e)
{
    int64_t deadline = ps_deadline_in(wait_ms);
    enum pubsub_code code = PUBSUB_OK;
    for (;;) {
        size_t full = 0;
        for (size_t at = 0, n; at < p->channels.size; at += n) {
            struct pubsub_error one;
            const char *channel = p->channels.text + at;
            n = strlen(channel) + 1;
            switch (deliver(p, channel, &one)) {
            case TOOK:
                ++*count;                                                       /* GUAR-1 */
                break;
            case FULL:
                memmove(p->channels.text + full, channel, n);
                full += n;
                break;
            case FAILED:                                                        /* PUB-13 */
                if (!code) {
                    code = one.code;
                    *e = one;
                }
                break;
            case GONE:
                break;
            }
        }
        p->channels.size = full;
        int ms = ps_left_until(deadline, ROOM_MS);
        if (!full || !ms)
            return code;
        wait_for_room(p, p->channels.text, ms);
    }
}

/* deliver_all() without the SIGPIPE that a queue raises whose reader dies (PUB-16). */
static enum pubsub_code deliver_quietly(struct publish *p, int wait_ms, size_t *count,
                                        struct pubsub_error *e)
{
    sigset_t pipe, old, pending;
    int signal;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    sigpending(&pending);
    bool was_pending = sigismember(&pending, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, &old);
    enum pubsub_code code = deliver_all(p, wait_ms, count, e);
    sigpending(&pending);
    if (!was_pending && sigismember(&pending, SIGPIPE))
        sigwait(&pipe, &signal);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return code;
}

enum pubsub_code pubsub_publish(const char *topic, const char *headers, const void *content,
                                size_t content_size, int wait_ms, size_t *count,
                                struct pubsub_error *e)
{
    struct pubsub_error own;
    struct publish p = {.base.fd = -1, .tmp = -1, .tries = PS_TRIES};
    struct pubsub_message m = {.id = 1, .timestamp = ps_microseconds(), .topic = topic,
        .headers = headers, .content = content, .content_size = content_size};
    e = e ? e : &own;
    *count = 0;
    enum pubsub_code code = pubsub_encode(&m, &p.file, &p.size, e);             /* PUB-4 */
    if (code)
        return code;
    do {                                    /* ENOENT: the base was removed meanwhile */
        ps_close_fd(&p.base.fd);
        code = ps_base_open(&p.base, true, e);                                  /* BASE-7, BASE-13 */
        if (!code)
            code = find_channels(&p, topic, e);
        if (!code && p.channels.size)
            code = stage(&p, e);
    } while (code == PUBSUB_IO_ERROR && e->errnum == ENOENT && p.tries-- > 0);
    if (!code && p.channels.size) {
        code = deliver_quietly(&p, wait_ms, count, e);
        if (unstage(&p) && !code)                                               /* PUB-14 */
            code = ps_entry_fail(&p.base, "tmp", errno, e);
    }
    if (!code && p.unseen.code) {
        code = p.unseen.code;
        *e = p.unseen;
    }
    ps_close_fd(&p.tmp);
    ps_close_fd(&p.base.fd);
    free(p.channels.text);
    free(p.file);
    return code;
}
