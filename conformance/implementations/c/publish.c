/* publish.c - publishes a message, by the steps of spec/publish.md and spec/inline.md */
#include "publish.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    ROOM_MS = 20,               /* PUB-19: a full queue is tried again at least so often */
    EARLY = 65536               /* octets of a message that is staged before its channels are known */
};

/* ---- step 2 ----------------------------------------------------------------------------- */

static bool is_later(struct timespec a, struct timespec b)
{
    return a.tv_sec > b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec > b.tv_nsec);
}

static bool is_same(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

/* Whether a list may be kept that was made between two looks at the base (PUB-21). */
static bool may_keep(const struct ps_publish *p, const struct stat *before, const struct stat *after)
{
    return *p->staged && p->copy.st_dev == p->base.dev &&
           before->st_dev == p->base.dev && before->st_ino == p->base.inode &&
           after->st_dev == p->base.dev && after->st_ino == p->base.inode &&
           is_same(before->MTIM, after->MTIM) && is_same(before->CTIM, after->CTIM) &&
           is_later(p->copy.MTIM, before->MTIM) && is_later(p->copy.MTIM, before->CTIM);
}

/* Lists the base anew, after it staged the message, so that the list may be kept. io-error with ENOENT: it was removed meanwhile. */
static enum pubsub_code list_anew(struct ps_publish *p, struct pubsub_error *e)
{
    struct stat before, after;
    enum pubsub_code code = ps_base_open(&p->base, true, e);                    /* BASE-13 */
    if (code)
        return code;
    p->unstaged.code = PUBSUB_OK;
    if (!*p->staged && p->size <= EARLY &&
        ps_stage(p, &p->unstaged) == ENOENT && p->tries > 0) {                  /* INLINE-14 */
        *e = p->unstaged;
        return e->code;
    }
    bool seen = ps_base_look(&p->base, &before);
    int err = ps_list(&p->base, &p->list);
    if (err)
        return ps_entry_fail(&p->base, "", err, e);
    ps_forget_listings();
    if (seen && ps_base_look(&p->base, &after) && may_keep(p, &before, &after)) {
        p->list->base = before;
        ps_keep_listing(p->list);
    }
    return PUBSUB_OK;
}

static enum pubsub_code find_list(struct ps_publish *p, struct pubsub_error *e)
{
    enum pubsub_code code;
    struct stat base;
    if (ps_base_look(&p->base, &base) && (p->list = ps_kept_listing(&base)))    /* BASE-7 */
        return PUBSUB_OK;
    do {
        ps_close_fd(&p->base.fd);
        code = list_anew(p, e);
    } while (code == PUBSUB_IO_ERROR && e->errnum == ENOENT && p->tries-- > 0);
    return code;
}

/* ---- step 4 ----------------------------------------------------------------------------- */

/* Waits a moment for room in a full queue. It waits for one of them, and not every system reports
   room by the octet: the caller tries all of them again at intervals. */
static void wait_for_room(const struct ps_publish *p, const char *channel, int ms)
{
    struct pollfd room = {.events = POLLOUT};
    struct stat st;
    if (ps_open_queue(p->base.fd, channel, &room.fd, &st) != PS_ALIVE)
        return;                             /* the next try finds out what it is then */
    poll(&room, 1, ms);
    close(room.fd);
}

/* Step 4 for all. Each round tries all channels, so those with room come before a full one is
   waited for (PUB-20). The full ones are those of the next round. */
static enum pubsub_code deliver_all(struct ps_publish *p, const struct ps_topic *matching, int wait_ms,
                                    size_t *count, struct pubsub_error *e)
{
    int64_t deadline = wait_ms ? ps_deadline_in(wait_ms) : 0;
    struct ps_target *const *targets = matching->targets, **full = NULL;
    size_t n = matching->count;
    enum pubsub_code code = PUBSUB_OK;
    for (;;) {
        size_t n_full = 0;
        for (size_t i = 0; i < n; i++) {
            struct pubsub_error one;
            enum ps_outcome outcome = ps_deliver(p, targets[i], &one);
            if (outcome == PS_FULL && wait_ms) {
                if (!full && !(full = malloc(n * sizeof *full))) {
                    outcome = PS_FAILED;
                    ps_io_fail(&one, ENOMEM, "waiting");
                } else {
                    full[n_full++] = targets[i];
                }
            }
            if (outcome == PS_TOOK)
                ++*count;                                                       /* GUAR-1 */
            if (outcome == PS_FAILED && !code) {                                /* PUB-13 */
                code = one.code;
                *e = one;
            }
        }
        int ms = n_full ? ps_left_until(deadline, ROOM_MS) : 0;
        if (!ms)
            break;
        targets = full;
        n = n_full;
        p->is_waiting = true;
        wait_for_room(p, full[0]->name, ms);
    }
    free(full);
    return code;
}

/* deliver_all() without the SIGPIPE that a queue raises whose reader dies (PUB-16). */
static enum pubsub_code deliver_quietly(struct ps_publish *p, const struct ps_topic *matching,
                                        int wait_ms, size_t *count, struct pubsub_error *e)
{
    sigset_t pipe, old, pending;
    int signal;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, &old);
    bool was_pending = false;               /* nothing that is not blocked is pending */
    if (sigismember(&old, SIGPIPE)) {
        sigpending(&pending);
        was_pending = sigismember(&pending, SIGPIPE);
    }
    enum pubsub_code code = deliver_all(p, matching, wait_ms, count, e);
    if (p->broke && !was_pending) {
        sigpending(&pending);
        if (sigismember(&pending, SIGPIPE))
            sigwait(&pipe, &signal);
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return code;
}

/* ---- all steps -------------------------------------------------------------------------- */

static enum pubsub_code publish(struct ps_publish *p, const char *topic, int wait_ms, size_t *count,
                                struct pubsub_error *e)
{
    enum pubsub_code code = find_list(p, e);
    if (code)
        return code;
    const struct ps_topic *matching = ps_matching(p->list, topic);
    if (!matching)
        return ps_io_fail(e, ENOMEM, "publishing");
    if (!matching->count)
        return PUBSUB_OK;
    if (!p->id && ps_draw_id(p))
        return ps_io_fail(e, errno, "/dev/urandom");
    code = deliver_quietly(p, matching, wait_ms, count, e);
    if (p->gave_up && !p->was_staged && !*count)                                /* INLINE-14 */
        *e = p->unstaged;
    else if (code == PUBSUB_BASE_UNUSABLE && *count)
        e->code = PUBSUB_IO_ERROR;
    return code ? e->code : PUBSUB_OK;
}

enum pubsub_code pubsub_publish(const char *topic, const char *headers, const void *content,
                                size_t content_size, int wait_ms, size_t *count,
                                struct pubsub_error *e)
{
    struct pubsub_error own;
    struct ps_publish p;
    struct pubsub_message m = {.id = 1, .timestamp = ps_microseconds(), .topic = topic,
        .headers = headers, .content = content, .content_size = content_size};
    e = e ? e : &own;
    *count = 0;
    memset(&p, 0, offsetof(struct ps_publish, base));
    p.base.fd = p.tmp = -1;
    p.unstaged.code = PUBSUB_OK;
    p.tries = PS_TRIES;
    enum pubsub_code code = pubsub_encode(&m, &p.file, &p.size, e);             /* PUB-4 */
    if (code)
        return code;
    if (p.size <= PS_RECORD_MOST)
        p.record_size = ps_record_put(p.record, p.file, p.size);
    code = publish(&p, topic, wait_ms, count, e);
    if (ps_unstage(&p) && !code)                                                /* PUB-14 */
        code = ps_entry_fail(&p.base, "tmp", errno, e);
    if (p.list)
        ps_done_with_listing(p.list);
    ps_close_fd(&p.tmp);
    ps_close_fd(&p.base.fd);
    free(p.file);
    return code;
}
