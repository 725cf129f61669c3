/* fresh.c - names and ids that are taken by nobody */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

/* There is no lock here: a child forked while another thread holds it would wait for ever. */

/* Random octets from a pool of this thread, which a forked child fills anew. */
static int random_octets(unsigned char *out, size_t n)
{
    static _Thread_local unsigned char pool[512];
    static _Thread_local size_t left;
    static _Thread_local pid_t owner;
    pid_t pid = getpid();
    for (; n; n--) {
        if (!left || owner != pid) {
            int fd = ps_open(AT_FDCWD, "/dev/urandom", O_RDONLY);
            if (fd < 0)
                return -1;
            ssize_t got = ps_read(fd, pool, sizeof pool);
            int err = errno;
            close(fd);
            if (got <= 0) {
                errno = got ? err : EIO;
                return -1;
            }
            left = (size_t)got;
            owner = pid;
        }
        *out++ = pool[--left];
    }
    return 0;
}

int ps_fresh_name(char *name)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    char *p = name + strlen(name);
    int rc = 0;
    for (int i = 0; i < PS_FRESH && !rc;) {
        unsigned char octet;
        rc = random_octets(&octet, 1);
        if (!rc && octet < 4 * 62)          /* no letter is likelier than another */
            p[i++] = letters[octet % 62];
    }
    p[PS_FRESH] = 0;
    return rc;
}

/* An id rises within the process (PUB-2). It is at least 2^56 (PUB-1), even where a clock says
   1970. */
int ps_fresh_id(uint64_t *id)
{
    static _Atomic uint64_t last = UINT64_C(1) << 46;
    unsigned char bits[2];
    if (random_octets(bits, 2))
        return -1;
    uint64_t time = ps_microseconds(), before = last, next;
    do
        next = time > before ? time : before + 1;
    while (!atomic_compare_exchange_weak(&last, &before, next));
    *id = next << 10 | ((bits[0] << 8 | bits[1]) & 1023);
    return 0;
}
