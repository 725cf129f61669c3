/* queue.c - records in a queue, how full it is, and its marker */
#ifdef __linux__
#define _GNU_SOURCE                 /* F_GETPIPE_SZ */
#endif
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* ---- records ---------------------------------------------------------------------------- */

void ps_record_key(const char *channel, unsigned char key[PS_RECORD_KEY])
{
    memcpy(key, "\200\0", 2);
    memcpy(key + 2, strchr(channel, '_') + 1, 4);       /* a pattern has no underscore */
}

size_t ps_record_size(const unsigned char key[PS_RECORD_KEY], const unsigned char *word)
{
    size_t n = (size_t)ps_get(word + PS_RECORD_KEY, 2);
    bool begins = !memcmp(word, key, PS_RECORD_KEY) && n >= PS_RECORD_LEAST && n <= PS_RECORD_MOST;
    return begins ? 8 + (n + 7) / 8 * 8 : 0;                                    /* INLINE-8 */
}

size_t ps_record_put(unsigned char record[PS_RECORD_ROOM], const unsigned char *file, size_t n)
{
    size_t size = 8 + (n + 7) / 8 * 8;
    memset(record + size - 8, 0, 8);
    ps_put(record + PS_RECORD_KEY, n, 2);
    memcpy(record + 8, file, n);
    return size;
}

/* ---- how full a queue is ---------------------------------------------------------------- */

int ps_queue_octets(int fd)
{
    int octets;
    return ioctl(fd, FIONREAD, &octets) ? -1 : octets;
}

#ifdef F_GETPIPE_SZ

int ps_queue_size(int fd)
{
    return fcntl(fd, F_GETPIPE_SZ);
}

void ps_queue_shrink(int reader)
{
    unsigned char octets[4096];
    ssize_t n = 1;
    for (int left = ps_queue_octets(reader); left > 0 && n > 0; left -= (int)n)
        n = ps_read(reader, octets, sizeof octets);
    (void)fcntl(reader, F_SETPIPE_SZ, (int)sysconf(_SC_PAGESIZE));
}

/* ---- the marker ------------------------------------------------------------------------- */

enum { FIT = 32768 };               /* octets */

/* Whether an empty queue may be marked (INLINE-3). A system with F_GETPIPE_SZ keeps the writes of one
   call together in the queue. */
static bool is_fit(int reader, int writer)
{
    unsigned char word[8] = {0};
    if (ps_queue_size(writer) < FIT || fpathconf(writer, _PC_PIPE_BUF) < PS_RECORD_ROOM ||
        ps_write(writer, word, 8) != 8)
        return false;
    bool seen = ps_queue_octets(writer) == 8;
    return ps_read(reader, word, 8) == 8 && seen;
}

int ps_mark(int dir, int reader, int writer, bool *marked)
{
    *marked = false;
    if (!is_fit(reader, writer))
        return 0;
    if (mknodat(dir, PS_MARKER, S_IFREG | 0600, 0))
        return errno == ENOSPC || errno == EDQUOT ? 0 : -1;                     /* INLINE-4 */
    *marked = true;
    return 0;
}

bool ps_is_marked(int at, const char *channel, uid_t *owner)
{
    char marker[PS_ENTRY];
    struct stat st;
    snprintf(marker, sizeof marker, "%s/" PS_MARKER, channel);
    if (fstatat(at, marker, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode))  /* INLINE-5 */
        return false;
    *owner = st.st_uid;
    return true;
}

#else                               /* nothing is marked where a queue's size cannot be had */

int ps_queue_size(int fd)
{
    (void)fd;
    return -1;
}

void ps_queue_shrink(int reader)
{
    (void)reader;
}

int ps_mark(int dir, int reader, int writer, bool *marked)
{
    (void)dir, (void)reader, (void)writer;
    *marked = false;
    return 0;
}

bool ps_is_marked(int at, const char *channel, uid_t *owner)
{
    (void)at, (void)channel, (void)owner;
    return false;
}

#endif
