/* clock.c - deadlines and ages */
#include "internal.h"

#include <stdatomic.h>

static atomic_int interrupted;

void pubsub_interrupt(void)
{
    atomic_store(&interrupted, 1);
}

static struct timespec now(clockid_t clock)
{
    struct timespec t = {0, 0};
    clock_gettime(clock, &t);
    return t;
}

uint64_t ps_microseconds(void)
{
    struct timespec t = now(CLOCK_REALTIME);
    return t.tv_sec < 0 ? 0 : (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* Deadlines are monotonic (FETCH-15), in ns; INT64_MAX is never. */
int64_t ps_deadline_in(int ms)
{
    struct timespec t = now(CLOCK_MONOTONIC);
    return ms < 0 ? INT64_MAX : t.tv_sec * INT64_C(1000000000) + t.tv_nsec + ms * INT64_C(1000000);
}

int ps_left_until(int64_t deadline, int most)
{
    int64_t ns = deadline - ps_deadline_in(0);
    if (atomic_load(&interrupted) || ns <= 0)
        return 0;
    return ns / 1000000 >= most ? most : (int)((ns + 999999) / 1000000);
}

/* When this process loaded the library; where the compiler has no constructors, when it first asked. */
static struct timespec started;

#ifdef __GNUC__
__attribute__((constructor))
#endif
static void note_start(void)
{
    if (!started.tv_sec)
        started = now(CLOCK_REALTIME);
}

/* Whether a file was last changed before this process started: by two seconds, for the times of files
   may be coarse, or by a tenth of one if its time has a fraction (REAP-16). */
bool ps_before_start(struct timespec time)
{
    note_start();
    long long seconds = (long long)started.tv_sec - time.tv_sec, ns = started.tv_nsec - time.tv_nsec;
    return seconds > 4 || seconds * 1000000000 + ns > (time.tv_nsec ? 100000000LL : 2000000000LL);
}

/* A time in the future is not old. */
bool ps_older(struct timespec time, long long ms)
{
    struct timespec n = now(CLOCK_REALTIME);
    ms = ms < 8000000000000 ? ms : 8000000000000;       /* so that ns fit 63 bits */
    long long seconds = (long long)n.tv_sec - time.tv_sec, ns = n.tv_nsec - time.tv_nsec;
    return seconds > ms / 1000 + 1 ||
           (seconds >= 0 && seconds * 1000000000 + ns > ms * 1000000);
}
