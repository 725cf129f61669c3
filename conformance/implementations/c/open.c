/* open.c - opens and closes files */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* A descriptor from 3 on for the same file: a program that has closed its stdout writes to 1. */
static int lift(int fd)
{
    int lifted = fcntl(fd, F_DUPFD_CLOEXEC, 3), err = errno;
    close(fd);
    errno = err;
    return lifted;
}

int ps_open(int at, const char *path, int flags)
{
    for (bool dropped = false;;) {
        int fd = openat(at, path, flags | O_CLOEXEC, 0600);
        if (fd >= 0 && fd < 3 && !(flags & O_CREAT))
            fd = lift(fd);
        if (fd >= 0)
            return fd;
        int err = errno;
        if ((err == EMFILE || err == ENFILE) && !dropped)
            dropped = ps_drop_queues();
        else
            dropped = false;
        if (err != EINTR && !dropped) {
            errno = err;
            return -1;
        }
    }
}

void ps_close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}
