/* A child that is forked in the middle of a publish counts the descriptor that it goes on to use
   (INLINE-22). */
#include "inline.h"
#include "internal.h"

enum { CHANNELS = 8, MOST = 6, LIMIT = 8 * MOST };

static bool forks;
static pid_t child = -1;

/* What a signal handler may do there. */
static ssize_t forking_write(int fd, const void *octets, size_t size)
{
    if (forks) {
        forks = false;
        child = fork();
    }
    return ps_write(fd, octets, size);
}

#define ps_write forking_write
#include "deliver.c"
#undef ps_write

/* How many descriptors write to a FIFO. */
static int ends(void)
{
    struct stat st;
    int found = 0;
    for (int fd = 0; fd < LIMIT; fd++)
        found += !fstat(fd, &st) && S_ISFIFO(st.st_mode) &&
                 (fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY;
    return found;
}

static void publish_to_all(void)
{
    size_t count;
    assert(!pubsub_publish("a", NULL, NULL, 0, 0, &count, NULL) && count == CHANNELS);
}

int main(void)
{
    struct rlimit limit = {LIMIT, LIMIT};
    struct pubsub_channel *channels[CHANNELS];
    int status;
    alarm(60);
    assert(!setrlimit(RLIMIT_NOFILE, &limit));
    for (int i = 0; i < CHANNELS; i++)
        assert(!pubsub_open_with("a", PUBSUB_INLINE, &channels[i], NULL));
    int before = ends();
    while (ends() == before)            /* until the clock of the file system has ticked */
        publish_to_all();
    assert(ends() == before + MOST);
    forks = true;
    publish_to_all();
    assert(child != -1);
    if (!child)
        _exit(ends() != before + MOST);
    assert(child > 0 && waitpid(child, &status, 0) == child && !status);
    assert(ends() == before + MOST);
    for (int i = 0; i < CHANNELS; i++) {
        assert(!pubsub_close(channels[i], NULL));
        pubsub_channel_free(channels[i]);
    }
    return 0;
}
