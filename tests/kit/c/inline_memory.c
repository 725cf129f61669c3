/* A channel keeps little more memory than it has in hand. */
#include "inline.h"

enum { CHANNELS = 150, MOST_KIB = 3072 };

static long resident_kib(void)
{
    long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    assert(statm && fscanf(statm, "%*d %ld", &pages) == 1 && !fclose(statm));
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

int main(void)
{
    static struct pubsub_channel *channels[CHANNELS];
    struct pubsub_message *message;
    size_t count;
    alarm(60);
    for (int i = 0; i < CHANNELS; i++)
        assert(!pubsub_open_with("a", PUBSUB_INLINE, &channels[i], NULL));
    long before = resident_kib();
    for (int i = 0; i < 2; i++)
        assert(!pubsub_publish("a", NULL, "x", 1, 0, &count, NULL) && count == CHANNELS);
    for (int i = 0; i < CHANNELS; i++) {            /* the other message stays in hand */
        assert(!pubsub_fetch(channels[i], &message, NULL) && message);
        pubsub_message_free(message);
    }
    assert(resident_kib() - before < MOST_KIB);
    for (int i = 0; i < CHANNELS; i++)
        pubsub_channel_free(channels[i]);
    return 0;
}
