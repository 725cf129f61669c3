/* A closed channel gives nothing of what it had in hand (CHAN-18). */
#include "inline.h"

int main(void)
{
    struct pubsub_message *message;
    bool ready;
    open_channel();
    for (int i = 0; i < 3; i++)
        publish(0);
    assert(fetch());                    /* reads all three */
    assert(!pubsub_close(channel, NULL));
    assert(pubsub_fetch(channel, &message, NULL) == PUBSUB_CHANNEL_CLOSED);
    assert(pubsub_wait(channel, 0, &ready, NULL) == PUBSUB_CHANNEL_CLOSED);
    assert(pubsub_channel_fd(channel) == -1);
    pubsub_channel_free(channel);
    return 0;
}
