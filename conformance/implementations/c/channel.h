/* channel.h - one's own channels, which channel.c opens and closes, and from which fetch.c fetches */
#ifndef PUBSUB_CHANNEL_H
#define PUBSUB_CHANNEL_H

#include "internal.h"

#include <pthread.h>

struct pubsub_channel {
    pthread_mutex_t lock;           /* guards the fields up to the descriptors */
    pthread_cond_t no_waiters;
    int waiters;
    bool closed;
    bool watched;                   /* the program polls the queue itself */
    bool shown;                     /* the queue was seen readable, and nothing was read since */
    int64_t next_sweep;

    /* In hand: what was read from the queue and is not done with, from `at` to `end` of the batch,
       or of the word: a channel that is not marked has no batch. */
    unsigned char *batch, word[8];
    size_t at, end;

    int reader, writer;             /* CHAN-6, CHAN-7 */
    int dir;                        /* BASE-15: the directory, wherever its path may lead */
    bool marked;                    /* its queue may hold records */
    unsigned char key[PS_RECORD_KEY];
    pid_t owner;
    dev_t dev;                      /* the device of queue and directory */
    ino_t queue_inode, dir_inode;
    struct ps_base base;
    char name[PUBSUB_NAME_MAX + 1];
    char queue_path[PATH_MAX + PUBSUB_NAME_MAX + 8];
};

/* ---- channel.c -------------------------------------------------------------------------- */

/* Takes the lock if the channel is open and this process's own. */
enum pubsub_code ps_enter(struct pubsub_channel *ch, struct pubsub_error *e);

/* FETCH-14, by the path, for no event reports it: 0 if the queue there is this channel's, ENOENT if
   the channel is lost, another errno if nothing is known. */
int ps_look(const struct pubsub_channel *ch);

/* Makes the queue readable, for those who wait. */
void ps_wake(const struct pubsub_channel *ch);

#endif
