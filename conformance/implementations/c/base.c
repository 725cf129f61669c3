/* base.c - the base directory, its tmp, and channels as others see them */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- directories and names -------------------------------------------------------------- */

/* Sets the permission bits, whatever the umask (BASE-9). The set-group-id bit that the kernel
   passed on stays: without it, what is staged in tmp would not belong to the group of a shared
   base. */
int ps_set_mode(int fd, mode_t mode)
{
    struct stat st;
    if (fstat(fd, &st))
        return -1;
    return (st.st_mode & 0777) == mode ? 0
        : ps_fchmod(fd, (st.st_mode & (S_ISUID | S_ISGID | S_ISVTX)) | mode);
}

int ps_open_place(int at, const char *name)
{
    return ps_open(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

DIR *ps_open_dir(int at, const char *name)
{
    int fd = ps_open_place(at, name);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (fd >= 0 && !dir) {
        int err = errno;
        close(fd);
        errno = err;
    }
    return dir;
}

const char *ps_next_name(DIR *dir)
{
    struct dirent *d;
    do {
        errno = 0;
        d = readdir(dir);
    } while (d ? !strcmp(d->d_name, ".") || !strcmp(d->d_name, "..") : errno == EINTR);
    if (!d && errno == ENOENT)          /* a directory that was removed: it is empty */
        errno = 0;
    return d ? d->d_name : NULL;
}

int ps_add_name(struct ps_names *names, const char *name)
{
    size_t n = strlen(name) + 1;
    if (names->size + n > names->room) {
        size_t room = 2 * names->room + 1024;
        char *text = realloc(names->text, room);
        if (!text) {
            errno = ENOMEM;
            return -1;
        }
        names->text = text;
        names->room = room;
    }
    memcpy(names->text + names->size, name, n);
    names->size += n;
    return 0;
}

const char *ps_name_after(const struct ps_names *names, const char *name)
{
    name = name ? name + strlen(name) + 1 : names->text;
    return name && name < names->text + names->size ? name : NULL;
}

/* ---- the base --------------------------------------------------------------------------- */

enum { DEEPEST = 1 + PUBSUB_NAME_MAX + 1 + 20 };    /* octets of /CHANNEL/ID */

/* The absolute path of the base (BASE-1, BASE-2, BASE-14). Returns whether the base is explicit, or
   -1 and errno. ENAMETOOLONG: the paths of some entries would not fit into PATH_MAX, and an opening
   might not find what it made. */
static int base_path(char path[PATH_MAX])
{
    const char *home = getenv("PUBSUB_HOME");
    bool is_explicit = home && *home;
    char cwd[PATH_MAX];
    struct stat st;
    if (!is_explicit) {
        const char *tmpdir = getenv("TMPDIR");
        home = !stat("/dev/shm", &st) && S_ISDIR(st.st_mode) ? "/dev/shm"
            : tmpdir && *tmpdir ? tmpdir : "/tmp";
    }
    bool is_relative = *home != '/';
    int err = is_relative && !getcwd(cwd, sizeof cwd) ? errno : 0;
    if (err || !is_relative)
        *cwd = 0;
    const char *parts[] = {cwd, *cwd && cwd[1] ? "/" : "", home, is_explicit ? "" : "/pubsub"};
    size_t n = 0;
    for (int i = 0; i < 4; i++)             /* by snprintf() it would be a fifth of a publish */
        for (const char *c = parts[i]; *c; c++, n++)
            if (n < PATH_MAX - 1)
                path[n] = *c;
    path[n < PATH_MAX ? n : PATH_MAX - 1] = 0;
    /* Without "/" and "/." at its end, the path ends with the component that becomes the base. */
    while (n < PATH_MAX && n > 1 &&
           (path[n - 1] == '/' || (path[n - 1] == '.' && path[n - 2] == '/')))
        path[--n] = 0;
    if (!err && n < PATH_MAX - DEEPEST)
        return is_explicit;
    errno = err && err != ERANGE ? err : ENAMETOOLONG;
    return -1;
}

/* Whether a component of the path is "..". */
static bool goes_up(const char *path)
{
    for (const char *p = path; (p = strstr(p, "..")); p++)
        if ((p == path || p[-1] == '/') && (!p[2] || p[2] == '/'))
            return true;
    return false;
}

static int base_make(char *path)                                                /* BASE-3 */
{
    /* In new/sub/.. the base is a parent of the last component. */
    mode_t parents = goes_up(path) ? 0700 : 0777;
    for (char *p = path + 1; *p; p++)
        if (*p == '/') {
            *p = 0;
            mkdir(path, parents);           /* the last mkdir() says whether this one helped */
            *p = '/';
        }
    return mkdir(path, 0700) && errno != EEXIST ? -1 : 0;
}

static enum pubsub_code unusable(struct pubsub_error *e, const struct ps_base *b, const char *what,
                                 int err)
{
    return ps_fail(e, PUBSUB_BASE_UNUSABLE, err,                                /* BASE-6 */
                   "%.200s %s; set PUBSUB_HOME to another directory", b->path, what);
}

static enum pubsub_code unusable_for(struct pubsub_error *e, const struct ps_base *b,
                                     const char *what, int err)
{
    char text[128], reason[300];
    snprintf(reason, sizeof reason, "%s: %s", what, ps_reason(err, text));
    return unusable(e, b, reason, err);
}

enum pubsub_code ps_entry_fail(const struct ps_base *b, const char *entry, int err,
                               struct pubsub_error *e)
{
    char text[128];
    return ps_fail(e, PUBSUB_IO_ERROR, err, "%.200s%s%s: %s%s", b->path, *entry ? "/" : "", entry,
                   ps_reason(err, text), err == ENOSPC || err == EDQUOT
                       ? "; set PUBSUB_HOME to a directory that has room" : "");
}

/* Whether the error is one of a busy system, and says nothing about the base. */
static bool is_passing(int err)
{
    return err == EMFILE || err == ENFILE || err == ENOMEM || err == EIO;
}

/* Why a directory must not be the base, or NULL. */
static const char *fault(const struct stat *st, bool is_explicit)
{
    if (!is_explicit && st->st_uid != geteuid() && st->st_uid != 0)             /* BASE-4 */
        return "belongs to another user";
    if (st->st_mode & (is_explicit ? 002 : 022) && !(st->st_mode & S_ISVTX))    /* BASE-5 */
        return "may be written to by others and has no sticky bit";
    return NULL;
}

enum pubsub_code ps_base_open(struct ps_base *b, bool make, struct pubsub_error *e)
{
    struct stat st = {0};
    int is_explicit = base_path(b->path), tries = PS_TRIES;
    b->fd = -1;
    if (is_explicit < 0)
        return errno == ENAMETOOLONG ? unusable(e, b, "is too long a path", errno)
                                     : unusable_for(e, b, "cannot be found", errno);
    do
        b->fd = ps_open(AT_FDCWD, b->path,
                        O_RDONLY | O_DIRECTORY | (is_explicit ? 0 : O_NOFOLLOW));
    while (b->fd < 0 && errno == ENOENT && make && tries-- && !base_make(b->path));
    if (b->fd < 0) {
        int err = errno;
        if (err == ENOENT && lstat(b->path, &st) && !make)
            return PUBSUB_OK;
        if (is_passing(err))
            return ps_entry_fail(b, "", err, e);
        if (err == ENOTDIR || err == ELOOP || (err == ENOENT && S_ISLNK(st.st_mode)))
            return unusable(e, b, is_explicit ? "is not a directory"
                                              : "is not a directory or is a symbolic link", err);
        return unusable_for(e, b, "cannot be made or opened", err);
    }
    if (fstat(b->fd, &st)) {
        int err = errno;
        ps_close_fd(&b->fd);
        return unusable_for(e, b, "cannot be examined", err);
    }
    const char *wrong = fault(&st, is_explicit);
    if (wrong) {
        ps_close_fd(&b->fd);
        return unusable(e, b, wrong, EACCES);
    }
    b->share = st.st_mode & 022 ? st.st_mode & 077 : 0;
    b->dev = st.st_dev;
    b->inode = st.st_ino;
    return PUBSUB_OK;
}

bool ps_base_look(struct ps_base *b, struct stat *st)
{
    int is_explicit = base_path(b->path);
    return is_explicit >= 0 && !(is_explicit ? stat(b->path, st) : lstat(b->path, st)) &&
           S_ISDIR(st->st_mode) && !fault(st, is_explicit);
}

int ps_open_tmp(const struct ps_base *b)
{
    struct stat st;
    bool made = false;
    for (int i = 0; i < PS_TRIES; i++) {
        int tmp = ps_open_place(b->fd, "tmp"), err = errno;
        if (tmp >= 0) {
            if (!made || !ps_set_mode(tmp, 0700 | b->share))
                return tmp;
            ps_close_fd(&tmp);
            return -1;
        }
        if (err != ENOENT) {            /* for a link, systems give different errors */
            bool other = !fstatat(b->fd, "tmp", &st, AT_SYMLINK_NOFOLLOW) && !S_ISDIR(st.st_mode);
            errno = other ? ENOTDIR : err;                                      /* BASE-12 */
            return -1;
        }
        made = !mkdirat(b->fd, "tmp", 0700);                                    /* BASE-11 */
        if (!made && errno != EEXIST)
            return -1;
    }
    return -1;
}

enum pubsub_code ps_tmp_fail(const struct ps_base *b, int err, struct pubsub_error *e)
{
    if (err == ENOTDIR)
        return unusable(e, b, "holds a tmp that is not a directory", err);
    if (err == ENOENT || is_passing(err))
        return ps_entry_fail(b, "tmp", err, e);
    return unusable_for(e, b, "has a tmp that cannot be made or opened", err);
}

/* ---- channels as others see them -------------------------------------------------------- */

bool ps_parse_channel(const char *name, char pattern[PUBSUB_TOPIC_MAX + 1], long long *pid)
{
    size_t size = strcspn(name, "_");
    const char *p = name + size;
    if (!*p++ || !ps_is_words(name, size, true))
        return false;
    for (int i = 0; i < PS_FRESH; i++)
        if (!ps_is_alnum(*p++))
            return false;
    if (*p++ != '_' || *p < '1' || *p > '9' || strspn(p, "0123456789") != strlen(p) || strlen(p) > 10)
        return false;
    memcpy(pattern, name, size);
    pattern[size] = 0;
    *pid = strtoll(p, NULL, 10);
    return true;
}

bool ps_is_message_name(const char *name)
{
    size_t size = strspn(name, "0123456789");
    return *name != '0' && size && !name[size] &&
           (size < 20 || (size == 20 && strcmp(name, "18446744073709551615") <= 0));
}

enum ps_life ps_open_queue(int at, const char *dir, int *fd, struct stat *st)
{
    char queue[1040];               /* the longest name is 255 octets, on macOS perhaps 1,023 */
    *fd = -1;
    if (snprintf(queue, sizeof queue, "%s/queue", dir) >= (int)sizeof queue) {
        errno = ENAMETOOLONG;
        return PS_UNKNOWN;
    }
    *fd = ps_open(at, queue, O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY);
    int err = *fd < 0 ? errno : 0;
    if (err == ENOENT)
        return PS_NO_QUEUE;
    /* For a thing that is no FIFO, systems give different errors; they agree on what it is. */
    bool seen = !(*fd < 0 ? fstatat(at, queue, st, AT_SYMLINK_NOFOLLOW) : fstat(*fd, st));
    int unseen = seen ? 0 : errno;
    if (seen && S_ISFIFO(st->st_mode) && !err)
        return PS_ALIVE;
    ps_close_fd(fd);
    if (seen && !S_ISFIFO(st->st_mode))
        return PS_NO_FIFO;
    errno = err ? err : unseen;
    return seen && err == ENXIO ? PS_DEAD : PS_UNKNOWN;
}
