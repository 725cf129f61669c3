/* A publish to several channels: publish.md, and the lane of inline.md beside files.
 *
 * Publishers, the owners of two channels, and a cleaner that follows no rule. A fetch is one step here,
 * and so is the removal of a directory: files.pml takes them apart. README.md says how to read this. */
#ifndef NP
#define NP 1                   /* publishers */
#endif
#ifndef SEQ
#define SEQ 1                  /* messages of each */
#endif
#define NM (NP*SEQ)
#define NC 2
#ifndef MARKS
#define MARKS 1                /* the marked channels: a bit for each */
#endif
#define MARKED(c) ((MARKS >> (c)) & 1)
#ifndef ROOM
#define ROOM 2                 /* what a queue takes: an id takes 1, a record 2 */
#endif
#define RECORD 2
#ifndef FILL
#define FILL 0                 /* ids without a file that may be in the queues at first */
#endif
#ifndef CLEANS
#define CLEANS 0               /* what the cleaner removes */
#endif
#ifndef FAILS
#define FAILS 0                /* steps of publishers that fail: ENOSPC, EACCES, EIO */
#endif
#ifndef KILLS
#define KILLS 0                /* publishers that are killed */
#endif
#ifndef CLOSES
#define CLOSES 0               /* channels that are closed: 0 and up */
#endif
#ifndef TRIES
#define TRIES 0                /* how often a publish waits for room */
#endif
#ifdef SAME_ID                 /* the first id of each publisher is the same one */
#define FIRST(m) 0
#else
#define FIRST(m) (m)
#endif
#define FRESH(m) (NM + (m))
#define NI (2*NM)              /* ids: the first and a fresh one of each message */

mtype = { AN_ID, A_RECORD };
chan q[NC] = [ROOM] of { mtype, byte, byte };   /* what, its id, and of a record the message */
byte used[NC];
bool there[NC], reader[NC], child[NC];  /* the directory is in the base; owner or child read the queue */
bool opened[NC];
byte file[NC*NI];              /* message files in the channels: message + 1 */
#define FILE(c, i) file[(c)*NI + (i)]
bool busy[NM];                 /* its publisher is between link and write */
bool base = 1, tmp = 1;
byte staged[NI];               /* files in tmp: message + 1 */
byte fails = FAILS, kills = KILLS, ended;

byte result[NC*NM];
#define RESULT(c, m) result[(c)*NM + (m)]
#define TAKEN 1
#define FULL 2
#define GONE 3
#define FAILED 4
byte yielded[NC*NM];
byte last[NC*NP];

#if KILLS > 0
#define DIES if :: atomic { kills > 0 -> kills--; goto dead } :: skip fi;
#else
#define DIES
#endif

/* 3: stages the message. fine says whether it could; again, that tmp was gone. */
inline stage() {
  fine = 0;
  atomic { if :: !base || !tmp -> again = 1      /* 3: ENOENT: tmp or the base is gone */
              :: base && tmp && fails > 0 -> fails--; unstaged = 1  /* 3: fails: ENOSPC */
              :: base && tmp ->
#ifdef NO_EXCL                                  /* PUB-6: a publisher stages over an existing file */
                 if :: staged[id] -> for (x : 0 .. NC-1) { if :: FILE(x, id) == staged[id] -> FILE(x, id) = m+1 :: else -> skip fi } x = 0  /* 3: writes into the file tmp/<id> that exists */
                    :: else -> skip fi;
                 staged[id] = m+1; fine = 1
#else
                 if :: staged[id] -> id = FRESH(m); staged[id] = m+1; fine = 1  /* 3: EEXIST: stages under a fresh id (PUB-3) */
                    :: else -> staged[id] = m+1; fine = 1  /* 3: stages the message (PUB-6) */
                 fi
#endif
           fi } }
inline unstage() { if :: staged[id] == m+1 -> staged[id] = 0 :: else -> skip fi }

/* Tries a record in channel c: written, or not. */
inline record(c) {
  atomic { refused = 0;
           if :: !reader[c] && !child[c] -> RESULT(c, m) = GONE  /* lane 2: EPIPE: the reader is gone */
              :: (reader[c] || child[c]) && used[c]+RECORD <= ROOM ->
                 q[c]!A_RECORD,id,m; used[c] = used[c]+RECORD; RESULT(c, m) = TAKEN;  /* lane 2: writes the record, and counts the channel (INLINE-7) */
                 assert(!closed)                 /* late: GUAR-1 */
              :: else -> refused = 1             /* lane 2: EAGAIN: the record does not fit */
           fi } }

proctype Publisher(byte p) {
  byte n, m, id, c, x, tries; bool before[NC], listed[NC], fine, again, unstaged, closed, refused, retry;
  for (n : 0 .. SEQ-1) {
    atomic { m = p*SEQ + n; id = FIRST(m); tries = TRIES; unstaged = 0; retry = 0; refused = 0;
             for (c : 0 .. NC-1) { before[c] = opened[c] } c = 0 }
lists:
    atomic { if :: !base -> base = 1; tmp = 1    /* 2: makes the base (BASE-13) */
                :: else -> skip                  /* 2: examines the base, and lists its channels */
             fi;
             for (c : 0 .. NC-1) { listed[c] = there[c] } c = 0 };
    if :: listed[0] || listed[1] -> skip :: else -> goto ends fi;
    DIES                                         /* is killed */

    /* A channel that is not marked needs the file, so most stage now. The lane permits to stage later. */
    if :: !staged[id] && !unstaged && (MARKS != 3 && (listed[0] || listed[1])) ->
          stage();
          if :: again -> again = 0; atomic { if :: base -> tmp = 1  /* 3: makes tmp, and goes to 2 (BASE-11) */
                                                :: else -> skip fi }; goto lists
             :: unstaged ->
#ifdef STAGE_FIRST                              /* INLINE-14: a publish that cannot stage the message gives up all channels */
                goto ends
#else
                skip
#endif
             :: else -> skip fi
       :: skip fi;

channels:
    for (c : 0 .. NC-1) {
      if :: !listed[c] || (retry && RESULT(c, m) != FULL) -> goto next
         :: else -> skip fi;
      atomic { closed = !there[c];
#ifdef KEPT_BLIND                               /* INLINE-18: a publish that waits writes to the descriptor that it has */
               if :: retry && MARKED(c) -> goto lane :: else -> skip fi;
#endif
               if :: there[c] && reader[c] -> skip  /* 4.1: opens queue, and looks for the marker (CHAN-9, INLINE-5) */
                  :: else -> RESULT(c, m) = GONE; goto next  /* 4.1: nobody reads there: passes over the channel (CHAN-9) */
               fi };
lane:
      if :: MARKED(c) && (used[c] < ROOM/2) -> record(c);  /* lane 1: less than half of the queue is full (INLINE-12, INLINE-13) */
            if :: RESULT(c, m) == TAKEN || RESULT(c, m) == GONE -> goto next :: else -> skip fi
         :: else -> skip                         /* goes on by file (INLINE-13, INLINE-16) */
      fi;
by_file:
      if :: !fine && !unstaged -> stage();
            if :: again -> again = 0;
#ifdef START_OVER                               /* INLINE-17: a publish that cannot stage the message lists the base again, and tries all channels */
                  atomic { if :: base -> tmp = 1 :: else -> skip fi; RESULT(0, m) = 0; RESULT(1, m) = 0 }; goto lists
#else
                  atomic { if :: base -> tmp = 1; goto by_file  /* makes tmp, and stages again (INLINE-17) */
                              :: else -> RESULT(c, m) = GONE; goto next  /* the base is gone, and its channels with it */
                           fi }
#endif
               :: else -> skip fi
         :: else -> skip fi;
      if :: unstaged && !fine ->
            if :: MARKED(c) ->
#ifndef NO_LAST_TRY                             /* INLINE-15: a message that cannot be staged is not tried as a record if the queue is half full */
                  record(c);               /* cannot stage: tries the record, however full the queue is (INLINE-15) */
#endif
                  atomic { if :: RESULT(c, m) == TAKEN || RESULT(c, m) == GONE -> skip
                              :: else -> RESULT(c, m) = FAILED;  /* gives up the channel: io-error */
                                 assert(refused)           /* given up: INLINE-15 */
                           fi }
               :: else -> RESULT(c, m) = FAILED  /* gives up the channel, which needs the file: io-error (INLINE-14) */
            fi; goto next
         :: else -> skip fi;
link:
      DIES                                       /* is killed */
      atomic { if :: !base || !there[c] || staged[id] != m+1 ->  /* 4.2: link says ENOENT */
                     if :: staged[id] == m+1 -> RESULT(c, m) = GONE; goto next  /* 4.2: tmp/<id> still exists: the channel is gone (PUB-12) */
                        :: else -> fine = 0      /* 4.2: tmp/<id> is gone: stages again (PUB-12) */
                     fi
                  :: base && there[c] && staged[id] == m+1 && fails > 0 -> fails--; RESULT(c, m) = FAILED;  /* 4.2: link fails: EACCES; keeps the error (PUB-13) */
#ifdef STOP_AT_ERROR                            /* PUB-13: a publish ends with the first error of a channel */
                     goto unstages
#else
                     goto next
#endif
                  :: base && there[c] && staged[id] == m+1 && !FILE(c, id) -> FILE(c, id) = m+1; busy[m] = 1  /* 4.2: links the file into the channel (PUB-7) */
                  :: base && there[c] && staged[id] == m+1 && FILE(c, id) ->
#if defined(RENAMES)                            /* PUB-7: a publisher gives the file its name by rename */
                     FILE(c, id) = m+1; busy[m] = 1  /* 4.2: renames the file over one of that name */
#elif defined(NO_EXIST)                         /* PUB-3: a publisher relies on ids being unique */
                     busy[m] = 1                 /* 4.2: EEXIST: takes the file for its own */
#else
                     if :: FILE(c, id) == m+1 -> busy[m] = 1
                        :: else -> unstage(); id = FRESH(m); fine = 0  /* 4.2: EEXIST: another file has this id; stages a copy under a fresh id (PUB-3) */
                     fi
#endif
               fi };
      if :: !fine -> goto by_file :: else -> skip fi;
      DIES                                       /* is killed */
      atomic { if :: reader[c] && used[c] < ROOM -> q[c]!AN_ID,id,0; used[c]++; RESULT(c, m) = TAKEN; busy[m] = 0; goto next  /* 4.3: writes the id, and counts the channel (PUB-8) */
                  :: reader[c] && used[c] == ROOM -> RESULT(c, m) = FULL  /* 4.3: EAGAIN: the queue is full */
                  :: else -> RESULT(c, m) = GONE /* 4.3: EPIPE: the reader is gone */
               fi };
#ifdef WAIT_LINKED                              /* PUB-18: a publish leaves the link in the channel while it waits */
      if :: RESULT(c, m) == FULL -> busy[m] = 0; goto next :: else -> skip fi;
#endif
      DIES                                       /* is killed */
      atomic { if :: there[c] && FILE(c, id) == m+1 -> FILE(c, id) = 0  /* 4.3: withdraws the link (PUB-10) */
                  :: else -> skip fi; busy[m] = 0 };
next: 
#ifdef WAIT_AT_FULL                             /* PUB-20: a publish waits for the first channel that is full before it tries the rest */
      if :: RESULT(c, m) == FULL && tries > 0 -> goto waits :: else -> skip fi;
#endif
      DIES                                       /* is killed */
      skip
    }
waits:
    atomic { c = 0;
             if :: tries > 0 && (RESULT(0, m) == FULL || RESULT(1, m) == FULL) -> tries--; retry = 1;  /* waits for room (PUB-19) */
                   for (c : 0 .. NC-1) { assert(!listed[c] || RESULT(c, m)) } c = 0;  /* served: PUB-20 */
#ifndef WAIT_LINKED
                   for (x : 0 .. NI-1) { assert(FILE(0, x) != m+1 || RESULT(0, m) != FULL); assert(FILE(1, x) != m+1 || RESULT(1, m) != FULL) } x = 0;  /* linked: PUB-18 */
#endif
                   goto channels
                :: tries == 0 || !(RESULT(0, m) == FULL || RESULT(1, m) == FULL) -> skip  /* no queue is full, or the time is over */
             fi };
#ifdef WAIT_LINKED
    for (c : 0 .. NC-1) { if :: RESULT(c, m) == FULL && FILE(c, id) == m+1 -> FILE(c, id) = 0 :: else -> skip fi } c = 0;
#endif
unstages:
    atomic { unstage() };                        /* 5: removes the staged file (PUB-14) */
ends:
    atomic {                                     /* 6: the publish returns */
      for (c : 0 .. NC-1) {
        assert(!(before[c] && opened[c]) || RESULT(c, m) == TAKEN || RESULT(c, m) == FULL || RESULT(c, m) == FAILED);  /* missed: GUAR-5, GUAR-7 */
        before[c] = 0; listed[c] = 0 }
      c = 0; id = 0; fine = 0; unstaged = 0; retry = 0; tries = 0; closed = 0; refused = 0 }
  }
#if KILLS > 0
  goto fin;
dead: atomic { busy[m] = 0; for (c : 0 .. NC-1) { before[c] = 0; listed[c] = 0 } c = 0; id = 0; fine = 0; unstaged = 0; retry = 0; tries = 0; closed = 0; refused = 0 }
fin: skip;
#endif
  ended++
}

#define LOST(c) (!there[c])
inline drop(c) { do :: q[c]?_,_,_ :: empty(q[c]) -> break od; used[c] = 0 }
proctype Owner(byte c) { mtype k; byte i, m; bool open = 1;
  do
  :: atomic { nempty(q[c]) && open -> q[c]?k,i,m;
       if :: k == A_RECORD -> used[c] = used[c]-RECORD; m = m+1  /* fetch: yields the message of a record */
#ifdef TAKES_FILE                               /* INLINE-11: a fetch of a record removes the file that has its id */
             ; FILE(c, i) = 0
#endif
          :: k == AN_ID -> used[c]--; if :: i < NI -> m = FILE(c, i); FILE(c, i) = 0  /* fetch: reads an id, and yields the message if it has a file */
                                         :: else -> m = 0  /* fetch: skips an id without a file (FETCH-3) */
                                      fi;
               assert(m || i == NI || !there[c]) /* lost: GUAR-2 */
       fi;
       if :: m -> m = m-1; yielded[c*NM + m]++;
             assert(yielded[c*NM + m] == 1);     /* twice: GUAR-2 */
             assert(last[c*NP + m/SEQ] <= m%SEQ);  /* order: GUAR-4 */
             last[c*NP + m/SEQ] = m%SEQ + 1
          :: else -> skip fi;
       i = 0; m = 0; k = 0 }
  :: atomic { ended < NP && open -> select(i : 0 .. NI-1);
       if :: there[c] && FILE(c, i) && !busy[FILE(c, i)-1] -> skip  /* orphans 1: lists a stale file */
          :: else -> i = 0; goto progress_orphans fi };
     atomic { if :: there[c] && FILE(c, i) && len(q[c]) == 0 -> FILE(c, i) = 0  /* orphans 2, 3: sees the queue empty, and removes the file (FETCH-17) */
                 :: else -> skip fi; i = 0 };
progress_orphans: skip
#if CLOSES > 0
  :: atomic { open && c < CLOSES && ended < NP && there[c] -> opened[c] = 0; there[c] = 0; for (i : 0 .. NI-1) { FILE(c, i) = 0 } i = 0 };  /* closing 1, 3, 4: takes the directory from the base */
     atomic { reader[c] = 0; open = 0; if :: child[c] -> skip  /* closing 2: closes its descriptors; a child still has the read end */
                                  :: drop(c)     /* closing 2: closes its descriptors */
                               fi };
#endif
  :: atomic { open && LOST(c) && empty(q[c]) -> reader[c] = 0; open = 0; opened[c] = 0; break }  /* the wait ends with channel-lost (FETCH-14) */
  :: atomic { ended == NP && (empty(q[c]) || !open) -> break }
  od;
  atomic { (ended == NP) ->
    for (m : 0 .. NM-1) {
      assert(!open || !there[c] || RESULT(c, m) != TAKEN || yielded[c*NM + m] == 1);  /* counted: GUAR-1, GUAR-2 */
      assert(RESULT(c, m) == TAKEN || yielded[c*NM + m] == 0) } m = 0 }  /* counted: GUAR-1 */
}

#if CLEANS > 0
proctype Cleaner() { byte i, x;
  for (i : 1 .. CLEANS) {
    atomic {
      if :: tmp = 0; for (x : 0 .. NI-1) { staged[x] = 0 }  /* removes tmp */
         :: for (x : 0 .. NI-1) { staged[x] = 0 } /* removes what is in tmp */
         :: base = 0; tmp = 0; there[0] = 0; there[1] = 0; opened[0] = 0; opened[1] = 0;  /* removes the base */
            for (x : 0 .. NI-1) { staged[x] = 0; FILE(0, x) = 0; FILE(1, x) = 0 }
         :: there[0] = 0; opened[0] = 0; for (x : 0 .. NI-1) { FILE(0, x) = 0 }  /* removes the directory of the first channel */
      fi; x = 0 } } }
#endif

init { atomic { byte c, f;
  for (c : 0 .. NC-1) {
    there[c] = 1; reader[c] = 1; opened[c] = 1;
#ifdef FORKED
    child[c] = 1;
#endif
    f = 0;
    do :: f < FILL -> q[c]!AN_ID,NI,0; used[c]++; f++ :: break od }
  f = 0;
  for (c : 0 .. NP-1) { run Publisher(c) }
  for (c : 0 .. NC-1) { run Owner(c) }
#if CLEANS > 0
  run Cleaner();
#endif
} }
