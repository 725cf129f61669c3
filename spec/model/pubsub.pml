/* Version 1 with files: NP publishers (SEQ messages each), one owner, one reaper, and a janitor that
 * comes after all of them and looks whether everything they left can be removed.
 *
 * Each system call is one atomic step. After each a process may be killed, KILLS times in all. A
 * stopped process is one that is not scheduled, so each test of an age may succeed at any time.
 * README.md lists the configurations, and the rules that a macro breaks one at a time. */
#ifndef NP
#define NP 2
#endif
#ifndef SEQ
#define SEQ 1
#endif
#define NM (NP*SEQ)
#ifndef KILLS
#define KILLS 2
#endif
#ifndef QCAP
#define QCAP 2
#endif
#define NONE 0
#define IN 1      /* in tmp, being made */
#define VIS 2     /* in the base */
#define OUT 3     /* in tmp, going */
byte loc = NONE;
bool fifo, rd;                    /* queue exists in the directory; has a reader */
chan q = [QCAP] of { byte };
byte stg[NM];                     /* staged file: 0 no, 1 partial, 2 complete */
bool whole[NM];                   /* content of the inode is complete */
bool lnk[NM], lock[NM];           /* linked into the channel; flock held */
byte del[NM], res[NM];            /* deliveries; 0 unknown 1 counted 2 not counted */
bool opened, pidok = true;        /* owner: open() returned and close() not begun; pid runs */
byte kills = KILLS, pdone, rdone, odone, last[NP];
#define K(l) if :: kills > 0 -> kills--; goto l :: skip fi
inline drop_reader() { rd = 0; do :: q?_ :: empty(q) -> break od; }
inline wipe() { byte w; for (w : 0 .. NM-1) { lnk[w] = 0 } fifo = 0; w = 0; }

proctype P(byte p) {
  byte n, m; bool vis, isfull;
  for (n : 0 .. SEQ-1) {
    m = p*SEQ+n; vis = 0; isfull = 0;
    atomic { vis = opened; K(dead) }
stage:
    atomic { stg[m] = 1; K(dead) }
    atomic { lock[m] = 1; K(dead) }
    atomic { if :: stg[m] -> stg[m] = 2 :: else fi; whole[m] = 1; K(dead) }
    atomic {                                    /* open queue O_WRONLY|O_NONBLOCK */
      if :: loc == VIS && fifo && rd :: else -> res[m] = 2; goto unstage fi; K(dead) }
#ifdef OVERWRITE
    atomic { if :: rd && (len(q) < QCAP) -> q!m; res[m] = 1 :: else -> res[m] = 2; goto unstage fi; K(dead) }
    atomic { if :: loc == VIS && stg[m] == 2 -> lnk[m] = 1 :: else fi; K(dead) }
    goto unstage;
#endif
    atomic {                                    /* link(tmp/m, C/m), by path */
      if
      :: loc == VIS && stg[m] == 2 -> lnk[m] = 1
      :: loc == VIS && stg[m] != 2 ->           /* ENOENT, but of the staged file */
#ifdef NAIVE_STAGED
         res[m] = 2; goto unstage
#else
         lock[m] = 0; goto stage
#endif
      :: loc != VIS -> res[m] = 2; goto unstage
      fi; K(dead) }
    atomic {                                    /* write 8 bytes */
      if :: rd && (len(q) < QCAP) -> q!m; res[m] = 1; K(dead); goto unstage
         :: rd && len(q) == QCAP -> isfull = 1; K(dead)
         :: !rd -> K(dead) fi }
    atomic { res[m] = 2;
#ifndef NO_WITHDRAW
      if :: loc == VIS -> lnk[m] = 0 :: else fi;
#endif
      K(dead) }
unstage:
    atomic { /* open before publish and still open: never missed, unless full */
      assert(!(vis && opened && !isfull) || res[m] == 1); vis = 0; K(dead) }
    atomic { stg[m] = 0; lock[m] = 0 }
  }
  atomic { pdone++; goto fin }
dead: atomic { lock[m] = 0; vis = 0; pdone++ }
fin: skip
}

inline take() {                                 /* fetch one id; file may be gone: skip */
  atomic { q?m; if :: lnk[m] -> assert(whole[m]); del[m]++; assert(del[m] == 1);
      assert(last[m/SEQ] <= m%SEQ); last[m/SEQ] = m%SEQ + 1; got = 1 :: else -> got = 0 fi; K(dead) }
  atomic { if :: got -> lnk[m] = 0 :: else fi; got = 0; K(dead) }
}
inline orphan() {                               /* c = a file listed as old */
  atomic { select(c : 0 .. NM-1); if :: lnk[c] :: else -> goto next fi; K(dead) }
#ifdef NAIVE_ORPHAN
  atomic { lnk[c] = 0; goto next }
#endif
#if !defined(NO_FLOCK) && !defined(LOCK_LAST)
  atomic { if :: lock[c] -> goto next :: else fi; K(dead) }
#endif
  atomic { if :: (len(q) > 0) -> goto next :: else fi; K(dead) }   /* the queue was seen empty */
#ifdef LOCK_LAST
  atomic { if :: lock[c] -> goto next :: else fi; K(dead) }
#endif
  atomic { lnk[c] = 0 }
}
proctype O() {
  byte m, c; bool got;
again:
  atomic { loc = IN; K(dead) }
  atomic { if :: loc == IN -> fifo = 1 :: else -> goto again fi; K(dead) }
  atomic { if :: loc == IN && fifo -> rd = 1 :: else -> drop_reader(); loc = NONE; goto again fi; K(dead) }
  atomic { if :: loc == IN -> loc = VIS; opened = 1 :: else -> drop_reader(); goto again fi; K(dead) }
next:
  do
  :: (len(q) > 0) -> take()
  :: pdone < NP -> orphan()
  :: pdone < NP -> goto closing                 /* close while publishing */
  :: pdone == NP && len(q) == 0 -> break
  od;
  atomic { /* publishers are done, queue drained: honest? */
    for (m : 0 .. NM-1) { assert(res[m] != 1 || del[m] == 1); assert(res[m] != 2 || del[m] == 0);
      assert(res[m] != 2 || !lnk[m])
    } m = 0 }
closing:
  atomic { opened = 0; assert(loc == VIS && fifo); loc = OUT; K(dead) }
  atomic { drop_reader(); K(dead) }
  atomic { if :: loc == OUT -> wipe(); loc = NONE :: else fi }
dead: atomic { opened = 0; drop_reader(); pidok = 0; odone = 1 }
}

proctype R() { byte i, s;
  for (i : 0 .. 1) {
    if
    :: atomic { loc == VIS &&
#ifdef REAP_BY_PID
       true
#else
       !rd && !pidok
#endif
       -> skip };                                /* probe, then (later) claim by rename */
       atomic { if :: loc == VIS -> assert(!opened); loc = OUT :: else fi }
    :: atomic { loc == IN && !rd -> skip };
#ifdef NAIVE_TMP
       atomic { if :: loc == IN -> fifo = 0 :: else fi };
       atomic { if :: loc == IN && !fifo -> loc = NONE :: else fi }
#else
       atomic { if :: loc == IN -> wipe(); loc = NONE :: else fi }
#endif
    :: atomic { loc == OUT && !rd -> wipe(); loc = NONE }
    :: atomic { select(s : 0 .. NM-1);
#ifdef NAIVE_STAGED
       stg[s] = 0 }
#else
       if :: !lock[s] -> stg[s] = 0 :: else fi }
#endif
    :: skip
    fi }
  rdone = 1
}
proctype J() { byte s;                           /* everybody gone: everything reapable? */
  (pdone == NP && odone && rdone);
  atomic { assert(!rd); if :: loc != NONE -> wipe(); loc = NONE :: else fi;
    for (s : 0 .. NM-1) { if :: !lock[s] -> stg[s] = 0 :: else fi; assert(!stg[s] && !lnk[s]) } }
}
init { atomic { byte p; for (p : 0 .. NP-1) { run P(p) } run O(); run R(); run J() } }
