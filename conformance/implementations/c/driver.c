/* driver.c - the driver of the conformance kit: its loop, and its end; see driver.h */
#include "driver.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

volatile sig_atomic_t stopped;
static int stop_pipe[2];

static void on_term(int signal)
{
    int err = errno;
    (void)signal;
    stopped = 1;
    pubsub_interrupt();
    if (write(stop_pipe[1], "", 1) < 0)
        stopped = 1;
    errno = err;
}

bool wait_fd(int fd, short events, int ms)
{
    struct pollfd fds[2] = {{.fd = fd, .events = events}, {.fd = stop_pipe[0], .events = POLLIN}};
    while (!stopped) {
        int n = poll(fds, 2, ms);
        if (n >= 0 || errno != EINTR)
            return n > 0 && fds[0].revents;
    }
    return false;
}

void *need(void *memory)
{
    if (!memory) {
        perror("driver");
        exit(70);
    }
    return memory;
}

/* Leaves 0 to 2 to the library: the kit closes 2 to see what that does with it (INLINE-23). */
static int lift(int fd)
{
    int lifted = fcntl(fd, F_DUPFD, 3);
    close(fd);
    return lifted;
}

int main(void)
{
    char *line, *op;
    size_t size;
    if (pipe(stop_pipe) || (stop_pipe[0] = lift(stop_pipe[0])) < 0) {
        perror("driver");
        return 70;
    }
    sigaction(SIGTERM, &(struct sigaction){.sa_handler = on_term}, NULL);
    while ((line = read_line(&size))) {
        if (begin_request(line, size, &op)) {
            operation *run = find_operation(op);
            if (run)
                run();
            else
                reply_refusal("unknown-op", op);
        }
        end_request();
    }
    free_channels();                                                            /* DRIVER-6 */
    return 0;
}
