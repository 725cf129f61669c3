/* A forked child has none of the descriptors that are kept, and yields nothing of what its parent has in
   hand. */
#include "inline.h"

static _Atomic bool stop;

static void *go_on_publishing(void *unused)
{
    while (!stop) {
        publish(0);
        fetch();
    }
    return unused;
}

static bool is_refused(void)
{
    struct pubsub_message *message;
    return pubsub_fetch(channel, &message, NULL) == PUBSUB_CHANNEL_CLOSED;
}

static void check_child(pid_t child)
{
    int status;
    assert(child > 0 && waitpid(child, &status, 0) == child && !status);
}

int main(void)
{
    pthread_t thread;
    size_t count;
    open_channel();
    warm();
    for (int i = 0; i < 5; i++)
        publish(0);
    assert(fetch());
    pid_t child = fork();
    if (!child)
        _exit(writers() != 1 || !is_refused());
    check_child(child);
    /* A fork that the C library does not see: the first publish closes the copies. */
    child = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (!child) {
        bool published = !pubsub_publish("b", NULL, NULL, 0, 0, &count, NULL);
        _exit(!published || writers() != 1 || !is_refused());
    }
    check_child(child);
    assert(writers() == 2);
    for (int i = 0; i < 4; i++)
        assert(fetch());
    /* Another thread of the parent is in the middle of a publish. */
    assert(!pthread_create(&thread, NULL, go_on_publishing, NULL));
    for (int i = 0; i < 200; i++) {
        child = fork();
        if (!child)
            _exit(writers() != 1 || pubsub_publish("a", NULL, "", 0, 0, &count, NULL) || count != 1);
        check_child(child);
    }
    stop = true;
    assert(!pthread_join(thread, NULL));
    counted += 200;
    close_channel();
    return 0;
}
