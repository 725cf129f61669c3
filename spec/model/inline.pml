/* Records and ids in one queue: the batch in hand, the kept list, the kept descriptors, the switch
 * between lanes at half the queue. One channel; staging, `tmp` and reaping are in pubsub.pml.
 *
 * Each system call is one atomic step. Two configurations keep the number of states small:
 *   LIFE  The channel opens and closes. A clock ticks, for the list that is kept (PUB-21). A forked
 *         child may hold the read end after the channel was closed. The publishers are threads that
 *         share list and descriptors; with SEPARATE they are processes, each with its own. One thread
 *         reads. With LATE_OPEN the channel is visible before it can receive, as formix-pubsub's.
 *   HAND  The channel is open all the time. Thread A reads until the end; thread B takes one message
 *         and is busy for ever after. Publishers are killed, KILLS times. Orphans are removed. With
 *         SPLIT a record becomes visible in two pieces, as the sockets of some systems pass it on.
 * README.md lists the configurations, and the rules that a macro breaks one at a time. */
#ifndef NP
#define NP 2
#endif
#ifndef SEQ
#define SEQ 2
#endif
#define NM (NP*SEQ)
#ifndef QU
#define QU 4                       /* room of the queue; an id takes 1, a record RC */
#endif
#ifndef HALF
#define HALF 2
#endif
#define RC 2
#ifndef KILLS
#define KILLS 1
#endif
#ifndef TICKS
#define TICKS 3
#endif
#define VIS 1
#define OUT 2
#define NG (NM+2)
mtype = { ID, REC, END, ZERO };    /* END: second piece of a record */
chan q = [QU] of { mtype, byte };
chan hand = [QU+1] of { mtype, byte };
byte used;
#ifdef TWO_QUEUES
chan q2 = [QU] of { mtype, byte };
#endif
byte loc, rd, clk = 1, stamp = 1;
bool opened, closed, lk, wl, intr = 1;
byte waiting, pdone, wdone, kills = KILLS;
bool lnk[NM], mid[NM];
byte res[NM], del[NM], last[NP];
byte lkey[NP], tab[NP], gen; bool llist[NP], dead_[NP];
bool isopen[NG]; byte refs[NG];
#define K(l) if :: kills > 0 -> kills--; goto l :: skip fi
bool cutf;                         /* what is in hand is one cut record */
#define INHAND (len(hand) > 0 && !cutf)
inline unref(x) { refs[x]--; if :: refs[x] == 0 -> isopen[x] = 0 :: else fi }
inline drop(o) { /* out of the table */
  if :: tab[o] ->
#ifdef NO_REF
     isopen[tab[o]] = 0;
#endif
     unref(tab[o]); tab[o] = 0
     :: else fi }

proctype P(byte p) {
  byte n, m, key, f, g, o; bool vis, late, listed, isfull, file, bad, keep;
#if defined(LIFE) && !defined(SEPARATE)
  o = 0;
#else
  o = p;
#endif
  for (n : 0 .. SEQ-1) {
    m = p*SEQ+n; file = 0; bad = 0; isfull = 0; g = 0;
    atomic { vis = opened; late = closed }
#ifdef LIFE
    atomic { if
#ifdef NO_STAT
      :: lkey[o] -> listed = llist[o]; goto send
#else
      :: lkey[o] && lkey[o] == stamp -> listed = llist[o]; goto send
#endif
      :: else fi }
    atomic { f = clk }                         /* the staged file's time */
    atomic { key = stamp }                     /* look, list, look again */
    atomic { listed = (loc == VIS) }
#ifdef RACY
    atomic { keep = (key == stamp) }
#else
    atomic { keep = (key == stamp && f > key) }
#endif
    atomic { if :: keep -> lkey[o] = key; llist[o] = listed :: else -> lkey[o] = 0 fi;
      dead_[o] = 0; drop(o) }                  /* descriptors die with the list */
#else
    listed = 1;
#endif
send:
    atomic { if :: !listed -> res[m] = 2; goto done :: else fi;
#ifdef KEEP_LIVENESS
      if :: dead_[o] -> res[m] = 2; goto done :: else fi;
#endif
      if :: tab[o] -> g = tab[o]; refs[g]++
      :: else -> if :: loc == VIS && rd -> gen++; g = gen; isopen[g] = 1; refs[g] = 2; tab[o] = g
                    :: else -> dead_[o] = 1; res[m] = 2; g = 0; goto done fi fi }
    atomic { file = !(used < HALF) }           /* FIONREAD */
    if :: !file ->
#ifdef SPLIT
      atomic { !wl -> if :: rd && used+RC <= QU -> wl = 1; q!REC,m; used = used+1 :: else -> file = 1 fi }
      if :: !file -> atomic { q!END,m; used++; wl = 0; res[m] = 1; goto done } :: else fi
#else
      atomic { assert(isopen[g]);
        if :: !rd -> res[m] = 2; if :: tab[o] == g -> drop(o) :: else fi; goto done   /* EPIPE */
        :: rd && used+RC <= QU -> q!REC,m; used = used+RC; res[m] = 1; goto done
        :: else -> file = 1
        fi }
#ifdef NO_FALLBACK
      atomic { if :: file && res[m] == 0 -> assert(used+1 > QU); isfull = 1; res[m] = 2; goto done :: else fi }
#endif
#endif
    :: else fi;
    atomic { if :: loc == VIS -> lnk[m] = 1; mid[m] = 1 :: else -> res[m] = 2; goto done fi; K(dead) }
    atomic { !wl -> assert(isopen[g]);
      if :: !rd -> bad = 1
      :: rd && used+1 <= QU ->
#ifdef TWO_QUEUES
         q2!ID,m;
#else
         q!ID,m;
#endif
         used++; res[m] = 1; mid[m] = 0; K(dead); goto done
      :: else -> bad = 1; isfull = 1 fi; K(dead) }
    atomic { res[m] = 2; mid[m] = 0; if :: loc == VIS -> lnk[m] = 0 :: else fi; K(dead) }
done:
    atomic { if :: g -> unref(g) :: else fi; g = 0;
      assert(!(vis && opened && !isfull) || res[m] == 1);   /* GUAR-5 */
      assert(!late || res[m] != 1);                         /* closed before it began: not counted */
      vis = 0; late = 0; listed = 0; keep = 0; key = 0; f = 0 }
  }
  goto fin;
dead: atomic { for (n : 0 .. NM-1) { if :: n/SEQ == p -> mid[n] = 0 :: else fi } }
fin: atomic { if :: g -> unref(g) :: else fi; pdone++ }
}

#define ALLDONE (pdone == NP && len(q) == 0 && len(hand) == 0)
inline deliver(m) { del[m]++; assert(del[m] == 1); assert(last[m/SEQ] <= m%SEQ); last[m/SEQ] = m%SEQ + 1; got = 1 }
inline batch() {                   /* one read: all that is there */
  do :: q?k,m -> hand!k,m :: empty(q) -> break od;
#ifdef TWO_QUEUES
  do :: q2?k,m -> hand!k,m :: empty(q2) -> break od;
#endif
  used = 0; fresh = 1; cutf = 0 }

proctype W(bool once) { mtype k; byte m, m2, c; bool got, fresh, lost, drp;
next:
  do
  :: closed || ALLDONE -> break
  :: else ->
    /* wait() */
#ifdef LOOK_FIRST
    if :: atomic { INHAND -> skip }
       :: atomic { !INHAND -> skip }; atomic { waiting++ };
          atomic { (len(q) > 0 || closed || ALLDONE) -> waiting-- }
    fi;
#else
    atomic { waiting++ };
    if :: atomic { INHAND -> waiting-- }
       :: atomic { !INHAND -> skip };          /* asleep in poll, which sees the queue alone */
          atomic { (len(q) > 0 || closed || ALLDONE) -> waiting-- }
    fi;
#endif
    /* fetch(), under the channel's lock */
    atomic { !lk -> lk = 1 };
    if :: atomic { closed -> lk = 0; goto next } :: else fi;
    atomic { if :: len(q) > 0 && (len(hand) == 0 || cutf) ->
#ifdef BATCH_LOSE
        if :: intr -> intr = 0; do :: q?k,m :: empty(q) -> break od; used = 0; lost = 1 :: batch() fi
#else
        batch()
#endif
      :: else fi };
#if !defined(NO_TOKEN) && !defined(TOKEN_LATE)
    atomic { if :: fresh && len(hand) > 1 && waiting && used < QU && !wl ->   /* wl: readable at once anyway */
#ifdef EAT_TOKEN
         if :: !drp -> q!ZERO,0; used++; drp = 1 :: else fi
#else
         q!ZERO,0; used++
#endif
      :: else fi; fresh = 0 };
#endif
    if :: intr -> intr = 0; goto out :: skip fi;             /* Ctrl-C anywhere in a fetch */
    got = 0;
    do
    :: atomic { !got && len(hand) > 0 && !cutf ->
         hand?k,m;
         if
         :: k == ZERO || k == END -> skip
         :: k == ID -> if :: lnk[m] -> deliver(m); lnk[m] = 0 :: else fi
         :: k == REC ->
#ifdef SPLIT
            if :: hand?[END,_] -> hand?END,m2; assert(m2 == m); deliver(m)
               :: else ->
#ifdef CUT_IS_DAMAGE
                  skip
#else
                  assert(len(hand) == 0); hand!REC,m; cutf = 1
#endif
            fi
#else
            deliver(m)
#endif
         fi }
    :: else -> break
    od;
#ifdef TOKEN_LATE
    atomic { if :: fresh && len(hand) > 0 && waiting && used < QU -> q!ZERO,0; used++ :: else fi; fresh = 0 };
#endif
out:
    atomic { lk = 0; k = 0; m = 0; m2 = 0; fresh = 0; lost = 0 };
    if :: once && got -> got = 0; break :: else -> got = 0 fi
#ifdef HAND
  :: !once && kills < KILLS ->                  /* orphans: list, see both empty, remove */
    atomic { select(c : 0 .. NM-1); if :: lnk[c] && !mid[c] :: else -> c = 0; goto next fi };
    atomic { !lk -> lk = 1 };
    if
#ifdef ORPHAN_HAND
    :: len(q) == 0 -> atomic { lnk[c] = 0 }
#else
    :: len(q) == 0 && len(hand) == 0 -> atomic { lnk[c] = 0 }
#endif
    :: else fi;
    atomic { lk = 0; c = 0 }
#endif
  od;
  atomic { wdone++ }
}
#ifdef LIFE
proctype X() { mtype k; byte m;                 /* the owner's opening and closing */
#ifdef LATE_OPEN
  atomic { loc = VIS; stamp = clk }            /* formix: visible before it can receive */
  atomic { rd = 1; opened = 1 }
#else
  atomic { rd = 1 }
  atomic { loc = VIS; stamp = clk; opened = 1 }
#endif
  if :: skip :: goto stays fi;
  atomic { opened = 0; loc = OUT; stamp = clk }
  atomic { !lk -> lk = 1; do :: hand?k,m :: empty(hand) -> break od;
    rd--; if :: !rd -> do :: q?k,m :: empty(q) -> break od; used = 0 :: else fi; closed = 1; lk = 0 }
stays: skip
}
proctype C() { mtype k; byte m;                 /* a forked child keeps the read end for a while */
  if :: atomic { opened -> rd++ };
        atomic { rd--; if :: !rd -> do :: q?k,m :: empty(q) -> break od; used = 0 :: else fi }
     :: skip fi }
proctype T() { do :: atomic { clk < TICKS -> clk++ } :: break od }
#endif
proctype Z() { byte m;
#ifdef LIFE
  (pdone == NP && wdone == 1);
#else
  (pdone == NP && wdone == 2);
#endif
  atomic { for (m : 0 .. NM-1) {
    assert(closed || res[m] != 1 || del[m] == 1);           /* counted: yielded */
    assert(res[m] != 2 || del[m] == 0) } } }                 /* not counted: not yielded */
init { atomic { byte p;
#ifdef LIFE
  run X(); run C(); run T(); run W(0);
#else
  rd = 1; loc = VIS; opened = 1; run W(0); run W(1);
#endif
  for (p : 0 .. NP-1) { run P(p) } run Z() } }
