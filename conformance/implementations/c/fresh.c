/* fresh.c - names and ids that are taken by nobody */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Random octets from a pool, which a forked child fills anew. Called with the lock. */
static int random_octets(unsigned char *out, size_t n)
{
    static unsigned char pool[512];
    static size_t left;
    static pid_t owner;
    for (; n; n--) {
        if (!left || owner != getpid()) {
            int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
            if (fd < 0)
                return -1;
            ssize_t got = read(fd, pool, sizeof pool);
            int err = errno;
            close(fd);
            if (got <= 0) {
                errno = got ? err : EIO;
                return -1;
            }
            left = (size_t)got;
            owner = getpid();
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
    pthread_mutex_lock(&lock);
    for (int i = 0; i < PS_FRESH && !rc;) {
        unsigned char octet;
        rc = random_octets(&octet, 1);
        if (!rc && octet < 4 * 62)          /* no letter is likelier than another */
            p[i++] = letters[octet % 62];
    }
    pthread_mutex_unlock(&lock);
    p[PS_FRESH] = 0;
    return rc;
}

/* An id rises within the process (PUB-2). It is at least 2^56 (PUB-1), even where a clock says
   1970. */
int ps_fresh_id(uint64_t *id)
{
    static uint64_t last = UINT64_C(1) << 46;
    unsigned char bits[2];
    pthread_mutex_lock(&lock);
    int rc = random_octets(bits, 2);
    if (!rc) {
        uint64_t time = ps_microseconds();
        last = time > last ? time : last + 1;
        *id = last << 10 | ((bits[0] << 8 | bits[1]) & 1023);
    }
    pthread_mutex_unlock(&lock);
    return rc;
}
