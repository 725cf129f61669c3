"""The mutants of the implementation in C.

Each must fail the conformance test of its requirement. They break what is natural to break in C,
such as the width of a number or the error that a call gave.
"""

from __future__ import annotations

from c_mutation import CMutant

C_MUTANTS = [
    CMutant(
        "TOPIC-6",
        "matches patterns of up to 63 terms",
        "message.c",
        "return reached[terms];",
        "return reached[terms & 63];",
    ),
    CMutant(
        "BASE-3",
        "takes one /. from the end of the base's path",
        "base.c",
        """    while (n < PATH_MAX && n > 1 &&
           (path[n - 1] == '/' || (path[n - 1] == '.' && path[n - 2] == '/')))
        path[--n] = 0;
""",
        """    while (n < PATH_MAX && n > 1 && path[n - 1] == '/')
        path[--n] = 0;
    if (n < PATH_MAX && n > 2 && path[n - 1] == '.' && path[n - 2] == '/')
        path[n -= 2] = 0;
""",
    ),
    CMutant(
        "CHAN-8",
        "a descriptor is inherited that was moved from the number of a standard file",
        "open.c",
        "fcntl(fd, F_DUPFD_CLOEXEC, 3)",
        "fcntl(fd, F_DUPFD, 3)",
    ),
    CMutant(
        "PUB-5",
        "takes a part that was written for the whole",
        "stage.c",
        """        octets += put;
        n -= (size_t)put;
""",
        "        n = 0;\n",
    ),
    CMutant(
        "PUB-13",
        "writes the id that it drew last, not that of the copy it has",
        "deliver.c",
        "ps_put(id, p->staged_id, 8);",
        "ps_put(id, p->id, 8);",
    ),
    CMutant(
        "REAP-5",
        "reads the state of a process behind the first parenthesis",
        "reap.c",
        "end = strrchr(text, ')');",
        "end = strchr(text, ')');",
    ),
    CMutant(
        "GUAR-5",
        "has room for the name of a channel, and eight octets more for an id",
        "internal.h",
        "PS_ENTRY = 280 ",
        "PS_ENTRY = PUBSUB_NAME_MAX + 8 ",
    ),
    CMutant(
        "FETCH-13",
        "ends a wait that is interrupted",
        "fetch.c",
        "if (err && err != EINTR)",
        "if (err)",
    ),
    CMutant(
        "MSG-5",
        "cuts the time to 32 bits",
        "clock.c",
        "(uint64_t)t.tv_nsec / 1000;",
        "(uint64_t)t.tv_nsec / 1000 & UINT32_MAX;",
    ),
    CMutant(
        "BASE-16",
        "leaves a file open that is no message",
        "fetch.c",
        """    ps_close_fd(&fd);
    if (!err && (*message)->id""",
        """    if (!err)
        ps_close_fd(&fd);
    if (!err && (*message)->id""",
    ),
    CMutant(
        "BASE-16",
        "leaves tmp open where it may not make a file in it",
        "stage.c",
        """        close(tmp);
        return failed(p, err, path, e);
    }
    if (write_whole(""",
        """        return failed(p, err, path, e);
    }
    if (write_whole(""",
    ),
    CMutant(
        "CHAN-14",
        "gives itself access to a directory only if it cannot open it",
        "reap.c",
        "&& ~st.st_mode & 0700)",
        "&& 0)",
    ),
    CMutant(
        "REAP-8",
        "an age without a sign",
        "clock.c",
        "return seconds > ms / 1000 + 1 ||",
        "return (unsigned long long)seconds > (unsigned long long)ms / 1000 + 1 ||",
    ),
    CMutant(
        "REAP-10",
        "an age of 32 bits in milliseconds",
        "reap.c",
        "code = ps_reap_base(&b, stale_ms, e);",
        "code = ps_reap_base(&b, (int)stale_ms, e);",
    ),
    CMutant(
        "FETCH-15",
        "timeouts by the clock on the wall",
        "clock.c",
        "now(CLOCK_MONOTONIC)",
        "now(CLOCK_REALTIME)",
    ),
    CMutant(
        "BASE-9",
        "keeps the mode that a base had first",
        "base.c",
        "    b->share = st.st_mode & 022 ? st.st_mode & 077 : 0;",
        """    static ino_t known;
    static mode_t kept;
    if (known != st.st_ino)
        kept = st.st_mode & 022 ? st.st_mode & 077 : 0;
    known = st.st_ino;
    b->share = kept;""",
    ),
    CMutant(
        "FETCH-14",
        "does not take a file in the place of a channel for a loss",
        "channel.c",
        "return errno == ENOTDIR ? ENOENT : errno;",
        "return errno;",
    ),
    CMutant(
        "PUB-13",
        "takes a file in the place of a channel for an error",
        "deliver.c",
        "        if (!S_ISDIR(st.st_mode))           /* a link to one",
        """        if (S_ISREG(st.st_mode)) {
            ps_entry_fail(&p->base, t->name, ENOTDIR, e);
            return PS_FAILED;
        }
        if (!S_ISDIR(st.st_mode))           /* a link to one""",
    ),
    CMutant(
        "BASE-9",
        "queues that others may read for a moment",
        "channel.c",
        'return mkfifoat(dir, "queue", 0600);',
        'return mkfifoat(dir, "queue", 0666);',
    ),
    CMutant(
        "BASE-9",
        "opens a queue to others when the channel is visible",
        "channel.c",
        """        ps_set_mode(ch->reader, 0600 | (b->share & 022)) ||
        (ch->writer = open_queue_end(ch->dir, O_WRONLY)) < 0 ||
        fstat(ch->reader, &made) || fstat(ch->dir, &st) ||
        (flags & PUBSUB_INLINE && ps_mark(ch->dir, ch->reader, ch->writer, &ch->marked)) ||
        renameat(tmp, dir, b->fd, ch->name)) {""",
        """        (ch->writer = open_queue_end(ch->dir, O_WRONLY)) < 0 ||
        fstat(ch->reader, &made) || fstat(ch->dir, &st) ||
        (flags & PUBSUB_INLINE && ps_mark(ch->dir, ch->reader, ch->writer, &ch->marked)) ||
        renameat(tmp, dir, b->fd, ch->name) ||
        ps_set_mode(ch->reader, 0600 | (b->share & 022))) {""",
    ),
    CMutant(
        "REAP-14",
        "takes a tmp that is not there for an error",
        "reap.c",
        "} else if (errno != ENOENT && errno != EACCES) {",
        "} else if (errno != EACCES) {",
    ),
    CMutant(
        "CHAN-3",
        "takes numbers of any length for ids",
        "base.c",
        "(size < 20 || (size == 20 && ",
        "(size < 20 || (1 && ",
    ),
    CMutant(
        "FETCH-17",
        "takes numbers with leading zeros for ids",
        "base.c",
        "return *name != '0' && size && !name[size] &&",
        "return size && !name[size] &&",
    ),
    CMutant(
        "MSG-11",
        "takes every character from U+D000 on for a surrogate",
        "json.c",
        "(unsigned char)out[1] > 0x9f",
        "(unsigned char)out[0] > 0x9f",
    ),
    CMutant(
        "MSG-9",
        "sorts keys of different lengths in no order",
        "message.c",
        "(x->size < y->size ? -1 : 1)",
        "(x->size != y->size ? -1 : 1)",
    ),
    CMutant(
        "MSG-9",
        "compares keys up to a NUL",
        "message.c",
        "memcmp(x->octets, y->octets, x->size);",
        "strncmp(x->octets, y->octets, x->size);",
    ),
    CMutant(
        "BASE-4",
        "trusts the base of the real user",
        "base.c",
        "!is_explicit && st->st_uid != geteuid()",
        "!is_explicit && st->st_uid != getuid()",
    ),
    CMutant(
        "FETCH-14",
        "follows a link to its queue",
        "channel.c",
        "if (lstat(ch->queue_path, &st))",
        "if (stat(ch->queue_path, &st))",
    ),
    CMutant(
        "GUAR-5",
        "a list of 16384 octets",
        "listing.c",
        "if (ps_parse_channel(name, pattern, &pid)) {",
        "if (list->names.size <= 16384 && ps_parse_channel(name, pattern, &pid)) {",
    ),
    CMutant(
        "MSG-14",
        "a size of 32 bits",
        "fetch.c",
        "static int read_message(int fd, off_t size,",
        "static int read_message(int fd, unsigned size,",
    ),
    CMutant(
        "FETCH-1",
        "ids with a sign",
        "fetch.c",
        'snprintf(name, sizeof name, "%" PRIu64, id);',
        'snprintf(name, sizeof name, "%" PRId64, (int64_t)id);',
    ),
    CMutant(
        "CHAN-12",
        "starts again only once",
        "internal.h",
        "PS_TRIES = 100",
        "PS_TRIES = 2",
    ),
    CMutant(
        "INLINE-3",
        "takes what a failed look left for the fill",
        "queue.c",
        "return ioctl(fd, FIONREAD, &octets) ? -1 : octets;",
        "ioctl(fd, FIONREAD, (octets = 8, &octets));\n    return octets;",
    ),
    CMutant(
        "INLINE-3",
        "takes a failed look at the size for a large one",
        "queue.c",
        "if (ps_queue_size(writer) < FIT ||",
        "if ((unsigned)ps_queue_size(writer) < FIT ||",
    ),
    CMutant(
        "INLINE-5",
        "compares the marker's owner with the first queue's alone",
        "deliver.c",
        "    t->owner = st.st_uid;\n",
        "    t->owner = t->marker == PS_UNSEEN ? st.st_uid : t->owner;\n",
    ),
    CMutant(
        "INLINE-6",
        "does not clear the padding",
        "queue.c",
        "memset(record + size - 8, 0, 8);",
        "memset(record + size - 8, 1, 8);",
    ),
    CMutant(
        "INLINE-7",
        "counts a queue that takes a part",
        "deliver.c",
        "if (n == (ssize_t)size) {",
        "if (n > 0) {",
    ),
    CMutant(
        "INLINE-8",
        "looks for records in every channel",
        "fetch.c",
        "size_t record = n >= 8 && ch->marked ? ",
        "size_t record = n >= 8 ? ",
    ),
    CMutant(
        "INLINE-9",
        "passes over the octets of a message without the padding",
        "queue.c",
        "return begins ? 8 + (n + 7) / 8 * 8 : 0;",
        "return begins ? 8 + n : 0;",
    ),
    CMutant(
        "INLINE-10",
        "loses the part of a record that a read ends with",
        "fetch.c",
        "size_t rest = ch->end - ch->at, most = ch->marked ? HAND_MOST : sizeof ch->word;",
        "size_t rest = (ch->at = ch->end, 0), most = ch->marked ? HAND_MOST : sizeof ch->word;",
    ),
    CMutant(
        "INLINE-10",
        "discards a word of what was cut short",
        "fetch.c",
        "pass_over(ch, rest);",
        "pass_over(ch, rest < 8 ? rest : 8);",
    ),
    CMutant(
        "INLINE-13",
        "writes a sixteenth beyond the half",
        "deliver.c",
        "t->allowance = is_known && most > 0 ? most : 0;",
        "t->allowance = is_known && most > 0 ? size / 16 : 0;",
    ),
    CMutant(
        "INLINE-13",
        "does not count what it writes",
        "deliver.c",
        "t->allowance -= (int)size;",
        "t->allowance -= 0;",
    ),
    CMutant(
        "INLINE-14",
        "base-unusable, although a queue has the record",
        "publish.c",
        "else if (code == PUBSUB_BASE_UNUSABLE && *count)",
        "else if (0)",
    ),
    CMutant(
        "INLINE-16",
        "reports a queue that refuses a record",
        "deliver.c",
        "        outcome = send_file(p, t, &own, e);",
        "        outcome = is_small && has_room(p, t, fd) ? PS_FULL : send_file(p, t, &own, e);",
    ),
    CMutant(
        "INLINE-18",
        "waits for the queues that it has",
        "publish.c",
        "p->is_waiting = true;",
        "p->is_waiting = false;",
    ),
    CMutant(
        "INLINE-19",
        "reads 128 KiB at once",
        "fetch.c",
        "HAND_MOST = 65536",
        "HAND_MOST = 131072",
    ),
    CMutant(
        "INLINE-21",
        "a list for a base that has changed",
        "kept.c",
        "same_time(list->base.MTIM, base->MTIM) && same_time(list->base.CTIM, base->CTIM) &&",
        "",
    ),
    CMutant(
        "INLINE-22",
        "keeps up to 256 whatever the limit is",
        "kept.c",
        "if (kept++ < list->most) {",
        "if (kept++ < MOST_KEPT) {",
    ),
    CMutant(
        "BASE-16",
        "forgets a kept descriptor if the look at it fails",
        "kept.c",
        "return errno != EBADF;",
        "return false;",
    ),
    CMutant(
        "INLINE-23",
        "leaves a low number open if it can have no other",
        "open.c",
        "    close(fd);\n    errno = err;",
        "    if (lifted >= 0)\n        close(fd);\n    errno = err;",
    ),
    CMutant(
        "INLINE-22",
        "counts what it never kept as closed",
        "kept.c",
        "    if (t->in_use)\n        drop(t);",
        "    drop(t);",
    ),
    CMutant(
        "INLINE-24",
        "spares the descriptor that it uses",
        "kept.c",
        "bool dropped = mine && drop_all(mine->list, false);",
        "bool dropped = mine && drop_all(mine->list, true);",
    ),
    CMutant(
        "INLINE-24",
        "drops only what this publish uses",
        "kept.c",
        "dropped |= drop_all(p->list, false);",
        "atomic_store(&p->to_drop, false);",
    ),
    CMutant(
        "INLINE-24",
        "does not know ENFILE",
        "open.c",
        "if ((err == EMFILE || err == ENFILE) && !dropped)",
        "if (err == EMFILE && !dropped)",
    ),
    CMutant(
        "INLINE-25",
        "reads a page of what is left",
        "queue.c",
        "left > 0 && n > 0; left -= (int)n)",
        "left > 0 && n > 0; left = 0)",
    ),
    CMutant(
        "FETCH-8",
        "loses what is behind an id that cannot be opened",
        "fetch.c",
        "    if (err && err != ENOENT && err != EBADMSG)\n",
        "    if (err && err != ENOENT && err != EBADMSG && (ch->end = ch->at + size))\n",
    ),
    CMutant(
        "FETCH-17",
        "looks for ids in the queue, but not in a batch",
        "fetch.c",
        "if (!err && !next_size(ch) && is_readable(ch) == 0)",
        "if (!err && (ch->batch || !next_size(ch)) && is_readable(ch) == 0)",
    ),
]
