/* Operations end, although others never stop: fetch.md, publish.md, channel.md.
 *
 * Here the others have no limit: somebody floods the queue, a cleaner removes what is staged or made in
 * tmp again and again, and others fill each queue as soon as it has room. SPIN searches for runs without
 * end in which no operation ends. README.md says how to read this. */
#ifndef ROOM
#define ROOM 2                 /* ids that the queue takes */
#endif
#ifndef LIMIT
#define LIMIT 2                /* repetitions in one operation; the specification has 20 or more */
#endif

chan q = [ROOM] of { bit };
bool staged, made;
bool over;                     /* the time of the publish is over */

proctype Flood() { do :: atomic { len(q) < ROOM -> q!0 }  /* writes an id of 0 */
                   od }
proctype Cleaner() { do :: atomic { staged -> staged = 0 }  /* removes the staged file */
                        :: atomic { made -> made = 0 }  /* removes the directory that is being made */
                     od }

proctype Owner() { byte held, tries;
  do
  :: tries = 0;
     do
     :: atomic { made = 1 };                     /* opening 2: makes a directory in tmp */
        if :: atomic { made -> made = 0; break } /* opening 5: renames it into the base */
           :: atomic { !made -> skip }           /* opening 5: ENOENT: starts again at 1 (CHAN-11) */
        fi;
#ifndef OPENS_FOR_EVER                          /* CHAN-11: an opening starts again as often as its directory is removed */
        if :: tries < LIMIT -> tries++
           :: else -> break                      /* opening: started again too often: io-error (CHAN-11) */
        fi
#endif
     od;
progress_opened: skip
  :: held = len(q);                              /* fetch: asks how many ids the queue holds (FETCH-22) */
     do
     :: atomic { len(q) > 0 && held > 0 -> q?_   /* fetch 1, 2: reads an id of 0, and goes to 1 (FETCH-10) */
#ifndef FETCHES_FOR_EVER                        /* FETCH-22: a fetch reads as long as there are ids */
        ; held--
#endif
        }
     :: else -> break                            /* fetch: reports that there is no message (FETCH-22) */
     od;
progress_fetched: skip
  od
}

proctype Publisher() { byte tries;
  do
  :: tries = 0; over = 0;
stage:
     atomic { staged = 1 };                      /* 3: stages the message */
     if :: atomic { staged -> skip }             /* 4.2: links the file */
        :: atomic { !staged ->                   /* 4.2: ENOENT: the staged file is gone (PUB-12) */
#ifndef STAGES_FOR_EVER                         /* PUB-12: a publisher stages again as often as its file is removed */
             if :: tries == LIMIT -> goto ends   /* 4.2: staged again too often: io-error of the channel (PUB-13) */
                :: else -> tries++ fi;
#endif
             goto stage }
     fi;
     do
     :: atomic { len(q) < ROOM -> q!0; break }   /* 4.3: writes the id, and counts the channel */
     :: atomic { len(q) == ROOM ->               /* 4.3: EAGAIN: the queue is full */
#ifndef WAITS_FOR_EVER                          /* PUB-19: a publish with a timeout tries a full queue for ever */
          if :: over -> break                    /* the time is over (PUB-19) */
             :: else -> over = 1 fi
#endif
        }
     od;
ends:
     atomic { staged = 0 };                      /* 5: removes the staged file */
progress_published: skip
  od
}

init { atomic { run Flood(); run Cleaner(); run Owner(); run Publisher() } }
