/* floor.c - the system calls of the file layout and nothing else; floor.py calls it
 *
 * No check of the specification is made, and no error is dealt with: these loops say how fast an
 * implementation by files could be at most. The functions return -1 with errno, as system calls.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { NAME_SIZE = 24, SECOND = 1000000000 };

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * SECOND + t.tv_nsec;
}

/* Six system calls for one channel: open, write, close, link, write, unlink. */
static int publish(int tmp, int channels, const int *directories, const int *queues, uint64_t id,
                   const char *octets, size_t length)
{
    char name[NAME_SIZE];
    snprintf(name, sizeof name, "%" PRIu64, id);
    int file = openat(tmp, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file < 0 || write(file, octets, length) != (ssize_t)length || close(file))
        return -1;
    for (int i = 0; i < channels; i++) {
        if (linkat(tmp, name, directories[i], name, 0))
            return -1;
        while (write(queues[i], &id, sizeof id) < 0) {
            struct pollfd room = {queues[i], POLLOUT, 0};
            if (errno != EAGAIN || poll(&room, 1, -1) < 0)
                return -1;
        }
    }
    return unlinkat(tmp, name, 0);
}

/* Publishes messages with the ids from `id` on, `rate` a second or, if it is 0, as fast as it goes.
 * Stores the start and the end of each in `times`. */
int floor_publish(int tmp, int channels, const int *directories, const int *queues, uint64_t id,
                  int count, const char *const *octets, const size_t *lengths, double rate,
                  int64_t *times)
{
    int64_t first = now();
    for (int n = 0; n < count; n++) {
        int64_t left = rate > 0 ? first + (int64_t)(n / rate * SECOND) - now() : 0;
        if (left > 0)
            nanosleep(&(struct timespec){left / SECOND, left % SECOND}, NULL);
        times[2 * n] = now();
        if (publish(tmp, channels, directories, queues, id + n, octets[n], lengths[n]))
            return -1;
        times[2 * n + 1] = now();
    }
    return 0;
}

/* Six system calls: read, open, fstat, read, close, unlink. Returns the length of the message. */
static ssize_t fetch(int directory, uint64_t id, char *store)
{
    char name[NAME_SIZE];
    struct stat status;
    snprintf(name, sizeof name, "%" PRIu64, id);
    int file = openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (file < 0 || fstat(file, &status))
        return -1;
    ssize_t length = read(file, store, (size_t)status.st_size);
    return close(file) || unlinkat(directory, name, 0) ? -1 : length;
}

/* Fetches up to `most` messages into `store`, one behind the other if `keep`, and ends sooner if
 * `room` octets could not hold a message of `largest` more. Sets `idle` to 0 if none came for so
 * many milliseconds. Returns how many came; their times and lengths are stored. */
int floor_fetch(int queue, int directory, int most, int *idle, char *store, size_t room,
                size_t largest, bool keep, int64_t *times, size_t *lengths)
{
    int n = 0;
    while (n < most && room >= largest) {
        uint64_t id;
        int64_t start = now();
        if (read(queue, &id, sizeof id) < 0) {
            struct pollfd ready = {queue, POLLIN, 0};
            int events = errno == EAGAIN ? poll(&ready, 1, *idle) : -1;
            if (events < 0)
                return -1;
            if (events == 0) {
                *idle = 0;
                break;
            }
            continue;
        }
        ssize_t length = fetch(directory, id, store);
        if (length < 0)
            return -1;
        times[2 * n] = start;
        times[2 * n + 1] = now();
        lengths[n++] = (size_t)length;
        if (keep) {
            store += length;
            room -= (size_t)length;
        }
    }
    return n;
}
