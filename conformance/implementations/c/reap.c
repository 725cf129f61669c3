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

/* Renames a directory to a fresh name in `top`. One that may not be renamed is made to allow it (its
   entry .. changes), one that cannot be renamed at all is removed in its place (REAP-18). */
static int move_up(int dir, const char *name, int top)
{
    char up[PS_ENTRY] = "up-";
    if (ps_fresh_name(up))
        return -1;
    if (!renameat(dir, name, top, up))
        return 0;
    if (errno == EXDEV)
        return ps_remove_tree(dir, name);
    if (errno != EACCES || fchmodat(dir, name, 0700, AT_SYMLINK_NOFOLLOW))
        return -1;
    return renameat(dir, name, top, up);
}

/* Removes an entry of the directory `top`. It moves the directories in a directory up into top,
   for the next round: two descriptors and no stack are enough for any depth. */
static int remove_entry(int top, const char *name, bool *progress)
{
    struct stat st;
    if (fstatat(top, name, &st, AT_SYMLINK_NOFOLLOW))                           /* CHAN-15 */
        return errno == ENOENT ? 0 : -1;
    int flag = S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0;
    if (!unlinkat(top, name, flag) || errno == ENOENT) {
        *progress = true;
        return 0;
    }
    if (!flag)
        return -1;
    DIR *dir = ps_open_dir(top, name);
    if (!dir && errno == EACCES && !fchmodat(top, name, 0700, AT_SYMLINK_NOFOLLOW))
        dir = ps_open_dir(top, name);
    if (!dir)
        return -1;
    if (~st.st_mode & 0700)             /* CHAN-14; if this fails, so does what follows */
        (void)fchmod(dirfd(dir), 0700);
    for (const char *child; (child = ps_next_name(dir));) {
        if (fstatat(dirfd(dir), child, &st, AT_SYMLINK_NOFOLLOW))
            continue;
        if (S_ISDIR(st.st_mode) ? !move_up(dirfd(dir), child, top)
                                : !unlinkat(dirfd(dir), child, 0))
            *progress = true;
    }
    closedir(dir);
    if (unlinkat(top, name, AT_REMOVEDIR))
        return -1;
    *progress = true;
    return 0;
}

/* Steps 3 and 4 of closing. Goes on while late links arrive (CHAN-17); gives up once a round
   removes nothing and something cannot be removed. */
int ps_remove_tree(int at, const char *name)
{
    for (int idle = 0; idle < PS_TRIES; idle++) {
        int refused = 0;
        bool progress = false;
        DIR *dir = ps_open_dir(at, name);
        if (!dir)
            return errno == ENOENT ? 0 : -1;
        for (const char *entry; (entry = ps_next_name(dir));)
            if (remove_entry(dirfd(dir), entry, &progress))
                refused = errno;
        if (errno)                          /* of the listing */
            refused = errno;
        closedir(dir);
        if (!unlinkat(at, name, AT_REMOVEDIR) || errno == ENOENT)
            return 0;
        if (errno != ENOTEMPTY && errno != EEXIST)
            return -1;
        if (progress)
            idle = 0;
        else if (refused) {
            errno = refused;
            return -1;
        }
    }
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
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
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
    int dir = ps_open(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (dir < 0)
        return;
    if (!unlinkat(dir, "queue", 0) || errno == ENOENT)
        ps_remove_tree(at, name);
    ps_close_fd(&dir);
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
