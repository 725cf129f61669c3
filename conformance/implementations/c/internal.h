/* internal.h - what the files of the library share; a program includes pubsub.h alone
 *
 *     error.c     errors
 *     clock.c     deadlines and ages
 *     json.c      JSON text (json.h)
 *     message.c   topics, headers and message files; no I/O
 *     io.c        reads and writes, whatever signals come
 *     queue.c     records in a queue, how full it is, and its marker
 *     kept.c      what one publish keeps for the next
 *     open.c      opens and closes files
 *     fresh.c     names and ids that are taken by nobody
 *     base.c      the base, its tmp, and channels as others see them
 *     reap.c      takes channels down: one's own, and those of dead processes
 *     listing.c   lists the channels of the base
 *     stage.c     stages a message in tmp (publish.h)
 *     deliver.c   brings a message to one channel (publish.h)
 *     publish.c   publishes
 *     channel.c   opens and closes channels (channel.h)
 *     fetch.c     fetches, waits, removes orphans
 *
 * A file uses those above it, never those below. Names that several files use begin with ps_, so
 * that they do not meet the names of a program. Ids such as PUB-7 are those of the specification.
 *
 * The library opens the base, checks what it opened, and reaches everything in the base by names
 * relative to that descriptor: nobody can put another base in its place between check and use. It
 * reaches what is in tmp, and in its own channels, by names relative to descriptors of these
 * directories, opened without following links: whoever may write into the base can put a link in
 * their place at any time, and the link leads nowhere (BASE-15).
 */
#ifndef PUBSUB_INTERNAL_H
#define PUBSUB_INTERNAL_H

#define _POSIX_C_SOURCE 200809L     /* O_NOFOLLOW, which NetBSD 9 hides from _XOPEN_SOURCE alone */
#define _XOPEN_SOURCE 700           /* the sticky bit */
#define _FILE_OFFSET_BITS 64
#ifdef __APPLE__
#define _DARWIN_C_SOURCE
#endif

#include "pubsub.h"

#include <dirent.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

#ifndef PATH_MAX
#define PATH_MAX 4096
#endif
#if defined __APPLE__ && __ENVIRONMENT_MAC_OS_X_VERSION_MIN_REQUIRED__ < 130000
#define PS_NO_MKFIFOAT              /* the oldest macOS that the program is built for lacks it */
#endif
#ifdef __APPLE__
#define CTIM st_ctimespec
#define MTIM st_mtimespec
#else
#define CTIM st_ctim
#define MTIM st_mtim
#endif

enum {
    PS_TRIES = 100,         /* how often the library starts anything again */
    PS_FRESH = 12,          /* characters of a fresh name: 71 random bits */
    PS_ENTRY = 280          /* room for "<channel>/<id>" and "<prefix><fresh name>" */
};

/* ---- error.c ---------------------------------------------------------------------------- */

/* Fills in *e, if there is one, and returns the code. */
#ifdef __GNUC__
__attribute__((format(printf, 4, 5)))
#endif
enum pubsub_code ps_fail(struct pubsub_error *e, enum pubsub_code code, int errnum,
                         const char *format, ...);

/* The error of the system while it worked on `what`. */
enum pubsub_code ps_io_fail(struct pubsub_error *e, int errnum, const char *what);

const char *ps_reason(int errnum, char text[128]);

/* ---- clock.c ---------------------------------------------------------------------------- */

uint64_t ps_microseconds(void);                         /* since the epoch */
int64_t ps_deadline_in(int ms);                         /* negative: never */
int ps_left_until(int64_t deadline, int most);          /* ms, rounded up, at most `most` */
bool ps_older(struct timespec time, long long ms);
bool ps_before_start(struct timespec time);

/* ---- message.c -------------------------------------------------------------------------- */

bool ps_is_alnum(char c);
bool ps_is_words(const char *s, size_t size, bool wildcards);       /* a topic, or a pattern */
bool ps_matches(const char *pattern, const char *topic);
enum pubsub_code ps_check_pattern(const char *pattern, struct pubsub_error *e);

/* Reads the message file in the `size` octets behind *m; the fields of *m then point into them.
   0, or EBADMSG with *why, or ENOMEM. */
int ps_parse(struct pubsub_message *m, size_t size, const char **why);

/* Unsigned integers of so many octets, big-endian. */
void ps_put(unsigned char *p, uint64_t value, int octets);
uint64_t ps_get(const void *p, int octets);

/* ---- io.c ------------------------------------------------------------------------------- */

/* read(), write() and fchmod(), again after a signal. */
ssize_t ps_read(int fd, void *to, size_t n);
ssize_t ps_write(int fd, const void *from, size_t n);
int ps_fchmod(int fd, mode_t mode);

/* ---- queue.c ---------------------------------------------------------------------------- */

#define PS_MARKER "inline"

enum {
    PS_RECORD_KEY = 6,          /* octets that begin each record of a channel */
    PS_RECORD_LEAST = 34,       /* octets of a message in a record */
    PS_RECORD_MOST = 1016,
    PS_RECORD_ROOM = 1024       /* octets of the longest record */
};

/* The octets that begin each record in the queue of the channel of this name. */
void ps_record_key(const char *channel, unsigned char key[PS_RECORD_KEY]);

/* The octets of the record that begins with this word, with its padding; 0: the word begins none. */
size_t ps_record_size(const unsigned char key[PS_RECORD_KEY], const unsigned char *word);

/* Makes a record but for its key, of a message file of n octets, and returns its size. */
size_t ps_record_put(unsigned char record[PS_RECORD_ROOM], const unsigned char *file, size_t n);

int ps_queue_octets(int fd);            /* in the queue; -1: not known */
int ps_queue_size(int fd);              /* how many it can hold; -1: not known */
void ps_queue_shrink(int reader);       /* frees its memory (INLINE-25) */

/* Makes the marker in the directory of an empty queue, if the queue may have one. 0, or -1 and
   errno. */
int ps_mark(int dir, int reader, int writer, bool *marked);

/* Whether a channel has a marker, and to whom that belongs. */
bool ps_is_marked(int at, const char *channel, uid_t *owner);

/* ---- kept.c ----------------------------------------------------------------------------- */

/* Names, one behind the other, each with its NUL. */
struct ps_names {
    char *text;
    size_t size, room;
};

/* A channel, as a publisher knows it. */
struct ps_target {
    const char *name, *pattern;
    int fd;                     /* of its queue, kept from an earlier publish, or -1 */
    bool in_use;                /* by this publish */
    enum { PS_UNSEEN, PS_UNMARKED, PS_MARKED } marker;
    uid_t marker_owner, owner;  /* of its marker, and of the queue that was opened last */
    dev_t dev;                  /* of the queue that was opened last */
    ino_t inode;
    int allowance;              /* octets that may be written before the next look at the room */
    unsigned char key[PS_RECORD_KEY];
};

/* The targets for one topic. */
struct ps_topic {
    char text[PUBSUB_TOPIC_MAX + 1];
    size_t count;
    struct ps_target *targets[];
};

enum { PS_TOPICS = 64 };

/* A list of the channels of the base. */
struct ps_listing {
    struct stat base;           /* when it was listed */
    uid_t user;
    int most;                   /* descriptors that may be kept; 0: the list may not be kept */
    struct ps_names names;      /* of each target its name and its pattern */
    struct ps_target *targets;
    size_t count;
    struct ps_target *lowest, *highest;     /* by the number of the descriptor, when it was kept */
    struct ps_topic *topics[PS_TOPICS];
};

/* The list that was kept for a base that looks like this, or NULL. The caller then has it for itself,
   until ps_done_with_listing(). */
struct ps_listing *ps_kept_listing(const struct stat *base);

void ps_forget_listings(void);                          /* all that nobody uses */
void ps_keep_listing(struct ps_listing *list);          /* a new one, which the caller goes on to use */
void ps_done_with_listing(struct ps_listing *list);     /* one that is kept, or one that is not */
void ps_listing_free(struct ps_listing *list);

/* Uses the descriptor of the queue if one is kept: then t->in_use is true, until the use ends by one of
   the next two, or by ps_drop_queues(). */
void ps_borrow_queue(struct ps_target *t);

/* Keeps the descriptor in use, or *own, which is -1 then, for the next publish, unless too many are
   kept. */
void ps_keep_queue(struct ps_listing *list, struct ps_target *t, int *own);
void ps_close_queue(struct ps_target *t);               /* if it is in use */

/* Closes all descriptors that are kept (INLINE-24); false: there was none. */
bool ps_drop_queues(void);

/* ---- open.c ----------------------------------------------------------------------------- */

/* Opens a file, closed on exec; a signal does not keep it from that, and a want of descriptors only
   if no queue is kept (INLINE-24). The number is none of 0 to 2 (INLINE-23), unless the file is made. */
int ps_open(int at, const char *path, int flags);

void ps_close_fd(int *fd);

/* ---- fresh.c ---------------------------------------------------------------------------- */

/* Appends a fresh name to the string in `name`. 0, or -1 and errno. */
int ps_fresh_name(char *name);

/* 0, or -1 and errno. Ids rise within the process. */
int ps_fresh_id(uint64_t *id);

/* ---- base.c ----------------------------------------------------------------------------- */

struct ps_base {
    int fd;                     /* -1: it is not there, or not open */
    dev_t dev;
    ino_t inode;
    mode_t share;               /* its bits for group and others if one of them may write, else 0 */
    char path[PATH_MAX];        /* absolute; the path of every channel and message fits, too */
};

/* Opens the base and checks what it opened. If the base is not there: makes it, or b->fd = -1. */
enum pubsub_code ps_base_open(struct ps_base *b, bool make, struct pubsub_error *e);

/* Looks at the base by its path without opening it. False: it is not there, or may not be used. */
bool ps_base_look(struct ps_base *b, struct stat *st);

/* A descriptor of tmp, which it makes if need be, or -1 and errno. ENOENT: the base is gone. */
int ps_open_tmp(const struct ps_base *b);
enum pubsub_code ps_tmp_fail(const struct ps_base *b, int errnum, struct pubsub_error *e);

/* The error of the system at an entry of the base; "": at the base. */
enum pubsub_code ps_entry_fail(const struct ps_base *b, const char *entry, int errnum,
                               struct pubsub_error *e);

int ps_set_mode(int fd, mode_t mode);
int ps_open_place(int at, const char *name);            /* a directory, following no link */
DIR *ps_open_dir(int at, const char *name);
const char *ps_next_name(DIR *dir);                     /* NULL at the end, or with errno set */

/* 0, or -1 and ENOMEM. */
int ps_add_name(struct ps_names *names, const char *name);

/* The name behind this one; of NULL the first; NULL at the end. */
const char *ps_name_after(const struct ps_names *names, const char *name);

/* Takes the name of a channel apart; false: it is none. */
bool ps_parse_channel(const char *name, char pattern[PUBSUB_TOPIC_MAX + 1], long long *pid);
bool ps_is_message_name(const char *name);

enum ps_life { PS_ALIVE, PS_DEAD, PS_NO_QUEUE, PS_NO_FIFO, PS_UNKNOWN };

/* Opens the queue of a directory for writing, which says whether it has a reader (CHAN-9).
   PS_ALIVE: *fd is open. In all but PS_NO_QUEUE and PS_UNKNOWN *st is the queue's. PS_UNKNOWN:
   errno says why. */
enum ps_life ps_open_queue(int at, const char *dir, int *fd, struct stat *st);

/* ---- reap.c ----------------------------------------------------------------------------- */

/* Renames a directory of the base to a fresh name in tmp (CHAN-16, REAP-12). A descriptor of tmp,
   or -1 and errno. ENOENT: the directory is gone. */
int ps_claim(const struct ps_base *b, const char *from, char to[PS_ENTRY]);

/* Removes a directory and all in it (CHAN-14). 0, or -1 and errno. */
int ps_remove_tree(int at, const char *name);

enum pubsub_code ps_reap_base(const struct ps_base *b, long long stale_ms, struct pubsub_error *e);

/* ---- listing.c -------------------------------------------------------------------------- */

/* Lists the base. 0 or an errno. */
int ps_list(const struct ps_base *b, struct ps_listing **list);

/* The targets whose pattern matches; NULL: there is no memory. */
const struct ps_topic *ps_matching(struct ps_listing *list, const char *topic);

#endif
