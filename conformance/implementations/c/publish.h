/* publish.h - what the files share that publish a message: stage.c, deliver.c, publish.c */
#ifndef PUBSUB_PUBLISH_H
#define PUBSUB_PUBLISH_H

#include "internal.h"

struct ps_publish {
    unsigned char *file;
    size_t size;
    uint64_t id;                    /* of the next record; 0: none is drawn yet */
    int tries;                      /* how often something may still be repeated */

    int tmp;                        /* where the message is staged */
    char staged[24];                /* its name there, which is the id; empty: it is not staged */
    uint64_t staged_id;
    bool id_is_tried;               /* as a name in tmp */
    bool was_staged;

    struct ps_listing *list;
    bool is_waiting;                /* the list may be out of date */
    bool broke;                     /* a write met a queue without reader */
    bool gave_up;                   /* a channel, because the message is not staged */
    size_t record_size;             /* 0: the message is too long for a record */

    /* All above is zero at first. All below is long, and filled when it is needed. */
    struct ps_base base;
    struct pubsub_error unstaged;   /* why the message could not be staged; code 0: no reason */
    struct stat copy;               /* the staged file */
    unsigned char record[PS_RECORD_ROOM];
};

/* ---- stage.c ---------------------------------------------------------------------------- */

/* Takes a fresh id. 0, or -1 and errno. */
int ps_draw_id(struct ps_publish *p);

/* Step 3: stages the message under an id that is taken by nobody, a fresh one if need be. The new copy
   replaces an earlier one; if staging fails, the earlier one stays. 0 or an errno; ENOENT: the base is
   gone. */
int ps_stage(struct ps_publish *p, struct pubsub_error *e);

/* 0, or -1 and errno. */
int ps_unstage(struct ps_publish *p);

/* ---- deliver.c -------------------------------------------------------------------------- */

enum ps_outcome { PS_TOOK, PS_GONE, PS_FULL, PS_FAILED, PS_UNSTAGED };

/* Step 4 for one channel; never PS_UNSTAGED. */
enum ps_outcome ps_deliver(struct ps_publish *p, struct ps_target *t, struct pubsub_error *e);

#endif
