/* stage.c - stages a message in tmp: step 3 of spec/publish.md */
#include "publish.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int ps_draw_id(struct ps_publish *p)
{
    if (ps_fresh_id(&p->id))
        return -1;
    p->id_is_tried = false;
    ps_put(p->file + 5, p->id, 8);
    ps_put(p->record + 13, p->id, 8);
    return 0;
}

int ps_unstage(struct ps_publish *p)
{
    if (*p->staged && unlinkat(p->tmp, p->staged, 0) && errno != ENOENT)
        return -1;
    *p->staged = 0;
    return 0;
}

static int write_whole(int fd, const unsigned char *octets, size_t n)
{
    while (n) {
        ssize_t put = ps_write(fd, octets, n < 1 << 30 ? n : 1 << 30);
        if (put < 0)
            return -1;
        octets += put;
        n -= (size_t)put;
    }
    return 0;
}

/* BASE-9: read for those who may read and write in the base. */
static mode_t message_mode(const struct ps_base *b)
{
    return 0600 | ((b->share & 060) == 060 ? 040 : 0) | ((b->share & 06) == 06 ? 04 : 0);
}

/* The error of a call, at a place in the base if there is one. Returns the errno. */
static int failed(struct ps_publish *p, int err, const char *path, struct pubsub_error *e)
{
    (void)(path ? ps_entry_fail(&p->base, path, err, e) : ps_io_fail(e, err, "/dev/urandom"));
    return err;
}

int ps_stage(struct ps_publish *p, struct pubsub_error *e)
{
    char name[sizeof p->staged], path[sizeof name + 4];
    int tmp = -1, fd, err;
    do {
        ps_close_fd(&tmp);
        if ((tmp = ps_open_tmp(&p->base)) < 0) {
            err = errno;
            ps_tmp_fail(&p->base, err, e);
            return err;
        }
        if ((!p->id || p->id_is_tried) && ps_draw_id(p)) {
            err = errno;
            close(tmp);
            return failed(p, err, NULL, e);
        }
        p->id_is_tried = true;
        snprintf(name, sizeof name, "%" PRIu64, p->id);
        snprintf(path, sizeof path, "tmp/%s", name);
        fd = ps_open(tmp, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW);
        err = fd < 0 ? errno : 0;
    } while ((err == EEXIST || err == ENOENT) && p->tries-- > 0);
    if (err) {                                                                  /* PUB-3, PUB-6 */
        close(tmp);
        return failed(p, err, path, e);
    }
    if (write_whole(fd, p->file, p->size) || ps_fchmod(fd, message_mode(&p->base)) ||
        fstat(fd, &p->copy))
        err = errno;
    if (close(fd) && errno != EINTR && !err)
        err = errno;
    if (!err && ps_unstage(p))
        err = errno;
    if (err) {
        unlinkat(tmp, name, 0);
        close(tmp);
        return failed(p, err, path, e);
    }
    ps_close_fd(&p->tmp);
    p->tmp = tmp;
    strcpy(p->staged, name);
    p->staged_id = p->id;
    p->was_staged = true;
    return 0;
}
