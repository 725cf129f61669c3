/* kept.c - what one publish keeps for the next: lists of channels, and descriptors of marked queues
 *
 * A publish has a list for itself alone: another that runs meanwhile uses another one, or makes it. So
 * nothing here waits for anybody, neither a thread nor a forked child whose parent's threads were in
 * the middle of something. A list is in one of few places for as long as it lives, where that child
 * finds it and closes its copies of the descriptors. A publish that has listed the base anew empties
 * all places that are not in use.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { PLACES = 8, MOST_KEPT = 256 };

static struct place {
    atomic_bool in_use, to_drop;
    struct ps_listing *_Atomic list;
} places[PLACES];

static _Atomic pid_t owner;                 /* of the places; negative: they are being emptied */
static atomic_int kept;                     /* descriptors in all lists */
static _Thread_local struct place *mine;    /* in use by this thread */

/* ---- descriptors ------------------------------------------------------------------------ */

/* Whether the program has not closed the descriptor: the number may be that of another file now.
 * Nor is it known to be closed if the look itself fails. */
static bool is_open(const struct ps_target *t)
{
    struct stat st;
    if (fstat(t->fd, &st))
        return errno != EBADF;
    return S_ISFIFO(st.st_mode) && st.st_ino == t->inode && st.st_dev == t->dev;
}

/* Closes it before it forgets it: a child that is forked between the two looks at the number. */
static void drop(struct ps_target *t)
{
    if (is_open(t))
        close(t->fd);
    t->fd = -1;
    t->in_use = false;
    kept--;
}

/* Whether a descriptor is kept that the program has not closed. */
static bool is_kept(const struct ps_target *t)
{
    return t->fd >= 0 && is_open(t);
}

/* Remembers the target if its number is the lowest or the highest. */
static void remember(struct ps_listing *list, struct ps_target *t)
{
    if (!list->lowest || t->fd < list->lowest->fd)
        list->lowest = t;
    if (!list->highest || t->fd > list->highest->fd)
        list->highest = t;
}

/* Forgets the descriptors that the program has closed. A program that closes what is not its own closes
   all numbers from some number on, or up to one, as daemons do. So the lowest and the highest of ours
   tell of all, and a publish need not ask for each (INLINE-24). */
static void drop_foreign(struct ps_listing *list)
{
    if (!list->lowest ||
        (is_kept(list->lowest) && (list->highest == list->lowest || is_kept(list->highest))))
        return;
    list->lowest = list->highest = NULL;
    for (struct ps_target *t = list->targets; t < list->targets + list->count; t++)
        if (is_kept(t))
            remember(list, t);
        else if (t->fd >= 0)
            drop(t);
}

void ps_borrow_queue(struct ps_target *t)
{
    t->in_use = t->fd >= 0;
}

void ps_keep_queue(struct ps_listing *list, struct ps_target *t, int *own)
{
    t->in_use = false;
    if (t->fd >= 0 || *own < 0)
        return;
    if (kept++ < list->most) {                                                  /* INLINE-22 */
        t->fd = *own;
        *own = -1;
        remember(list, t);
        return;
    }
    kept--;
}

void ps_close_queue(struct ps_target *t)
{
    if (t->in_use)
        drop(t);
}

/* Closes what is kept; in a child that a publish forks, all but the descriptor that it is using. */
static bool drop_all(struct ps_listing *list, bool is_used_here)
{
    bool dropped = false;
    for (struct ps_target *t = list ? list->targets : NULL; t && t < list->targets + list->count; t++)
        if (t->fd >= 0 && !(t->in_use && is_used_here)) {
            drop(t);
            dropped = true;
        }
    return dropped;
}

/* ---- lists ------------------------------------------------------------------------------ */

void ps_listing_free(struct ps_listing *list)
{
    if (!list)
        return;
    drop_all(list, false);
    for (int i = 0; i < PS_TOPICS; i++)
        free(list->topics[i]);
    free(list->targets);
    free(list->names.text);
    free(list);
}

static void forget(struct place *p)
{
    ps_listing_free(atomic_exchange(&p->list, NULL));
}

static bool enter(struct place *p)
{
    return !atomic_exchange(&p->in_use, true);
}

static bool leave(struct place *p)
{
    bool dropped = false;
    do {
        if (atomic_exchange(&p->to_drop, false))
            dropped |= drop_all(p->list, false);
        atomic_store(&p->in_use, false);
    } while (atomic_load(&p->to_drop) && enter(p));
    return dropped;
}

static int number_of_kept(const struct ps_listing *list)
{
    int found = 0;
    for (size_t i = 0; list && i < list->count; i++)
        found += list->targets[i].fd >= 0;
    return found;
}

/* A forked child closes its copies, those too that another thread of its parent was using. It leaves
   the memory of these alone. */
static void in_child(void)
{
    int spared = 0;
    for (struct place *p = places; p < places + PLACES; p++) {
        drop_all(p->list, p == mine);
        if (p == mine) {
            spared = number_of_kept(p->list);
            continue;
        }
        if (enter(p))
            forget(p);
        atomic_store(&p->list, NULL);
        atomic_store(&p->to_drop, false);
        atomic_store(&p->in_use, false);
    }
    atomic_store(&kept, spared);
    atomic_store(&owner, getpid());
}

static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, in_child);
}

/* Whether the places are this process's. The C library sees not every fork. */
static bool is_owner(void)
{
    pid_t pid = getpid(), was = owner;
    if (was != pid && was != -pid &&
        atomic_compare_exchange_strong(&owner, &was, was ? -pid : pid) && was)
        in_child();
    return owner == pid;
}

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

/* PUB-21; and as another user, a publisher may be somebody whom queues refuse. */
static bool is_for(const struct ps_listing *list, const struct stat *base)
{
    return list && list->base.st_dev == base->st_dev && list->base.st_ino == base->st_ino &&
           same_time(list->base.MTIM, base->MTIM) && same_time(list->base.CTIM, base->CTIM) &&
           list->user == geteuid();
}

struct ps_listing *ps_kept_listing(const struct stat *base)
{
    if (!is_owner())
        return NULL;
    for (struct place *p = places; p < places + PLACES; p++)
        if (enter(p)) {
            if (is_for(p->list, base)) {
                mine = p;
                drop_foreign(p->list);
                return p->list;
            }
            leave(p);
        }
    return NULL;
}

void ps_forget_listings(void)
{
    bool is_ours = is_owner();
    for (struct place *p = places; is_ours && p < places + PLACES; p++)
        if (enter(p)) {
            forget(p);
            leave(p);
        }
}

void ps_keep_listing(struct ps_listing *list)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct rlimit limit;
    pthread_once(&once, watch_forks);
    bool is_ours = is_owner();
    for (struct place *p = places; is_ours && !mine && p < places + PLACES; p++)
        if (enter(p)) {
            forget(p);          /* there is none, unless another thread was as fast */
            atomic_store(&p->list, list);
            mine = p;
        }
    if (mine && !getrlimit(RLIMIT_NOFILE, &limit))
        list->most = limit.rlim_cur / 8 < MOST_KEPT ? (int)(limit.rlim_cur / 8) : MOST_KEPT;
}

void ps_done_with_listing(struct ps_listing *list)
{
    if (!mine)
        ps_listing_free(list);
    else
        leave(mine);
    mine = NULL;
}

bool ps_drop_queues(void)
{
    bool dropped = mine && drop_all(mine->list, false);
    for (struct place *p = places; p < places + PLACES; p++) {
        if (p == mine)
            continue;
        atomic_store(&p->to_drop, true);    /* whoever uses it sees that */
        if (enter(p))
            dropped |= leave(p);
    }
    return dropped;
}

void pubsub_close_kept_queues(void)
{
    ps_drop_queues();
}
