/* io.c - calls on open files that are repeated if a signal interrupts them */
#include "internal.h"

#include <errno.h>
#include <unistd.h>

ssize_t ps_read(int fd, void *to, size_t n)
{
    ssize_t got;
    do
        got = read(fd, to, n);
    while (got < 0 && errno == EINTR);
    return got;
}

ssize_t ps_write(int fd, const void *from, size_t n)
{
    ssize_t put;
    do
        put = write(fd, from, n);
    while (put < 0 && errno == EINTR);
    return put;
}

int ps_fchmod(int fd, mode_t mode)
{
    int rc;
    do
        rc = fchmod(fd, mode);
    while (rc && errno == EINTR);
    return rc;
}
