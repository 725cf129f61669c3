/* A thread that is about to sleep wakes for what another thread has in hand (INLINE-20). */
#include "inline.h"

static int asleep[2], go_on[2], woken;

static int slow_poll(struct pollfd *fds, nfds_t n, int ms)
{
    char octet = 0;
    if (!ms)
        return poll(fds, n, ms);
    assert(write(asleep[1], &octet, 1) == 1 && read(go_on[0], &octet, 1) == 1);
    return woken = poll(fds, n, ms);
}

#define poll slow_poll
#include "fetch.c"
#undef poll

static void *wait_for_message(void *unused)
{
    bool ready;
    assert(!pubsub_wait(channel, -1, &ready, NULL) && ready);
    return unused;
}

int main(void)
{
    pthread_t thread;
    char octet = 0;
    open_channel();
    assert(!pipe(asleep) && !pipe(go_on));
    for (int round = 0; round < 3; round++) {       /* each batch wakes anew */
        assert(!pthread_create(&thread, NULL, wait_for_message, NULL));
        assert(read(asleep[0], &octet, 1) == 1);
        for (int i = 0; i < 5; i++)
            publish(0);
        assert(fetch());
        assert(write(go_on[1], &octet, 1) == 1 && !pthread_join(thread, NULL));
        assert(woken == 1);
        while (fetch())
            ;
    }
    close_channel();
    return 0;
}
