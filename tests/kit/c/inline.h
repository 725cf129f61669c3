/* inline.h - what the programs share that test what the inline lane keeps in memory; Linux */
#define _GNU_SOURCE
#include "pubsub.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

enum { NUMBERS = 1024 };        /* descriptors that are looked at */

static struct pubsub_channel *channel;
static struct stat queue;       /* of the channel */
static size_t counted, fetched;

static void open_channel(void)
{
    char path[4096];
    alarm(60);                  /* a program that hangs dies of it */
    assert(!pubsub_open_with("a", PUBSUB_INLINE, &channel, NULL));
    assert(pubsub_channel_is_inline(channel));
    snprintf(path, sizeof path, "%s/%s/queue", getenv("PUBSUB_HOME"), pubsub_channel_name(channel));
    assert(!stat(path, &queue));
}

static void publish(size_t size)
{
    static const char content[4096];
    size_t count;
    assert(!pubsub_publish("a", NULL, content, size, 0, &count, NULL) && count == 1);
    counted++;
}

static bool fetch(void)
{
    struct pubsub_message *message;
    assert(!pubsub_fetch(channel, &message, NULL));
    fetched += message != NULL;
    pubsub_message_free(message);
    return message;
}

static void close_channel(void)
{
    while (fetch())
        ;
    assert(fetched == counted);
    assert(!pubsub_close(channel, NULL));
    pubsub_channel_free(channel);
}

/* How many descriptors of this process write to the queue; its owner has one itself. */
static int writers(void)
{
    struct stat st;
    int found = 0;
    for (int fd = 0; fd < NUMBERS; fd++)
        found += !fstat(fd, &st) && st.st_ino == queue.st_ino && st.st_dev == queue.st_dev &&
                 (fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY;
    return found;
}

/* Publishes until the descriptor is kept: the clock of the file system has to tick. */
static void warm(void)
{
    do {
        publish(0);
        fetch();
    } while (writers() < 2);
}
