/* Records and ids in one queue: inline.md, and the list of channels that a publisher keeps (PUB-21).
 *
 * One marked channel. What a reader takes in one read is its batch, and what it has not used yet is in
 * hand. Staging, tmp and reaping are in files.pml, several channels in channels.pml. README.md says how
 * to read this. Two configurations keep the number of states small:
 *
 *   LIFE  The channel opens and closes. A clock ticks, which stamps the base. A forked child may hold
 *         the read end after the channel was closed. The publishers are threads that share list and
 *         descriptors; with SEPARATE they are processes, each with its own. One thread reads. With
 *         LATE_OPEN the channel is visible before it can receive, as those of formix-pubsub. With
 *         MORTAL the owner may be killed, and a reaper removes its channel.
 *   HAND  The channel is open all the time. One thread reads until the end; another takes one message
 *         and is busy for ever after. Publishers are killed, a reader is interrupted once, orphans are
 *         removed. With SPLIT a record comes in two pieces, as the sockets of some systems pass it on. */
#ifndef NP
#define NP 2                   /* publishers */
#endif
#ifndef SEQ
#define SEQ 2                  /* messages of each */
#endif
#define NM (NP*SEQ)
#ifndef ROOM
#define ROOM 4                 /* what the queue takes: an id takes 1, a record 2 */
#endif
#define RECORD 2
#define HALF 2
#ifndef KILLS
#define KILLS 1                /* processes that are killed */
#endif
#ifndef TICKS
#define TICKS 3
#endif

#define BASE 1                 /* the channel is visible */
#define GONE 2
#define COUNTED 1
#define NOT_COUNTED 2
mtype = { AN_ID, A_RECORD, ITS_END, WAKE_UP };  /* ITS_END: the second piece of a record */
chan q = [ROOM] of { mtype, byte };
chan hand = [ROOM+1] of { mtype, byte };
byte used;                     /* how much of the queue is full */
#ifdef TWO_QUEUES
chan q2 = [ROOM] of { mtype, byte };
#define QUEUED (len(q) + len(q2))
#else
#define QUEUED len(q)
#endif
byte at, readers;              /* where the directory is; how many processes hold the read end */
byte clock = 1, stamp = 1;     /* the clock of the file system; the st_mtime of the base */
#ifdef MORTAL
bool killed;                   /* the owner is dead */
#else
#define killed 0
#endif
#define OVER (closed || killed)
bool opened, closed, locked, writing, interrupts = 1;
byte waiting, ended, read, kills = KILLS;
bool file[NM], busy[NM];       /* the message file is in the channel; its publisher is between link and write */
byte result[NM], yielded[NM], last[NP];
byte key[NP]; bool list[NP], dead_[NP];         /* the kept list: the base's stamp, whether it has the channel */
#define ND (NM+2)
byte kept[NP], descriptors; bool is_open[ND]; byte users[ND];

inline dies() {
  if :: kills > 0 -> kills--; goto dead          /* is killed */
     :: skip fi }
inline release(x) { users[x]--; if :: users[x] == 0 -> is_open[x] = 0 :: else -> skip fi }
inline drop_kept(o) {
  if :: kept[o] ->
#ifdef NO_USERS                                 /* INLINE-21: a thread closes a kept descriptor that another is about to write to */
     is_open[kept[o]] = 0;
#endif
     release(kept[o]); kept[o] = 0
     :: else -> skip fi }

proctype Publisher(byte p) {
  byte n, m, seen, f, d, o; bool before, late, listed, no_room, by_file, keep;
#if defined(LIFE) && !defined(SEPARATE)
  o = 0;                                         /* threads share a list */
#else
  o = p;
#endif
  for (n : 0 .. SEQ-1) {
    m = p*SEQ+n; by_file = 0; no_room = 0; d = 0;
    atomic { before = opened; late = closed }
#ifdef LIFE
    atomic {
#ifdef NO_LOOK_AT_BASE                          /* PUB-21: a publisher uses its list without a look at the base */
      if :: key[o] -> listed = list[o]; goto send  /* 2: uses the list that it keeps */
#else
      if :: key[o] && key[o] == stamp -> listed = list[o]; goto send  /* 2: examines the base, which has not changed: uses the list that it keeps (PUB-21) */
#endif
         :: else -> skip fi }
    atomic { f = clock }                         /* 3: stages a file before it lists, and notes its time f (PUB-21) */
    atomic { seen = stamp }                      /* 2: examines the base, and notes its time m (PUB-21) */
    atomic { listed = (at == BASE) }             /* 2: lists the base */
    atomic {
#ifdef RACY                                     /* PUB-21: a publisher keeps its list although the clock has not moved on */
      keep = (seen == stamp);
#else
      keep = (seen == stamp && f > seen);
#endif
      if :: keep -> key[o] = seen; list[o] = listed  /* 2: examines the base again, and keeps the list (PUB-21) */
         :: else -> key[o] = 0                   /* 2: examines the base again, and does not keep the list (PUB-21) */
      fi;
      dead_[o] = 0;
#ifdef KEEPS_OLD                                /* INLINE-21: a publisher goes on with the descriptors of an old list */
      listed = (listed || kept[o]) }
#else
      drop_kept(o) }                             /* and drops the descriptors that it kept with the old one (INLINE-21) */
#endif
#else
    listed = 1;
#endif
send:
    atomic { if :: !listed -> result[m] = NOT_COUNTED; goto ends  /* the channel is not in the list */
                :: else -> skip fi;
#ifdef KEEP_LIVENESS                            /* PUB-22: a publisher does not try a channel again that had no reader */
      if :: dead_[o] -> result[m] = NOT_COUNTED; goto ends  /* passes over a channel that had no reader */
         :: else -> skip fi;
#endif
      if :: kept[o] -> d = kept[o]; users[d]++   /* 4.1: uses the descriptor that it keeps (INLINE-21) */
         :: else ->
            if :: at == BASE && readers -> descriptors++; d = descriptors; is_open[d] = 1; users[d] = 2; kept[o] = d  /* 4.1: opens queue, and keeps the descriptor (PUB-22) */
               :: else -> dead_[o] = 1; result[m] = NOT_COUNTED; d = 0; goto ends  /* 4.1: nobody reads there: passes over the channel (CHAN-9) */
            fi
      fi }
    atomic { by_file = !(used < HALF) }          /* lane 1: looks at the room (INLINE-12, INLINE-13) */
    if :: !by_file ->
#ifdef SPLIT
      atomic { !writing -> if :: readers && used+RECORD <= ROOM -> writing = 1; q!A_RECORD,m; used = used+1  /* lane 2: the queue takes the first piece of a record */
                              :: else -> by_file = 1 fi }
      if :: !by_file -> atomic { q!ITS_END,m; used++; writing = 0; result[m] = COUNTED; goto ends }  /* lane 2: the queue takes its second piece */
         :: else -> skip fi
#else
      atomic {
        assert(is_open[d]);                      /* closed: INLINE-21 */
        if :: !readers -> result[m] = NOT_COUNTED; if :: kept[o] == d -> drop_kept(o) :: else -> skip fi; goto ends  /* lane 2: EPIPE: the reader is gone */
           :: readers && used+RECORD <= ROOM -> q!A_RECORD,m; used = used+RECORD; result[m] = COUNTED; goto ends  /* lane 2: writes the record, and counts the channel (INLINE-7) */
           :: else -> by_file = 1                /* lane 2: EAGAIN: goes on by file (INLINE-16) */
        fi }
#ifdef NO_FALLBACK                              /* INLINE-16: a publisher calls a queue full that has no room for a record */
      atomic { if :: by_file && !result[m] ->
                     assert(used+1 > ROOM);      /* full: INLINE-16 */
                     no_room = 1; result[m] = NOT_COUNTED; goto ends
                  :: else -> skip fi }
#endif
#endif
    :: else -> skip fi;
    atomic { if :: at == BASE -> file[m] = 1; busy[m] = 1  /* 4.2: links the file into the channel (PUB-7) */
                :: else -> result[m] = NOT_COUNTED; goto ends  /* 4.2: ENOENT: the channel is gone */
             fi; dies() }
    atomic { !writing ->
      assert(is_open[d]);                        /* closed: INLINE-21 */
      if :: !readers -> skip                     /* 4.3: EPIPE: the reader is gone */
         :: readers && used+1 <= ROOM ->
#ifdef TWO_QUEUES                               /* GUAR-4: ids and records travel in two queues */
            q2!AN_ID,m;
#else
            q!AN_ID,m;
#endif
            used++; result[m] = COUNTED; busy[m] = 0; dies(); goto ends  /* 4.3: writes the id, and counts the channel (PUB-8) */
         :: else -> no_room = 1                  /* 4.3: EAGAIN: the queue is full */
      fi; dies() }
    atomic { result[m] = NOT_COUNTED; busy[m] = 0; if :: at == BASE -> file[m] = 0  /* 4.3: withdraws the link (PUB-10) */
                                                      :: else -> skip fi; dies() }
ends:
    atomic { if :: d -> release(d) :: else -> skip fi; d = 0;
      assert(!(before && opened && !no_room) || result[m] == COUNTED);  /* missed: GUAR-5 */
      assert(!late || result[m] != COUNTED);     /* late: GUAR-1 */
      before = 0; late = 0; listed = 0; keep = 0; seen = 0; f = 0 }
  }
  goto fin;
dead: atomic { for (n : 0 .. NM-1) { if :: n/SEQ == p -> busy[n] = 0 :: else -> skip fi } }
fin: atomic { if :: d -> release(d) :: else -> skip fi; ended++ }
}

#define ALL_ENDED (ended == NP && QUEUED == 0 && len(hand) == 0)
bool cut;                      /* what is in hand is the first piece of a record */
#define IN_HAND (len(hand) > 0 && !cut)
inline yield(m) {
  yielded[m]++;
  assert(yielded[m] == 1);                       /* twice: GUAR-2 */
  assert(last[m/SEQ] <= m%SEQ);                  /* order: GUAR-4 */
  last[m/SEQ] = m%SEQ + 1; got = 1 }
inline read_all() {
  do :: q?k,m -> hand!k,m :: empty(q) -> break od;
#ifdef TWO_QUEUES
  do :: q2?k,m -> hand!k,m :: empty(q2) -> break od;
#endif
  used = 0; fresh = 1; cut = 0 }

/* A thread of the owner. It waits, and fetches under the lock of the channel; once: one message only. */
proctype Reader(bool once) { mtype k; byte m, m2; bool got, fresh, woken;
next:
  do
  :: OVER || ALL_ENDED -> break
  :: else ->
#ifdef LOOK_FIRST                               /* INLINE-20: a thread looks at the hand before it registers as waiting */
    if :: atomic { IN_HAND -> skip }             /* wait: looks: a message is in hand */
       :: atomic { !IN_HAND -> skip };           /* wait: looks: nothing is in hand */
          atomic { waiting++ };                  /* wait: registers as waiting, and sleeps in poll */
          atomic { (QUEUED > 0 || OVER || ALL_ENDED) -> waiting-- }  /* wait: wakes */
    fi;
#else
    atomic { waiting++ };                        /* wait: registers as waiting (INLINE-20) */
    if :: atomic { IN_HAND -> waiting-- }        /* wait: looks: a message is in hand (INLINE-20, FETCH-21) */
       :: atomic { !IN_HAND -> skip };           /* wait: looks: nothing is in hand; sleeps in poll (INLINE-20, FETCH-13) */
          atomic { (QUEUED > 0 || OVER || ALL_ENDED) -> waiting-- }  /* wait: wakes */
    fi;
#endif
    atomic { !locked -> locked = 1 };            /* fetch: takes the channel's lock (FETCH-11) */
    if :: atomic { OVER -> locked = 0; goto next }  /* fetch: channel-closed (CHAN-18) */
       :: else -> skip fi;
    atomic { if :: QUEUED > 0 && !killed && (len(hand) == 0 || cut) ->
#ifdef LOSES_BATCH                              /* GUAR-2: an interrupt between reading and storing loses the batch */
        if :: interrupts -> interrupts = 0; do :: q?k,m :: empty(q) -> break od; used = 0  /* fetch 1: reads a batch, is interrupted before it stores it */
           :: read_all()                         /* fetch 1: reads a batch */
        fi
#else
        read_all()                               /* fetch 1: reads a batch, and stores it in the same call (INLINE-19) */
#endif
      :: else -> skip fi };
#if !defined(NO_WAKE_UP) && !defined(LATE_WAKE_UP)
    atomic { if :: fresh && len(hand) > 1 && waiting && used < ROOM && !writing ->
#ifdef EATS_WAKE_UP                             /* INLINE-20: the reader of a batch does not renew the word 0 that it has read */
         if :: !woken -> q!WAKE_UP,0; used++; woken = 1  /* fetch: writes a word 0 into the queue, the first time */
            :: else -> skip fi
#else
         q!WAKE_UP,0; used++                     /* fetch: writes a word 0 into the queue, right after the read (INLINE-20) */
#endif
      :: else -> skip fi; fresh = 0 };
#endif
#ifdef NO_WAKE_UP                               /* INLINE-20: nobody wakes the threads that sleep while messages are in hand */
#endif
    if :: interrupts -> interrupts = 0; goto out /* fetch: is interrupted by a signal, and raises an exception */
       :: skip fi;
    got = 0;
    do
    :: atomic { !got && len(hand) > 0 && !cut ->
         hand?k,m;
         if :: k == WAKE_UP -> skip              /* fetch 2: passes over a word 0 (FETCH-10) */
            :: k == ITS_END -> skip
            :: k == AN_ID -> if :: file[m] -> yield(m); file[m] = 0  /* fetch 2: yields the message of a file (FETCH-1) */
                                :: else -> skip  /* fetch 2: skips an id without a file (FETCH-3) */
                             fi
            :: k == A_RECORD ->
#ifdef SPLIT
               if :: hand?[ITS_END,_] -> hand?ITS_END,m2; yield(m)  /* fetch 2: yields the message of a record */
                  :: else ->
#ifdef CUT_IS_DAMAGE                            /* INLINE-3, INLINE-7: a record comes in two pieces, and the first one is discarded when the queue is seen empty (INLINE-10) */
                     skip                        /* fetch 1: EAGAIN: discards a record that is cut short (INLINE-10) */
#else
                     hand!A_RECORD,m; cut = 1    /* waits for the second piece of a record */
#endif
               fi
#else
               yield(m)                          /* fetch 2: yields the message of a record */
#endif
         fi }
    :: else -> break
    od;
#ifdef LATE_WAKE_UP                             /* INLINE-20: the word 0 is written after a message was taken, and an interrupt comes first */
    atomic { if :: fresh && len(hand) > 0 && waiting && used < ROOM -> q!WAKE_UP,0; used++  /* fetch: writes a word 0 into the queue */
                :: else -> skip fi; fresh = 0 };
#endif
out:
    atomic { locked = 0; k = 0; m = 0; m2 = 0; fresh = 0 };
    if :: once && got -> got = 0; break          /* is busy with its message for ever after */
       :: else -> got = 0 fi
#ifdef HAND
  :: !once && kills < KILLS ->
    atomic { select(m2 : 0 .. NM-1);
             if :: file[m2] && !busy[m2] -> skip /* orphans 1: lists a stale file (FETCH-17) */
                :: else -> m2 = 0; goto progress_orphans fi };
    atomic { !locked -> locked = 1 };            /* orphans: takes the channel's lock */
    if
#ifdef ORPHANS_IN_HAND                          /* FETCH-17: an owner removes orphans while messages are in hand */
    :: QUEUED == 0 -> atomic { file[m2] = 0 }    /* orphans 2, 3: sees the queue empty, and removes the file */
#else
    :: QUEUED == 0 && len(hand) == 0 -> atomic { file[m2] = 0 }  /* orphans 2, 3: sees queue and hand empty, and removes the file (FETCH-17) */
#endif
    :: else -> skip fi;
    atomic { locked = 0; m2 = 0 };
progress_orphans: skip
#endif
  od;
  atomic { read++ }
}
#ifdef LIFE
proctype Owner() { mtype k; byte m;
#ifdef LATE_OPEN
  atomic { at = BASE; stamp = clock }            /* formix-pubsub makes the channel's directory in the base */
  atomic { readers = 1; opened = 1 }             /* and opens its queue for reading */
#else
  atomic { readers = 1 }                         /* 4: opens queue */
  atomic { at = BASE; stamp = clock; opened = 1 }  /* 5: renames the directory into the base (CHAN-10) */
#endif
  if :: skip :: goto stays
#ifdef MORTAL
     :: kills > 0 -> goto killing
#endif
  fi;
  atomic { opened = 0; at = GONE; stamp = clock }  /* closing 1: renames the directory to a fresh name in tmp (CHAN-16) */
#ifdef MORTAL
  if :: skip :: kills > 0 -> goto killing fi;
#endif
  atomic { !locked -> locked = 1; do :: hand?k,m :: empty(hand) -> break od;
    readers--; if :: !readers -> do :: q?k,m :: empty(q) -> break od; used = 0 :: else -> skip fi; closed = 1; locked = 0 }  /* closing 2: closes the descriptors of the queue */
#ifdef MORTAL
  goto stays;
killing:
  atomic { if :: kills > 0 -> kills--; opened = 0; killed = 1; do :: hand?k,m :: empty(hand) -> break od;  /* is killed */
                 readers--; if :: !readers -> do :: q?k,m :: empty(q) -> break od; used = 0 :: else -> skip fi
              :: else -> skip fi };
  if :: atomic { at == BASE && !readers -> at = GONE; stamp = clock }  /* a reaper takes the directory from the base (REAP-3) */
     :: skip fi;
#endif
stays: skip
}
proctype Child() { mtype k; byte m;
  if :: atomic { opened -> readers++ };          /* is forked, and inherits the read end */
        atomic { readers--; if :: !readers -> do :: q?k,m :: empty(q) -> break od; used = 0 :: else -> skip fi }  /* ends */
     :: skip fi }
proctype Clock() { do :: atomic { clock < TICKS -> clock++ }  /* ticks */
                      :: break od }
#endif
proctype End() { byte m;
#ifdef LIFE
  (ended == NP && read == 1);
#else
  (ended == NP && read == 2);
#endif
  atomic { for (m : 0 .. NM-1) {
    assert(OVER || result[m] != COUNTED || yielded[m] == 1);  /* counted: GUAR-1, GUAR-2 */
    assert(result[m] != NOT_COUNTED || yielded[m] == 0) } }  /* counted: GUAR-1 */
}
init { atomic { byte p;
#ifdef LIFE
  run Owner(); run Child(); run Clock(); run Reader(0);
#else
  readers = 1; at = BASE; opened = 1; run Reader(0); run Reader(1);
#endif
  for (p : 0 .. NP-1) { run Publisher(p) } run End() } }
