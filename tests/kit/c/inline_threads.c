/* Threads publish while the base changes: each message that is counted arrives. */
#include "inline.h"

enum { THREADS = 4, ROUNDS = 400 };

static void *publish_many(void *counted_here)
{
    size_t *sum = counted_here, count;
    struct pubsub_error error;
    for (int i = 0; i < ROUNDS; i++) {
        if (pubsub_publish("a", NULL, "x", 1, -1, &count, &error)) {
            fprintf(stderr, "%s\n", error.text);
            abort();
        }
        *sum += count;
    }
    return NULL;
}

static void *change_base(void *unused)
{
    struct pubsub_channel *other;
    for (int i = 0; i < ROUNDS; i++) {
        assert(!pubsub_open_with("b", PUBSUB_INLINE, &other, NULL));
        if (i % 4 == 0)
            pubsub_close_kept_queues();
        pubsub_channel_free(other);
    }
    return unused;
}

int main(void)
{
    pthread_t threads[THREADS], changing;
    size_t sums[THREADS] = {0};
    bool ready;
    open_channel();
    assert(!pthread_create(&changing, NULL, change_base, NULL));
    for (int i = 0; i < THREADS; i++)
        assert(!pthread_create(&threads[i], NULL, publish_many, &sums[i]));
    while (fetched < (size_t)THREADS * ROUNDS && !pubsub_wait(channel, 10000, &ready, NULL) && ready)
        while (fetch())
            ;
    for (int i = 0; i < THREADS; i++)
        assert(!pthread_join(threads[i], NULL));
    assert(!pthread_join(changing, NULL));
    for (int i = 0; i < THREADS; i++)
        counted += sums[i];
    assert(counted == (size_t)THREADS * ROUNDS);
    close_channel();
    return 0;
}
