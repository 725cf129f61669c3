/* Messages as files, in one channel: publish.md, fetch.md, channel.md, reap.md.
 *
 * Publishers, the owner of a channel, a reaper, and a cleaner that follows no rule. A step is one system
 * call: nothing happens within it, and anything may happen between two. A process that is not scheduled
 * is a stopped one, so what can become stale is stale at any time.
 *
 * The comment behind a step says in the specification's words what happens, with the number of the step
 * and the requirement. Counterexamples are printed with these comments. The comment behind an assertion
 * is its name and the promise. The comment behind an #ifdef is the rule that its macro breaks. */
#ifndef NP
#define NP 1                   /* publishers */
#endif
#ifndef SEQ
#define SEQ 1                  /* messages of each */
#endif
#ifndef KILLS
#define KILLS 0                /* processes that are killed */
#endif
#ifndef ROOM
#define ROOM 1                 /* ids that a queue takes */
#endif
#ifndef REAPS
#define REAPS 1                /* what the reaper removes */
#endif
#ifndef CLEANS
#define CLEANS 0               /* what the cleaner removes */
#endif
#ifndef SWAPS
#define SWAPS 0                /* another directory takes the place of the channel's, once */
#endif
#define NM (NP*SEQ)
#ifdef FORMIX                  /* owner and one publisher are processes of formix-pubsub */
#define NF (NM+1)
#else
#define NF NM
#endif
#define ND 2                   /* directories: an owner that starts again makes another one */

#define NOWHERE 0              /* where a directory is */
#define MAKING 1               /* in tmp, and its owner makes it */
#define BASE 2                 /* in the base: visible */
#define CLAIMED 3              /* in tmp under a fresh name, and its owner removes it */
#define TAKEN 4                /* in tmp under a fresh name, and a reaper removes it */
#define AWAY 5                 /* elsewhere: somebody has moved it there */
byte at[ND];
bool queue[ND], reader[ND];    /* the directory holds `queue`; somebody reads from it */
chan ids[ND] = [ROOM] of { byte };
bool linked[ND*NF];
#define FILE(d, m) linked[(d)*NF + (m)]
byte current;                  /* the directory that has the channel's name */
#if SWAPS > 0
byte foreign;                  /* the directory that took its place: NOWHERE, BASE, or CLAIMED by the owner */
#define SWAPPED(d) (at[d] == AWAY && foreign == BASE)
#endif

bool staged[NM], whole[NM];    /* the staged file exists; its content is whole */
bool busy[NF];                 /* its publisher is between link and write */
byte result[NM];
#define COUNTED 1
#define NOT_COUNTED 2
byte yielded[NF], last[NP];

bool opened;                   /* open() returned, and close() did not begin */
bool lost;                     /* the cleaner removed the channel */
bool moved;                    /* a reaper claimed it, and then found a reader: the exception of REAP-4. */
bool running = 1;              /* the process id in the name runs */
bool lock;
byte kills = KILLS, ended, gone;

inline dies() {
  if :: kills > 0 -> kills--; goto dead          /* is killed */
     :: skip fi }
inline close_queue(d) { reader[d] = 0; do :: ids[d]?_ :: empty(ids[d]) -> break od }
inline remove_files(d) { byte e; for (e : 0 .. NF-1) { FILE(d, e) = 0 } e = 0 }
inline if_empty(d, yes) { byte f; yes = !queue[d]; for (f : 0 .. NF-1) { yes = yes && !FILE(d, f) } f = 0 }

proctype Publisher(byte p) {
  byte n, m, d; bool no_room, before;
  for (n : 0 .. SEQ-1) {
    atomic { m = p*SEQ + n; d = current; before = opened; dies() }
    atomic { if :: at[d] == BASE -> skip         /* 2: finds the channel in the base */
                :: else -> result[m] = NOT_COUNTED; goto ends  /* 2: finds no channel */
             fi; dies() }
stage:
    atomic { staged[m] = 1; whole[m] = 0; dies() }  /* 3: makes tmp/<id> (PUB-6) */
#ifndef LINK_EARLY                              /* PUB-5: a publisher links the file before it is whole */
    atomic { whole[m] = 1; dies() }              /* 3: writes the whole message file (PUB-5) */
#endif
    atomic { if :: at[d] == BASE && queue[d] && reader[d] -> skip  /* 4.1: opens queue (CHAN-9) */
                :: else -> result[m] = NOT_COUNTED;  /* 4.1: nobody reads there; passes over the channel (CHAN-9) */
#ifndef FORMIX
                   assert(at[d] != BASE || !running);  /* visible: CHAN-10 */
#endif
                   goto unstage
             fi; dies() }
#ifdef ID_FIRST                                 /* PUB-8: a publisher writes the id before it links the file */
    atomic { if :: reader[d] && nfull(ids[d]) -> ids[d]!m; result[m] = COUNTED  /* 4.3: writes the id */
                :: else -> no_room = 1; result[m] = NOT_COUNTED; goto unstage fi; dies() }
    atomic { if :: at[d] == BASE && staged[m] -> FILE(d, m) = 1  /* 4.2: links the file */
                :: else -> skip fi; goto unstage };
#endif
#ifdef LOCKED                                   /* GUAR-8: publishers and owner lock the channel, and wait for the lock */
    atomic { !lock -> lock = 1; dies() };        /* takes the lock */
#endif
    if :: atomic { at[d] == BASE -> skip }       /* 4.2: link finds the channel's directory */
       :: atomic { at[d] != BASE -> goto missing }  /* 4.2: link finds no such directory: ENOENT */
    fi;
    atomic { if :: at[d] != NOWHERE && staged[m] -> FILE(d, m) = 1; busy[m] = 1  /* 4.2: link makes the name <id> in it (PUB-7) */
                :: else -> goto missing          /* 4.2: link finds no staged file, or no directory any more: ENOENT */
             fi; dies() }
    atomic { if :: reader[d] && nfull(ids[d]) -> ids[d]!m; result[m] = COUNTED; busy[m] = 0  /* 4.3: writes the id, and counts the channel (PUB-8, PUB-9) */
                :: reader[d] && full(ids[d]) -> no_room = 1  /* 4.3: EAGAIN: the queue is full */
                :: !reader[d] -> skip            /* 4.3: EPIPE: the reader is gone */
             fi; dies() }
#ifdef LINK_EARLY
    atomic { whole[m] = 1 };                     /* writes the message file */
#endif
    if :: result[m] == COUNTED -> goto unstage :: else -> skip fi;
#ifndef NO_WITHDRAW                             /* PUB-10: a publisher leaves the link if the queue does not take the id */
    atomic { if :: at[d] == BASE -> FILE(d, m) = 0  /* 4.3: withdraws the link (PUB-10) */
                :: else -> skip                  /* 4.3: withdraws nothing: the directory is gone (PUB-10) */
             fi; dies() }
#endif
    atomic { result[m] = NOT_COUNTED; busy[m] = 0; goto unstage };
missing:
    atomic {
#ifdef NO_LOOK                                  /* PUB-12: a publisher takes a staged file that was removed for a channel that is gone */
      result[m] = NOT_COUNTED; goto unstage;
#endif
      if :: staged[m] -> result[m] = NOT_COUNTED  /* 4.2: tmp/<id> still exists, so the channel is gone (PUB-12) */
         :: else -> lock = 0; goto stage         /* 4.2: tmp/<id> is gone: stages again (PUB-12) */
      fi; dies() }
unstage:
    atomic {
#ifndef NO_UNSTAGE                              /* PUB-14: a publisher leaves the staged file of a message that no queue took */
      staged[m] = 0;                             /* 5: removes the staged file (PUB-14) */
#else
      if :: result[m] == COUNTED -> staged[m] = 0 :: else -> skip fi;
#endif
      dies() }
ends:
    atomic {                                     /* 6: the publish returns */
      assert(!(before && opened && !no_room && !moved) || result[m] == COUNTED);  /* missed: GUAR-5 */
      assert(!staged[m]);                        /* unstaged: PUB-14 */
      lock = 0; before = 0; no_room = 0; d = 0 }
  }
  atomic { ended++; goto fin };
dead: atomic { busy[m] = 0; before = 0; no_room = 0; d = 0; ended++ }
fin: skip
}

inline fetch() {
#ifdef LOCKED
  !lock;
#endif
  atomic { ids[d]?m;                             /* fetch 1: reads an id (FETCH-1) */
           if :: FILE(d, m) -> got = 1           /* fetch 3 to 5: opens, reads and decodes the file */
              :: else -> skip                    /* fetch 3: the id has no file, and is skipped (FETCH-3) */
           fi; dies() }
  atomic { if :: got -> FILE(d, m) = 0; yielded[m]++;  /* fetch 6, 7: removes the file and yields the message (FETCH-4) */
                 assert(yielded[m] == 1);        /* twice: GUAR-2 */
                 if :: m < NM ->
                         assert(whole[m]);       /* whole: GUAR-3 */
                         assert(last[m/SEQ] <= m%SEQ);  /* order: GUAR-4 */
                         last[m/SEQ] = m%SEQ + 1
                    :: else -> skip fi
              :: else -> skip fi;
           got = 0; m = 0; dies() }
}
inline orphans() {
#ifdef EMPTY_FIRST                              /* FETCH-17: an owner sees the queue empty before it lists the stale files */
  atomic { if :: len(ids[d]) == 0 -> skip        /* orphans 2: sees the queue empty */
              :: else -> goto progress_orphans fi };
#endif
  atomic { select(m : 0 .. NF-1);
           if :: FILE(d, m) && !busy[m] -> skip  /* orphans 1: lists a stale file (FETCH-17) */
              :: else -> m = 0; goto progress_orphans fi; dies() }
#if !defined(EMPTY_FIRST) && !defined(AGE_ALONE)
  atomic { if :: len(ids[d]) == 0 -> skip        /* orphans 2: sees the queue empty (FETCH-17) */
              :: else -> m = 0; goto progress_orphans fi; dies() }
#endif
#ifdef AGE_ALONE                                /* FETCH-17: an owner removes a stale file by its age alone */
#endif
  atomic { FILE(d, m) = 0; m = 0; dies() }       /* orphans 3: removes the file (FETCH-16, FETCH-17) */
}

proctype Owner() { byte d, m; bool got;
#if SWAPS > 0
  bool early;                                    /* another directory was there when the closing began */
#endif
#ifdef FORMIX
  atomic { at[0] = BASE; dies() }                /* makes the channel's directory in the base */
  atomic { if :: at[d] == BASE -> queue[0] = 1   /* makes the FIFO queue */
              :: else -> assert(lost);           /* taken: REAP-6 */
                 goto dead fi; dies() }
  atomic { if :: at[d] == BASE && queue[0] -> reader[0] = 1; opened = 1  /* opens queue for reading */
              :: else ->
#ifndef HOUR
                 assert(lost);                   /* taken: REAP-5 */
#endif
                 goto dead fi; dies() }
#else
again:
#ifdef VISIBLE_FIRST                            /* CHAN-10: an owner makes the directory in the base */
  atomic { at[d] = BASE; current = d; dies() }   /* 2: makes a directory in the base */
  atomic { if :: at[d] == BASE -> queue[d] = 1   /* 3: makes the FIFO queue */
              :: else -> goto restart fi; dies() }
  atomic { if :: at[d] == BASE -> reader[d] = 1  /* 4: opens queue for reading, then for writing */
              :: else -> goto restart fi; dies() }
#else
  atomic { at[d] = MAKING; dies() }              /* 2: makes a directory in tmp */
  atomic { if :: at[d] == MAKING -> queue[d] = 1 /* 3: makes the FIFO queue in it (CHAN-2) */
              :: else -> goto restart            /* 3: ENOENT: the directory was removed */
           fi; dies() }
  atomic { if :: at[d] == MAKING -> reader[d] = 1  /* 4: opens queue for reading, then for writing (CHAN-6, CHAN-7) */
              :: else -> goto restart            /* 4: ENOENT: the directory was removed */
           fi; dies() }
  atomic { if :: at[d] == MAKING -> at[d] = BASE; current = d  /* 5: renames the directory into the base (CHAN-10) */
              :: else -> goto restart            /* 5: ENOENT: the directory was removed (CHAN-11) */
           fi; dies() }
#endif
#ifndef NO_VERIFY                               /* CHAN-12: an owner does not examine queue under the visible path */
  atomic { if :: at[d] == BASE && queue[d] -> opened = 1  /* 6: examines queue under its new path (CHAN-12) */
              :: else -> goto restart            /* 6: ENOENT: the directory was removed (CHAN-12) */
           fi; dies() }
#else
  opened = 1;                                    /* the opening returns */
#endif
#endif
waits:
  do
  :: nempty(ids[d]) -> fetch()
  :: ended < NP -> orphans();
progress_orphans: skip
#ifndef NO_LOOK_AT_PATH                         /* FETCH-14: a waiting owner does not look whether its queue is still there */
  :: atomic { empty(ids[d]) && lost -> goto closing }  /* the wait ends with channel-lost (FETCH-14) */
#endif
  :: ended < NP -> goto closing
  :: atomic { ended == NP && empty(ids[d]) && !lost -> break }
  od;
  atomic {                                       /* all publishers have ended, and the queue is empty */
    for (m : 0 .. NM-1) {
      assert(result[m] != COUNTED || yielded[m] == 1);  /* counted: GUAR-1, GUAR-2 */
      assert(result[m] != NOT_COUNTED || yielded[m] == 0);  /* counted: GUAR-1 */
      assert(result[m] != NOT_COUNTED || moved || !FILE(d, m)) }  /* left: PUB-10 */
    m = 0 };
closing:
  opened = 0;                                    /* close is called */
#ifdef REMOVE_VISIBLE                           /* CHAN-16: an owner removes what is in its directory before it renames it */
  atomic { if :: at[d] == BASE -> queue[d] = 0; remove_files(d) :: else -> skip fi };  /* closing 3: removes everything in the directory */
#endif
#if SWAPS > 0
  atomic { early = SWAPPED(d);
#ifndef TAKES_ANY                               /* CHAN-20: an owner claims whatever is under its channel's path */
           if :: early -> goto closes            /* closing 1.1: another directory is there: nothing to remove (CHAN-20) */
              :: else -> skip                    /* closing 1.1: the directory is its own, or gone */
           fi;
#endif
           dies() }
  atomic { if :: SWAPPED(d) -> foreign = CLAIMED;  /* closing 1.2: renames another directory to a fresh name in tmp */
                 assert(!early)                  /* spared: CHAN-20 */
              :: at[d] == BASE -> at[d] = CLAIMED  /* closing 1: renames the directory to a fresh name in tmp (CHAN-16) */
              :: else -> skip                    /* closing 1.2: the directory is gone: nothing to remove */
           fi; dies() }
#ifndef KEEPS_FOREIGN                           /* CHAN-22: an owner keeps the directory that it has claimed, although it is not its own */
  atomic { if :: foreign == CLAIMED -> foreign = BASE  /* closing 1.3: renames another directory back (CHAN-22) */
              :: else -> skip                    /* closing 1.3: the renamed directory is its own */
           fi; dies() }
#endif
closes:
#else
  atomic { if :: at[d] == BASE -> at[d] = CLAIMED  /* closing 1: renames the directory to a fresh name in tmp (CHAN-16) */
              :: else -> skip                    /* closing 1: the directory is gone: nothing to remove */
           fi; dies() }
#endif
  atomic { close_queue(d); dies() }              /* closing 2: closes the descriptors of the queue */
empties:
  atomic { if :: at[d] == CLAIMED -> queue[d] = 0 :: else -> goto closed fi; dies() }  /* closing 3: removes queue (CHAN-14) */
  atomic { if :: at[d] == CLAIMED -> remove_files(d) :: else -> goto closed fi; dies() }  /* closing 3: removes the files (CHAN-14) */
  atomic { if_empty(d, got);
           if :: at[d] == CLAIMED && got -> got = 0; at[d] = NOWHERE  /* closing 4: removes the directory (CHAN-14) */
#ifndef ONE_PASS                                /* CHAN-17: a removal ends at the first late link */
              :: at[d] == CLAIMED && !got -> goto empties  /* closing 4: ENOTEMPTY: a late link; goes to step 3 (CHAN-17) */
#endif
              :: else -> got = 0 fi; dies() }
closed:
  assert(at[d] != CLAIMED);                      /* gone: CHAN-14 */
#if SWAPS > 0
  assert(foreign != CLAIMED);                    /* put back: CHAN-22 */
#endif
  goto dead;
#ifndef FORMIX
restart:
  atomic { close_queue(d); if :: at[d] == MAKING -> at[d] = NOWHERE; queue[d] = 0 :: else -> skip fi;  /* closes all descriptors, and removes what is left */
#ifdef NO_RETRY                                 /* CHAN-11: an owner whose directory was removed fails */
    assert(d > 0);                               /* opens: CHAN-11 */
#endif
    if :: d+1 < ND -> d++; goto again            /* starts again at 1 (CHAN-11) */
       :: else -> skip                           /* starts again too often: io-error */
    fi };
#endif
dead: atomic { opened = 0; close_queue(d); running = 0; got = 0; m = 0; gone++ }  /* the owner ends */
}

/* Whether a reaper may claim a channel without a reader. The first two break the rule. */
#if defined(WITHOUT_GRACE)                      /* REAP-5: a reaper removes a channel without a reader though its process runs */
#define DEAD(d) 1
#elif defined(BY_AGE)                           /* REAP-6: a reaper removes a stale directory without a queue though its process runs */
#define DEAD(d) (!running || !queue[d])
#elif defined(HOUR)                             /* an owner that is stopped for an hour before it opens the queue */
#define DEAD(d) (!running || queue[d])
#else
#define DEAD(d) (!running)
#endif
proctype Reaper() { byte i, d, back; bool bare;
  for (i : 1 .. REAPS) {
    d = 0;
    if :: d = 1 :: skip fi;
    if
    :: atomic { at[d] == BASE && !reader[d] && DEAD(d) -> back = BASE }  /* reap 1: probes: the channel has no reader, and is dead (REAP-3, REAP-5, REAP-6) */
#ifdef BY_PID                                   /* REAP-4: a reaper trusts an age and asks nobody who reads */
    :: atomic { at[d] == BASE -> back = BASE };  /* reap 1: looks at the age alone */
#endif
    :: atomic { (at[d] == MAKING || at[d] == CLAIMED || at[d] == TAKEN) && !reader[d] -> back = at[d] }  /* reap 1: probes: a stale directory in tmp has no reader (REAP-9, REAP-10) */
    :: atomic { bare = 1; select(d : 0 .. NM-1); staged[d] = 0; d = 0 }  /* reap: removes a stale staged file (REAP-7) */
#ifdef FOREIGN_ORPHANS                          /* FETCH-18: a reaper removes stale messages from a living channel */
    :: atomic { bare = 1; select(back : 0 .. NM-1); if :: at[d] == BASE && !busy[back] -> FILE(d, back) = 0 :: else -> skip fi; back = 0 }  /* reap: removes a stale message file from the channel */
#endif
    :: bare = 1
    fi;
    atomic { if :: bare -> bare = 0; goto next :: else -> skip fi; dies() }
#ifdef IN_PLACE                                 /* REAP-12: a reaper removes what is in a directory of tmp without claiming it */
    atomic { if :: at[d] == back -> queue[d] = 0 :: else -> skip fi; dies() }  /* reap 4: removes queue where it is */
    atomic { if :: at[d] == back && !queue[d] -> at[d] = NOWHERE :: else -> skip fi; goto next };  /* reap 4: removes the directory where it is */
#endif
    atomic {
#ifndef FORMIX
             assert(back != BASE || at[d] != BASE || !reader[d]);  /* living: REAP-4 */
#endif
             if :: at[d] == back -> at[d] = TAKEN; moved = moved || reader[d]  /* reap 2: claims: renames the directory to a fresh name in tmp (REAP-12) */
                :: else -> goto next             /* reap 2: ENOENT: another process was faster (REAP-14) */
             fi; dies() }
#ifndef NO_REPROBE                              /* REAP-13: a reaper does not probe the claimed queue again */
    atomic { if :: at[d] == TAKEN && reader[d] ->
                   at[d] = back                  /* reap 3: the queue has a reader: renames the directory back (REAP-13) */
                   ; goto next
                :: else -> skip                  /* reap 3: probes again: the queue has no reader (REAP-13) */
             fi; dies() }
#endif
empties:
    atomic { if :: at[d] == TAKEN ->
                   assert(!reader[d]);           /* living: REAP-4 */
                   queue[d] = 0                  /* reap 4: removes queue */
                :: else -> goto next fi; dies() }
    atomic { if :: at[d] == TAKEN -> remove_files(d) :: else -> goto next fi; dies() }  /* reap 4: removes the files */
    atomic { if_empty(d, bare);
             if :: at[d] == TAKEN && bare -> at[d] = NOWHERE  /* reap 4: removes the directory (REAP-3) */
                :: at[d] == TAKEN && !bare -> goto empties  /* reap 4: ENOTEMPTY: a late link; goes to step 3 of closing (CHAN-17) */
                :: else -> skip fi; dies() }
next:
    atomic { bare = 0; back = 0; d = 0 }
  }
dead: atomic { bare = 0; back = 0; d = 0; gone++ }
}

#if CLEANS > 0
inline remove_directory(x) {
  if :: at[x] == BASE -> lost = 1; opened = 0 :: else -> skip fi;
  if :: at[x] != NOWHERE -> queue[x] = 0; remove_files(x); at[x] = NOWHERE :: else -> skip fi }
proctype Cleaner() { byte i, s, d;
  for (i : 1 .. CLEANS) {
    atomic {
      if
      :: for (s : 0 .. NM-1) { staged[s] = 0 }    /* removes everything in tmp */
         for (d : 0 .. ND-1) { if :: at[d] != BASE -> remove_directory(d) :: else -> skip fi }
      :: for (s : 0 .. NM-1) { staged[s] = 0 }    /* removes the base */
         for (d : 0 .. ND-1) { remove_directory(d) }
      :: if :: at[current] == BASE -> remove_directory(current) :: else -> skip fi  /* removes the channel's directory */
      fi;
      d = 0; s = 0 }
  }
}
#endif

#if SWAPS > 0
proctype Stranger() {
  atomic { if :: at[current] == BASE -> at[current] = AWAY; foreign = BASE; lost = 1; opened = 0  /* moves the channel's directory away, and puts another there */
              :: else -> skip fi } }
#endif

#ifdef FORMIX
proctype Formix() { byte d;                      /* a publisher of formix-pubsub: judges by the pid */
  atomic { d = current; if :: at[d] == BASE && running -> FILE(d, NM) = 1; busy[NM] = 1  /* links its file, since the pid runs */
                           :: else -> goto fin fi };
  atomic { if :: reader[d] && len(ids[d]) < ROOM -> ids[d]!NM  /* writes the id */
              :: else -> skip                    /* leaves the file: the queue is full, or has no reader */
           fi; busy[NM] = 0 };
fin: skip
}
#endif

/* When all have ended, a reaper finds nothing that it must not remove: all that is left is dead. */
proctype End() { byte d;
  atomic { (ended == NP && gone == 2) ->
    for (d : 0 .. ND-1) { assert(!reader[d]) } }  /* dead: REAP-3 */
}

init { atomic { byte p;
  for (p : 0 .. NP-1) { run Publisher(p) }
  run Owner(); run Reaper(); run End();
#ifdef FORMIX
  run Formix();
#endif
#if CLEANS > 0
  run Cleaner();
#endif
#if SWAPS > 0
  run Stranger();
#endif
} }
