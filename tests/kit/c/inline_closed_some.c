/* A program that closes some of the descriptors that are kept, and opens files under their numbers. */
#include "inline.h"

enum { CHANNELS = 3, FILES = 10 };

static struct pubsub_channel *others[CHANNELS - 1];

/* The numbers at which queues are kept, in rising order. Returns how many there are. */
static int find_kept(int kept[CHANNELS])
{
    struct stat st;
    int found = 0;
    for (int fd = 3; fd < NUMBERS && found < CHANNELS; fd++)
        if (!fstat(fd, &st) && S_ISFIFO(st.st_mode) && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY)
            kept[found++] = fd;
    return found;
}

/* In a child: closes the kept numbers from the first-th to the last-th, and has other files there. */
static void lose(int first, int last, bool reopen)
{
    struct stat st;
    int kept[CHANNELS], files[FILES], n = 0;
    size_t count;
    pubsub_channel_free(channel);
    for (int i = 0; i < CHANNELS - 1; i++)
        pubsub_channel_free(others[i]);
    while (find_kept(kept) < CHANNELS)
        assert(!pubsub_publish("a", NULL, NULL, 0, 0, &count, NULL) && count == CHANNELS);
    for (int i = first; i <= last; i++)
        close(kept[i]);
    while (reopen && n < FILES) {
        char path[4096];
        snprintf(path, sizeof path, "%s/fileXXXXXX", getenv("TMPDIR"));
        assert((files[n++] = mkstemp(path)) >= 0 && !unlink(path));
    }
    for (int i = 0; i < 2; i++)
        assert(!pubsub_publish("a", NULL, "x", 1, 0, &count, NULL) && count == CHANNELS);
    while (n--)
        assert(!fstat(files[n], &st) && S_ISREG(st.st_mode) && !st.st_size);
    _exit(0);
}

int main(void)
{
    static const struct { int first, last; bool reopen; } cases[] = {
        {0, 1, true}, {1, 2, true}, {0, 2, true}, {1, 1, false}};
    struct pubsub_message *message;
    int status;
    open_channel();
    for (int i = 0; i < CHANNELS - 1; i++)
        assert(!pubsub_open_with("a", PUBSUB_INLINE, &others[i], NULL));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pid_t child = fork();
        if (!child)
            lose(cases[i].first, cases[i].last, cases[i].reopen);
        assert(waitpid(child, &status, 0) == child && !status);
    }
    for (int i = 0; i < CHANNELS - 1; i++) {
        assert(!pubsub_close(others[i], NULL));
        pubsub_channel_free(others[i]);
    }
    while (!pubsub_fetch(channel, &message, NULL) && message)
        pubsub_message_free(message);
    close_channel();
    return 0;
}
