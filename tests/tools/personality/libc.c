/* libc.c - Linux answers as macOS or a BSD does, as far as calls of libc can say

   cc -shared -fPIC -o libc.so libc.c -ldl
   PERSONALITY=macos|freebsd|openbsd|netbsd LD_PRELOAD=$PWD/libc.so COMMAND…

   What differs, from the manual pages and the sources of the four systems:

   errors     a symbolic link that is not followed, an opened socket, unlink of a directory
   places     no /dev/shm; no /proc, and on NetBSD one that has less in it
   names      macOS refuses those that are not UTF-8 (APFS)
   groups     what is made gets the directory's group; S_ISGID is not handed down, and only a
              member of the group may set it
   processes  OpenBSD does not say the group of a process of another session
   sockets    have a path of up to 103 octets, and are not made by mknod
   FIFOs      hold less, have room again after each octet, report it later, and do not tell their
              size
   times      in steps */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* The function of libc that the one of this name stands before. */
#define REAL(name) ({ \
    static __typeof__(&name) real; \
    if (!real) \
        real = (__typeof__(&name))dlsym(RTLD_NEXT, #name); \
    real; })

#define BSD_EFTYPE 79

enum { MACOS, FREEBSD, OPENBSD, NETBSD };

static const struct answers {
    const char *name;
    int link;               /* the error number of a symbolic link that is not followed */
    long fifo;              /* the octets that a FIFO holds */
    long pollout;           /* the free octets from which poll reports room */
    long tick;              /* nanoseconds; NetBSD has seconds, as old file systems do */
} SYSTEMS[] = {
    [MACOS] = {"macos", ELOOP, 8192, 512, 1},
    [FREEBSD] = {"freebsd", EMLINK, 65536, 512, 1000},
    [OPENBSD] = {"openbsd", ELOOP, 32768, 512, 1},
    [NETBSD] = {"netbsd", BSD_EFTYPE, 4096, 2048, 1000000000},
};

static const struct answers *system_;       /* none: as Linux answers */
static int is_ps;                           /* theirs works without /proc, Linux's does not */

static int is(int system)
{
    return system_ == &SYSTEMS[system];
}

__attribute__((constructor)) static void choose(void)
{
    const char *wanted = getenv("PERSONALITY");
    is_ps = !strcmp(program_invocation_short_name, "ps");
    for (size_t i = 0; wanted && i < sizeof SYSTEMS / sizeof *SYSTEMS; i++)
        if (!strcmp(wanted, SYSTEMS[i].name))
            system_ = &SYSTEMS[i];
}

static int fail(int error)
{
    errno = error;
    return -1;
}

/* ---- places ------------------------------------------------------------------------------ */

static int below(const char *path, const char *place)
{
    size_t n = strlen(place);
    return !strncmp(path, place, n) && (!path[n] || path[n] == '/');
}

static int ends(const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    return slash && !strcmp(slash + 1, name);
}

static int absent(const char *path)
{
    if (!system_ || !path)
        return 0;
    if (below(path, "/dev/shm"))
        return 1;
    if (!below(path, "/proc") || is_ps)
        return 0;
    return !is(NETBSD) || ends(path, "stat") || ends(path, "task") || strstr(path, "/task/")
        || ends(path, "cpuinfo") || ends(path, "mounts") || ends(path, "environ")
        || below(path, "/proc/sys");
}

/* NetBSD's /proc/PID/status is one line, which names nothing. */
static int is_status(const char *path)
{
    return is(NETBSD) && !is_ps && below(path, "/proc") && ends(path, "status");
}

static int open_status(void)
{
    static const char line[] = "python3.13 4711 4710 4711 4711 -1,-1 sldr 1764173000,123456"
                               " 0,100000 0,50000 select 1000 100,100,0\n";
    int fd = memfd_create("status", MFD_CLOEXEC);
    if (fd >= 0 && (write(fd, line, sizeof line - 1) < 0 || lseek(fd, 0, SEEK_SET))) {
        close(fd);
        return -1;
    }
    return fd;
}

/* ---- names ------------------------------------------------------------------------------- */

static int is_utf8(const char *text)
{
    const unsigned char *p = (const unsigned char *)text;
    while (*p) {
        int more = *p < 0x80 ? 0 : *p < 0xc2 ? -1 : *p < 0xe0 ? 1 : *p < 0xf0 ? 2 : *p < 0xf5 ? 3 : -1;
        if (more < 0 || (*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f)
            || (*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] > 0x8f))
            return 0;
        for (p++; more--; p++)
            if ((*p & 0xc0) != 0x80)
                return 0;
    }
    return 1;
}

/* The error number of making an entry of this name, or 0. */
static int refused(const char *path)
{
    return absent(path) ? ENOENT : is(MACOS) && !is_utf8(path) ? EILSEQ : 0;
}

/* ---- groups ------------------------------------------------------------------------------ */

static int made(int result, int at, const char *path)
{
    if (result < 0 || !system_)
        return result;
    int error = errno;
    char directory[4096] = ".";
    const char *slash = strrchr(path, '/');
    if (slash)
        snprintf(directory, sizeof directory, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    struct stat above, entry;
    if (!REAL(fstatat)(at, directory, &above, 0)
        && !REAL(fstatat)(at, path, &entry, AT_SYMLINK_NOFOLLOW)) {
        if (entry.st_gid != above.st_gid && fchownat(at, path, -1, above.st_gid, AT_SYMLINK_NOFOLLOW))
            errno = error;                  /* Linux does not let everybody give it away */
        if (S_ISDIR(entry.st_mode) && (entry.st_mode & S_ISGID))
            fchmodat(at, path, entry.st_mode & 01777, 0);
    }
    errno = error;
    return result;
}

static int is_member(gid_t group)
{
    gid_t groups[256];
    int n = getgroups(256, groups);
    if (geteuid() == 0 || getegid() == group)
        return 1;
    while (n-- > 0)
        if (groups[n] == group)
            return 1;
    return 0;
}

static int may_set(const struct stat *st, mode_t mode)
{
    return !system_ || !(mode & S_ISGID) || is_member(st->st_gid);
}

int fchmod(int fd, mode_t mode)
{
    struct stat st;
    if (!REAL(fstat)(fd, &st) && !may_set(&st, mode))
        return fail(EPERM);
    return REAL(fchmod)(fd, mode);
}

int chmod(const char *path, mode_t mode)
{
    struct stat st;
    if (!REAL(stat)(path, &st) && !may_set(&st, mode))
        return fail(EPERM);
    return REAL(chmod)(path, mode);
}

/* ---- opening ----------------------------------------------------------------------------- */

static int open_error(int error, int at, const char *path, int flags)
{
    struct stat st;
    if (!system_ || REAL(fstatat)(at, path, &st, AT_SYMLINK_NOFOLLOW))
        return error;
    if ((error == ELOOP || error == ENOTDIR) && (flags & O_NOFOLLOW) && S_ISLNK(st.st_mode))
        return system_->link;
    return error == ENXIO && S_ISSOCK(st.st_mode) ? EOPNOTSUPP : error;
}

#define OPEN(real, at, path, flags) do { \
    va_list rest; \
    va_start(rest, flags); \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
    va_end(rest); \
    int refusal = flags & O_CREAT ? refused(path) : absent(path) ? ENOENT : 0; \
    if (refusal) \
        return fail(refusal); \
    if (is_status(path)) \
        return open_status(); \
    int new = system_ && (flags & O_CREAT) && REAL(faccessat)(at, path, F_OK, AT_SYMLINK_NOFOLLOW); \
    int fd = real; \
    if (fd < 0) \
        return fail(open_error(errno, at, path, flags)); \
    return new ? made(fd, at, path) : fd; \
} while (0)

int open(const char *path, int flags, ...)
{
    OPEN(REAL(open)(path, flags, mode), AT_FDCWD, path, flags);
}

int open64(const char *path, int flags, ...)
{
    OPEN(REAL(open64)(path, flags, mode), AT_FDCWD, path, flags);
}

int openat(int at, const char *path, int flags, ...)
{
    OPEN(REAL(openat)(at, path, flags, mode), at, path, flags);
}

int openat64(int at, const char *path, int flags, ...)
{
    OPEN(REAL(openat64)(at, path, flags, mode), at, path, flags);
}

DIR *opendir(const char *path)
{
    if (absent(path)) {
        errno = ENOENT;
        return NULL;
    }
    return REAL(opendir)(path);
}

/* ---- looking ----------------------------------------------------------------------------- */

static void cut(struct timespec *time)
{
    time->tv_nsec -= time->tv_nsec % system_->tick;
}

#define LOOK(call, path, st) do { \
    if (absent(path)) \
        return fail(ENOENT); \
    int result = call; \
    if (!result && system_) { \
        cut(&st->st_atim); \
        cut(&st->st_mtim); \
        cut(&st->st_ctim); \
    } \
    return result; \
} while (0)

#define STAT(suffix) \
    int stat##suffix(const char *path, struct stat##suffix *st) \
    { \
        LOOK(REAL(stat##suffix)(path, st), path, st); \
    } \
    int lstat##suffix(const char *path, struct stat##suffix *st) \
    { \
        LOOK(REAL(lstat##suffix)(path, st), path, st); \
    } \
    int fstat##suffix(int fd, struct stat##suffix *st) \
    { \
        LOOK(REAL(fstat##suffix)(fd, st), NULL, st); \
    } \
    int fstatat##suffix(int at, const char *path, struct stat##suffix *st, int flags) \
    { \
        LOOK(REAL(fstatat##suffix)(at, path, st, flags), path, st); \
    }
STAT()
STAT(64)

int access(const char *path, int mode)
{
    return absent(path) ? fail(ENOENT) : REAL(access)(path, mode);
}

int faccessat(int at, const char *path, int mode, int flags)
{
    return absent(path) ? fail(ENOENT) : REAL(faccessat)(at, path, mode, flags);
}

/* ---- making and removing ----------------------------------------------------------------- */

/* What mknod makes on Linux alone: FIFOs with a device number, and sockets. */
static int not_by_mknod(mode_t mode, dev_t device)
{
    int fifo = S_ISFIFO(mode) && device && !is(MACOS);
    if (!system_ || !(fifo || S_ISSOCK(mode)))
        return 0;
    return is(FREEBSD) || geteuid() == 0 ? EINVAL : EPERM;
}

#define MAKE(call, at, path) do { \
    int refusal = refused(path); \
    return refusal ? fail(refusal) : made(call, at, path); \
} while (0)

int mkdir(const char *path, mode_t mode)
{
    MAKE(REAL(mkdir)(path, mode), AT_FDCWD, path);
}

int mkdirat(int at, const char *path, mode_t mode)
{
    MAKE(REAL(mkdirat)(at, path, mode), at, path);
}

int mkfifo(const char *path, mode_t mode)
{
    MAKE(REAL(mkfifo)(path, mode), AT_FDCWD, path);
}

int mkfifoat(int at, const char *path, mode_t mode)
{
    MAKE(REAL(mkfifoat)(at, path, mode), at, path);
}

int mknod(const char *path, mode_t mode, dev_t device)
{
    if (not_by_mknod(mode, device))
        return fail(not_by_mknod(mode, device));
    MAKE(REAL(mknod)(path, mode, device), AT_FDCWD, path);
}

int mknodat(int at, const char *path, mode_t mode, dev_t device)
{
    if (not_by_mknod(mode, device))
        return fail(not_by_mknod(mode, device));
    MAKE(REAL(mknodat)(at, path, mode, device), at, path);
}

int symlink(const char *to, const char *path)
{
    MAKE(REAL(symlink)(to, path), AT_FDCWD, path);
}

int symlinkat(const char *to, int at, const char *path)
{
    MAKE(REAL(symlinkat)(to, at, path), at, path);
}

int link(const char *from, const char *to)
{
    return refused(to) ? fail(refused(to)) : REAL(link)(from, to);
}

int linkat(int at, const char *from, int there, const char *to, int flags)
{
    return refused(to) ? fail(refused(to)) : REAL(linkat)(at, from, there, to, flags);
}

int rename(const char *from, const char *to)
{
    return refused(to) ? fail(refused(to)) : REAL(rename)(from, to);
}

int renameat(int at, const char *from, int there, const char *to)
{
    return refused(to) ? fail(refused(to)) : REAL(renameat)(at, from, there, to);
}

static int unlinked(int result)
{
    return result && system_ && errno == EISDIR ? fail(EPERM) : result;
}

int unlink(const char *path)
{
    return unlinked(REAL(unlink)(path));
}

int unlinkat(int at, const char *path, int flags)
{
    return unlinked(REAL(unlinkat)(at, path, flags));
}

/* ---- processes and sockets --------------------------------------------------------------- */

pid_t getpgid(pid_t pid)
{
    if (is(OPENBSD) && pid && pid != getpid()) {
        pid_t session = getsid(pid);
        if (session >= 0 && session != getsid(0))
            return fail(EPERM);
    }
    return REAL(getpgid)(pid);
}

int prlimit64(pid_t pid, __rlimit_resource_t resource, const struct rlimit64 *new, struct rlimit64 *old)
{
    if (system_ && pid && pid != getpid())
        return fail(ENOSYS);
    return REAL(prlimit64)(pid, resource, new, old);
}

int bind(int fd, const struct sockaddr *address, socklen_t length)
{
    if (system_ && address->sa_family == AF_UNIX
        && strlen(((const struct sockaddr_un *)address)->sun_path) > 103)
        return fail(ENAMETOOLONG);
    return REAL(bind)(fd, address, length);
}

/* ---- FIFOs ------------------------------------------------------------------------------- */

/* The octets that a FIFO has room for; -1 if this is not one with a name. */
static long room(int fd)
{
    int error = errno, used;
    struct stat st;
    char link[64], to[8];
    long free = -1;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (system_ && !REAL(fstat)(fd, &st) && S_ISFIFO(st.st_mode) && st.st_nlink
        && readlink(link, to, sizeof to) >= 5 && strncmp(to, "pipe:", 5)
        && !ioctl(fd, FIONREAD, &used))
        free = used < system_->fifo ? system_->fifo - used : 0;
    errno = error;
    return free;
}

/* Nobody but Linux tells the size of a FIFO, or changes it. */
#define FCNTL(name)                                                             \
    int name(int fd, int command, ...)                                          \
    {                                                                           \
        va_list more;                                                           \
        va_start(more, command);                                                \
        void *argument = va_arg(more, void *);                                  \
        va_end(more);                                                           \
        if (system_ && (command == F_GETPIPE_SZ || command == F_SETPIPE_SZ))    \
            return fail(EINVAL);                                                \
        return REAL(name)(fd, command, argument);                               \
    }

FCNTL(fcntl)
FCNTL(fcntl64)

static int has_reader(int fd)
{
    struct pollfd end = {.fd = fd, .events = POLLOUT};
    REAL(poll)(&end, 1, 0);
    return !(end.revents & POLLERR);
}

ssize_t write(int fd, const void *octets, size_t n)
{
    long free = n ? room(fd) : -1;
    if (free >= 0 && (size_t)free < n && (fcntl(fd, F_GETFL) & O_NONBLOCK)) {
        if (n > 512 && free)                /* PIPE_BUF: more than that may be written in part */
            n = (size_t)free;
        else if (has_reader(fd))
            return fail(EAGAIN);
    }
    return REAL(write)(fd, octets, n);
}

int poll(struct pollfd *ends, nfds_t n, int milliseconds)
{
    struct pollfd asked[64];
    int watched = 0;
    for (nfds_t i = 0; i < n && n <= 64; i++)
        watched |= ends[i].fd >= 0 && (ends[i].events & POLLOUT) && room(ends[i].fd) >= 0;
    if (!watched)
        return REAL(poll)(ends, n, milliseconds);
    for (;; milliseconds -= milliseconds > 0) {
        memcpy(asked, ends, n * sizeof *ends);
        for (nfds_t i = 0; i < n; i++) {
            long free = asked[i].fd >= 0 && (asked[i].events & POLLOUT) ? room(asked[i].fd) : -1;
            if (free >= 0 && free < system_->pollout)
                asked[i].events &= ~POLLOUT;
        }
        int ready = REAL(poll)(asked, n, milliseconds ? 1 : 0);
        if (ready || !milliseconds) {
            for (nfds_t i = 0; i < n; i++)
                ends[i].revents = asked[i].revents;
            return ready;
        }
    }
}
