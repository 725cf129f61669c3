/* The descriptor for an event loop is readable while messages are in hand, and no longer. */
#include "inline.h"

int main(void)
{
    struct pollfd queue = {.events = POLLIN};
    open_channel();
    for (int round = 0; round < 3; round++) {       /* the first one asks after the batch was read */
        for (int i = 0; i < 5; i++)
            publish(0);
        for (int i = 0; i < 5; i++) {
            assert(fetch());
            queue.fd = pubsub_channel_fd(channel);
            assert(i == 4 || poll(&queue, 1, 0) == 1);
        }
        assert(!fetch() && poll(&queue, 1, 0) == 0);
    }
    close_channel();
    return 0;
}
