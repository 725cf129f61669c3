/* Each operation that lacks a descriptor closes those that are kept, and goes on (INLINE-24). */
#include "inline.h"

enum { LIMIT = 40 };
static int taken[LIMIT], n_taken;

/* Leaves no descriptor. */
static void take_all(void)
{
    int fd;
    while ((fd = open("/dev/null", O_RDONLY)) >= 0)
        taken[n_taken++] = fd;
    assert(errno == EMFILE);
}

static void give_back(void)
{
    while (n_taken)
        close(taken[--n_taken]);
}

int main(void)
{
    struct rlimit limit = {LIMIT, LIMIT};
    struct pubsub_channel *second;
    struct pubsub_error error;
    assert(!setrlimit(RLIMIT_NOFILE, &limit));
    open_channel();

    warm();
    publish(4000);              /* by file */
    take_all();
    assert(fetch() && writers() == 1);
    give_back();

    warm();
    take_all();
    assert(pubsub_open("b", &second, &error) == PUBSUB_IO_ERROR && error.errnum == EMFILE);
    assert(writers() == 1);
    give_back();

    warm();
    take_all();
    assert(pubsub_reap(PUBSUB_STALE_MS, &error) == PUBSUB_IO_ERROR && writers() == 1);
    give_back();
    close_channel();
    return 0;
}
