/* reap.c - takes channels down: one's own, and those of dead processes */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- taking down ------------------------------------------------------------------------ */

int ps_claim(const struct ps_base *b, const char *from, char to[PS_ENTRY])
{
    struct stat st;
    for (int i = 0; i < PS_TRIES; i++) {
        int tmp = ps_open_tmp(b);
        if (tmp < 0)
            return -1;
        strcpy(to, "old-");                 /* not a name that a message file could have */
        int err = ps_fresh_name(to) || renameat(b->fd, from, tmp, to) ? errno : 0;
        if (!err)
            return tmp;
        close(tmp);
        errno = err;
        /* ENOENT: either the directory is gone, or tmp is. */
        if (err == ENOENT && fstatat(b->fd, from, &st, AT_SYMLINK_NOFOLLOW))
            return -1;
        if (err != ENOENT && err != EEXIST && err != ENOTEMPTY)
            return -1;
    }
    return -1;
}

/* A directory that is being emptied. */
struct level {
    dev_t dev;
    ino_t inode;
    size_t begin;               /* of the names of the directories in it that are still to be removed */
};

/* The way down to the directory that is open. Only this one is: no nesting is too deep, neither for a
   stack nor for the limit of open files. */
struct way {
    DIR *dir;
    struct level *levels;
    size_t count, room;
    struct ps_names names;      /* of all levels; before those of a level comes its own */
    int refused;                /* the error at an entry that stays */
    bool progress;
};

static bool is_not_empty(int err)
{
    return err == ENOTEMPTY || err == EEXIST;
}

static bool is_last_level(const struct way *w, const struct stat *st)
{
    const struct level *l = &w->levels[w->count - 1];
    return st->st_dev == l->dev && st->st_ino == l->inode;
}

/* Removes what is in a directory but the directories, whose names it adds. 0 or an errno. */
static int remove_files(struct way *w, DIR *dir)
{
    struct stat st;
    const char *name;
    while ((name = ps_next_name(dir))) {
        int err = 0;
        if (fstatat(dirfd(dir), name, &st, AT_SYMLINK_NOFOLLOW))                /* CHAN-15 */
            err = errno;
        else if (S_ISDIR(st.st_mode)) {
            if (ps_add_name(&w->names, name))
                return ENOMEM;
        } else if (unlinkat(dirfd(dir), name, 0))
            err = errno;
        else
            w->progress = true;
        if (err && err != ENOENT)
            w->refused = err;
    }
    return errno;
}

/* Opens a directory in place of the one above it, and empties it but for the directories. 0, or an
   errno: then the way is as it was. Its way up has to lead to where it came from: another process can
   have moved the directory (BASE-15). */
static int go_down(struct way *w, int at, const char *name)
{
    size_t begin = w->names.size;
    struct stat st, above;
    int err = 0;
    if (w->count == w->room) {
        struct level *more = realloc(w->levels, (2 * w->room + 8) * sizeof *more);
        if (!more)
            return ENOMEM;
        w->levels = more;
        w->room = 2 * w->room + 8;
    }
    DIR *dir = ps_open_dir(at, name);
    if (!dir && errno == EACCES && !fchmodat(at, name, 0700, AT_SYMLINK_NOFOLLOW))
        dir = ps_open_dir(at, name);
    if (!dir)
        return errno;
    if (!fstat(dirfd(dir), &st) && ~st.st_mode & 0700)      /* CHAN-14 */
        (void)ps_fchmod(dirfd(dir), 0700);     /* if this fails, so does what follows */
    if (fstat(dirfd(dir), &st) || (w->count && fstatat(dirfd(dir), "..", &above, 0)))
        err = errno;
    else if (w->count && !is_last_level(w, &above))
        err = ENOENT;
    else
        err = remove_files(w, dir);
    if (err) {
        closedir(dir);
        w->names.size = begin;
        return err;
    }
    if (w->dir)
        closedir(w->dir);
    w->dir = dir;
    w->levels[w->count++] = (struct level){st.st_dev, st.st_ino, begin};
    return 0;
}

/* Opens the directory above in place of the one that is open. 0 or an errno. */
static int go_up(struct way *w)
{
    struct stat st;
    DIR *dir = ps_open_dir(dirfd(w->dir), "..");
    if (!dir)
        return errno;
    closedir(w->dir);
    w->dir = dir;
    w->count--;
    return fstat(dirfd(dir), &st) ? errno : is_last_level(w, &st) ? 0 : ENOENT;
}

static char *last_name(const struct ps_names *names)
{
    char *name = names->text + names->size - 1;
    while (name > names->text && name[-1])
        name--;
    return name;
}

/* Removes what is in a directory. 0, or the errno that ended the way. */
static int empty(struct way *w, int at, const char *name)
{
    int err = go_down(w, at, name);
    while (!err) {
        bool is_done = w->names.size == w->levels[w->count - 1].begin;
        if (is_done && w->count == 1)
            break;
        if (is_done && (err = go_up(w)))
            break;
        const char *inner = last_name(&w->names);
        size_t end = (size_t)(inner - w->names.text);
        /* It is tried before it is opened, too: the system refuses a mount point, and what is mounted
           stays. */
        int failed = unlinkat(dirfd(w->dir), inner, AT_REMOVEDIR) ? errno : 0;
        w->progress |= !failed;
        if (is_not_empty(failed) && !is_done && !(failed = go_down(w, dirfd(w->dir), inner)))
            continue;
        if (failed && failed != ENOENT && !is_not_empty(failed))
            w->refused = failed;
        w->names.size = end;
    }
    if (w->dir)
        closedir(w->dir);
    free(w->levels);
    free(w->names.text);
    return err == ENOENT ? 0 : err;     /* another process was faster */
}

/* Steps 3 and 4 of closing. Goes on while late links arrive (CHAN-17); gives up once a round
   removes nothing and something cannot be removed. */
int ps_remove_tree(int at, const char *name)
{
    int err = 0;
    for (int idle = 0; idle < PS_TRIES; idle++) {
        struct way w = {0};
        if (!unlinkat(at, name, AT_REMOVEDIR) || errno == ENOENT)
            return 0;
        if (!is_not_empty(errno))
            return -1;
        err = empty(&w, at, name);
        err = err ? err : w.refused;
        if (w.progress)
            idle = 0;
        else if (err)
            break;
    }
    errno = err ? err : ENOTEMPTY;
    return -1;
}

/* ---- reaping ---------------------------------------------------------------------------- */

static enum ps_life probe(int at, const char *dir, struct stat *st)
{
    int fd;
    enum ps_life life = ps_open_queue(at, dir, &fd, st);
    ps_close_fd(&fd);
    return life;
}

/* Whether a process has ended, and its parent has not waited for it (REAP-17). */
static bool is_zombie(long long pid)
{
    char path[64], text[512], *end;
    snprintf(path, sizeof path, "/proc/%lld/stat", pid);
    int fd = ps_open(AT_FDCWD, path, O_RDONLY);
    ssize_t n = fd < 0 ? -1 : ps_read(fd, text, sizeof text - 1);
    ps_close_fd(&fd);
    if (n <= 0)
        return false;               /* it has just gone, or this system does not show it */
    text[n] = 0;
    end = strrchr(text, ')');       /* the name before it may hold any octet */
    return end && end[1] == ' ' && (end[2] == 'Z' || end[2] == 'X');
}

static bool runs(long long pid)
{
    if ((long long)(pid_t)pid != pid || (pid_t)pid <= 0)
        return false;               /* ten digits: more than a pid_t holds */
    return (!kill((pid_t)pid, 0) || errno != ESRCH) && !is_zombie(pid);
}

/* Removes a claimed directory, or renames it back if it has a reader after all (REAP-13). */
static void bury(int tmp, const char *grave, int at, const char *name)
{
    struct stat st;
    enum ps_life life = probe(tmp, grave, &st);
    if (life == PS_ALIVE || life == PS_UNKNOWN)
        renameat(tmp, grave, at, name);
    else
        ps_remove_tree(tmp, grave);
}

/* Removes a directory that cannot be renamed, its queue first (REAP-18). */
static void bury_in_place(int at, const char *name)
{
    struct stat st;
    int dir = ps_open_place(at, name);
    if (dir < 0)
        return;
    bool is_gone = !unlinkat(dir, "queue", 0) || errno == ENOENT ||
                   (!fstatat(dir, "queue", &st, AT_SYMLINK_NOFOLLOW) && S_ISDIR(st.st_mode));
    ps_close_fd(&dir);
    if (is_gone)
        ps_remove_tree(at, name);
}

/* Whether REAP-3 to REAP-6 and REAP-16 ask for the removal of an entry of the base. */
static bool is_dead(const struct ps_base *b, const char *name, long long stale_ms)
{
    char pattern[PUBSUB_TOPIC_MAX + 1];
    struct stat dir, queue;
    long long pid;
    if (!ps_parse_channel(name, pattern, &pid) ||
        fstatat(b->fd, name, &dir, AT_SYMLINK_NOFOLLOW) || !S_ISDIR(dir.st_mode))
        return false;                                                           /* BASE-10 */
    switch (probe(b->fd, name, &queue)) {
    case PS_DEAD:
        return (ps_older(queue.CTIM, stale_ms) && ps_older(queue.MTIM, stale_ms)) || !runs(pid) ||
               (pid == getpid() && ps_before_start(queue.CTIM) && ps_before_start(queue.MTIM));
    case PS_NO_QUEUE:
        return ps_older(dir.CTIM, stale_ms) && !runs(pid);                      /* REAP-6 */
    default:
        return false;
    }
}

static void reap_channel(const struct ps_base *b, const char *name)
{
    char grave[PS_ENTRY];
    int tmp = ps_claim(b, name, grave);
    if (tmp < 0 && errno == EXDEV)
        bury_in_place(b->fd, name);
    if (tmp < 0)
        return;                                                                 /* REAP-11, REAP-14 */
    bury(tmp, grave, b->fd, name);
    close(tmp);
}

static void reap_staged(int tmp, const char *name, long long stale_ms)
{
    char grave[PS_ENTRY] = "old-";
    struct stat st, queue;
    if (fstatat(tmp, name, &st, AT_SYMLINK_NOFOLLOW) || !ps_older(st.CTIM, stale_ms))
        return;                                                                 /* REAP-8, REAP-10 */
    if (!S_ISDIR(st.st_mode)) {
        unlinkat(tmp, name, 0);                                                 /* REAP-7 */
        return;
    }
    enum ps_life life = probe(tmp, name, &queue);
    if (life == PS_ALIVE || life == PS_UNKNOWN || ps_fresh_name(grave))
        return;
    if (!renameat(tmp, name, tmp, grave))
        bury(tmp, grave, tmp, name);                                            /* REAP-9 */
    else if (errno == EXDEV)
        bury_in_place(tmp, name);
}

/* Lists a directory before anything in it is removed: some systems skip entries if others go while
   they list. 0 or an errno. */
static int list(DIR *dir, struct ps_names *names)
{
    const char *name;
    names->size = 0;
    while ((name = ps_next_name(dir)))
        if (ps_add_name(names, name))
            break;
    return errno;
}

enum pubsub_code ps_reap_base(const struct ps_base *b, long long stale_ms, struct pubsub_error *e)
{
    struct ps_names names = {0};
    const char *name = NULL;
    struct stat st;
    if (!fstatat(b->fd, "tmp", &st, AT_SYMLINK_NOFOLLOW) && !S_ISDIR(st.st_mode))
        return ps_tmp_fail(b, ENOTDIR, e);
    DIR *dir = ps_open_dir(b->fd, ".");
    if (!dir)
        return ps_entry_fail(b, "", errno, e);
    int err = list(dir, &names);
    closedir(dir);
    while ((name = ps_name_after(&names, name)))
        if (is_dead(b, name, stale_ms))
            reap_channel(b, name);
    if ((dir = ps_open_dir(b->fd, "tmp"))) {
        int failed = list(dir, &names);
        err = err ? err : failed;
        while ((name = ps_name_after(&names, name)))
            reap_staged(dirfd(dir), name, stale_ms);
        closedir(dir);
    } else if (errno != ENOENT && errno != EACCES) {
        err = err ? err : errno;
    }
    free(names.text);
    return err ? ps_entry_fail(b, "", err, e) : PUBSUB_OK;
}

enum pubsub_code pubsub_reap(long long stale_ms, struct pubsub_error *e)
{
    struct pubsub_error own;
    struct ps_base b;
    e = e ? e : &own;
    enum pubsub_code code = ps_base_open(&b, false, e);
    if (!code && b.fd >= 0)
        code = ps_reap_base(&b, stale_ms, e);
    ps_close_fd(&b.fd);
    return code;
}
