/* A program that closes descriptors that are not its own, and opens files under their numbers. */
#include "inline.h"

static int open_file(void)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/fileXXXXXX", getenv("TMPDIR"));
    int fd = mkstemp(path);
    assert(fd >= 0 && !unlink(path));
    return fd;
}

/* The publisher writes nothing into the program's files, and closes none of them. */
static void lose_descriptors(void)
{
    struct stat st;
    int fd, files[NUMBERS] = {0};
    size_t count;
    pubsub_channel_free(channel);       /* the copies of a child */
    while (!writers())
        assert(!pubsub_publish("a", NULL, NULL, 0, 0, &count, NULL) && count == 1);
    for (fd = 3; fd < NUMBERS; fd++)
        close(fd);
    while ((fd = open_file()) < 30)
        assert(fd >= 3 && (files[fd] = 1));
    assert(!close(fd));
    for (int i = 0; i < 3; i++)
        assert(!pubsub_publish("a", NULL, "x", 1, 0, &count, NULL) && count == 1);
    pubsub_close_kept_queues();
    for (fd = 3; fd < 30; fd++)
        assert(files[fd] && !fstat(fd, &st) && S_ISREG(st.st_mode) && !st.st_size);
}

int main(void)
{
    int status;
    size_t with_content = 0;
    struct pubsub_message *message;
    open_channel();
    pid_t child = fork();
    if (!child) {
        lose_descriptors();
        _exit(0);
    }
    assert(waitpid(child, &status, 0) == child && !status);
    while (!pubsub_fetch(channel, &message, NULL) && message) {
        with_content += message->content_size;
        pubsub_message_free(message);
    }
    assert(with_content == 3);
    warm();
    pubsub_close_kept_queues();
    assert(writers() == 1);
    warm();
    close_channel();
    return 0;
}
