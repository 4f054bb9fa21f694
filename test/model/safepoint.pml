/*
 * The safepoint protocol: how mutators enter and leave run(), and how a pause (remark, flip) stops them.
 *
 * MUTATORS mutators go in and out of run() and poll, without end, and may stay parked for ever at any time; the last
 * one attaches and detaches as well. REQUESTERS threads ask for STOPS pauses each. All interleavings.
 * README.md names every transition [in brackets here] and the invariant (ARCHITECTURE.md) that it keeps.
 *
 * One atomic block is one access to shared memory that another thread can tell apart: a LOCKed instruction on x86 (a
 * full barrier), a load, or a futex call. The mutants that replace a LOCKed instruction by load and store have two.
 * Loads of `generation` and of the state word by one thread stay in program order on x86.
 *
 * -DMUTATORS=n -DREQUESTERS=n -DSTOPS=n
 * -DMUTANT_x    breaks one rule
 */
#ifndef MUTATORS
#define MUTATORS 3
#endif
#ifndef REQUESTERS
#define REQUESTERS 2
#endif
#ifndef STOPS
#define STOPS 2
#endif

/* the state word of a mutator: PARKED, RUNNING or STOPPED, and the REQUESTED bit */
#define PARKED    0
#define RUNNING   1
#define REQUESTED 2
#define STOPPED   4

byte word[MUTATORS];
bool attached[MUTATORS];
short pending;                          /* mutators still to stop, plus the requester's own hold */
byte generation;                        /* the futex word: pauses finished */
bool asleep[MUTATORS + REQUESTERS];     /* in futex_wait */
bool mutex;                             /* requesters, attach, detach */

/* what the threads believe, for the assertions */
bool inside[MUTATORS];                  /* may touch the heap */
bool pausing;                           /* the closure runs */
bool due;                               /* a pause was asked for and its closure has not run */
bool stalled;

hidden byte i;

inline lock()   { atomic { !mutex -> mutex = true } }

/* [wait] while (generation == was) futex_wait(&generation, was) */
inline wait(who, was) {
  do
  :: generation != was -> break
  :: atomic { generation == was -> asleep[who] = true };
     !asleep[who]
  od
}

/* [wake] */
inline wake() {
  d_step {
    for (i : 0 .. MUTATORS + REQUESTERS - 1) { asleep[i] = false }
    i = 0
  }
}

inline nobody_inside() {
  for (i : 0 .. MUTATORS - 1) { assert(!inside[i]) }
  i = 0
}

/* [closure] on the thread that brought pending to 0, then [resume]: [clear-request], [bump], [wake] */
inline pause_and_resume(cursor) {
  atomic {
    nobody_inside();
    assert(!pausing);
    assert(due);                                                 /* one closure per pause */
    due = false;
    pausing = true
  }
  atomic { nobody_inside(); pausing = false }
#ifdef MUTANT_BUMP_BEFORE_CLEAR
  generation++;
#endif
  do
  :: atomic { cursor < MUTATORS ->                               /* [clear-request] fetch_and */
       if
       :: attached[cursor] -> word[cursor] = word[cursor] & ~REQUESTED
       :: else
       fi;
       cursor++
     }
  :: atomic { cursor == MUTATORS -> cursor = 0; break }
  od;
#ifdef MUTANT_WAKE_BEFORE_BUMP
  wake();
  generation++
#else
#ifndef MUTANT_BUMP_BEFORE_CLEAR
  generation++;                                                  /* [bump] */
#endif
  wake()
#endif
}

#ifdef MUTANT_CLOSURE_BEFORE_LAST
#define LAST (pending <= 1 && due)
#else
#define LAST (pending == 0)
#endif

/* [count-down] fetch_sub, and the closure for whoever gets to 0 */
inline count_down(amount, index) {
  atomic {
    pending = pending - (amount);
    assert(pending >= 0);
    is_last = LAST
  }
  if
  :: atomic { is_last -> is_last = false }; pause_and_resume(index)
  :: !is_last
  fi
}

#define RUN(me) word[me] = RUNNING; inside[me] = true; assert(!pausing)

proctype Mutator(byte me) {
  byte seen;
  byte old;
  byte k;
  bool is_last;

parked:
  /* outside run(): may stay here for ever */
  if
  :: goto done
  :: attached[me] -> goto enter
#ifdef MUTANT_ATTACH_WITHOUT_MUTEX
  :: me == MUTATORS - 1 -> atomic { attached[me] = !attached[me]; word[me] = PARKED }; goto parked
#else
  :: atomic { me == MUTATORS - 1 && !mutex -> mutex = true }     /* parked, hence never in the way of the holder */
     atomic {                                                    /* [attach] [detach] */
       attached[me] = !attached[me]; word[me] = PARKED; mutex = false; goto parked
     }
#endif
  fi;

enter:
#ifndef MUTANT_GENERATION_READ_LATE
  seen = generation;                                             /* [enter-read] before the word */
#endif
  if
#if defined(MUTANT_ENTER_IGNORES_REQUEST)
  :: atomic { word[me] = word[me] | RUNNING; inside[me] = true; seen = 0; assert(!pausing); goto running }
#elif defined(MUTANT_ENTER_WITHOUT_CAS)
  :: word[me] == PARKED -> atomic { RUN(me); seen = 0; goto running }
#else
  :: atomic { word[me] == PARKED -> RUN(me); seen = 0; goto running }            /* [enter] CAS */
#endif
#ifndef MUTANT_ENTER_IGNORES_REQUEST
  :: word[me] != PARKED ->                                       /* [enter-wait] */
#ifdef MUTANT_GENERATION_READ_LATE
     seen = generation;
#endif
     wait(me, seen);
     goto enter
#endif
  fi;

running:
  if
  :: atomic { word[me] & REQUESTED -> goto stop }                /* [poll] */
#ifdef MUTANT_LEAVE_BY_STORE
  :: atomic { inside[me] = false; old = word[me] };
     word[me] = old & ~RUNNING;
#else
  :: atomic { inside[me] = false; old = word[me]; word[me] = old & ~RUNNING };   /* [leave] fetch_and */
#endif
     if
     :: atomic { old & REQUESTED -> old = 0 }; count_down(1, k); goto parked     /* [leave-counts] */
     :: atomic { !(old & REQUESTED) -> old = 0; goto parked }
     fi
#ifdef MUTANT_DETACH_WHILE_RUNNING
  :: me == MUTATORS - 1 -> lock();
     atomic { attached[me] = false; word[me] = PARKED; inside[me] = false; mutex = false; goto parked }
#endif
  fi;

stop:
#ifndef MUTANT_GENERATION_READ_LATE
  seen = generation;                                             /* [stop-read] before the own count is given up */
#endif
  atomic {                                                       /* [stop] */
    inside[me] = false;
    word[me] = (word[me] & ~RUNNING) | STOPPED
  }
  count_down(1, k);
#ifdef MUTANT_GENERATION_READ_LATE
  seen = generation;
#endif
stopped:
  wait(me, seen);
  if
  :: atomic { !stalled -> stalled = true; goto end_stalled }     /* the scheduler never runs this thread again */
  :: true
  fi;
#ifdef MUTANT_RESTORE_BY_STORE
  atomic { RUN(me); seen = 0; goto running };
#else
  seen = generation;                                             /* [restore-read] */
  if
  :: atomic { word[me] == STOPPED -> RUN(me); seen = 0; goto running }           /* [restore] CAS */
  :: atomic { word[me] != STOPPED -> goto stopped }              /* [stopped-again] the next pause has counted it */
  fi;
#endif

end_stalled:
  false;
done:
  skip
}

proctype Requester(byte me) {
  byte seen;
  byte k;
  byte n;
  byte found;
  byte old;
  bool is_last;
  do
  :: n < STOPS ->
#ifndef MUTANT_NO_STOP_MUTEX
     lock();
#endif
     atomic {                                                    /* [request] everyone, and the own hold */
       seen = generation;
       due = true;
#ifdef MUTANT_NO_OWN_HOLD
       pending = 0;
#else
       pending = 1;
       for (i : 0 .. MUTATORS - 1) { pending = pending + attached[i] }
       i = 0
#endif
     }
     do
     :: atomic { k < MUTATORS && !attached[k] -> k++ }
#if defined(MUTANT_REQUEST_WITHOUT_RMW)
     :: atomic { k < MUTATORS && attached[k] -> old = word[k] };
        atomic { word[k] = old | REQUESTED; found = found + !(old & RUNNING); old = 0; k++ }
#elif defined(MUTANT_NO_OWN_HOLD)
     :: atomic { k < MUTATORS && attached[k] -> old = word[k]; word[k] = old | REQUESTED };
        atomic { pending = pending + ((old & RUNNING) != 0); old = 0; k++ }
#else
     :: atomic { k < MUTATORS && attached[k] ->                  /* [request-one] fetch_or */
          old = word[k];
          word[k] = old | REQUESTED;
#if defined(MUTANT_PARKED_NOT_COUNTED)
          found = found + (old == STOPPED);
#elif defined(MUTANT_STOPPED_NOT_COUNTED)
          found = found + (old == PARKED);
#else
          found = found + !(old & RUNNING);                      /* parked, or stopped by the pause before */
#endif
          old = 0;
          k++
        }
#endif
     :: atomic { k == MUTATORS -> k = 0; break }
     od;
#ifdef MUTANT_NO_OWN_HOLD
     atomic { is_last = (pending == 0 && due) };
     if
     :: is_last -> is_last = false; pause_and_resume(k)
     :: else
     fi;
#else
     count_down(found + 1, k);                                   /* [drop-hold] */
#endif
     wait(MUTATORS + me, seen);
     atomic {
#ifndef MUTANT_NO_STOP_MUTEX
       assert(generation == seen + 1);
#endif
       found = 0;
       seen = 0;
       n++;
#ifndef MUTANT_NO_STOP_MUTEX
       mutex = false
#endif
     }
  :: n == STOPS -> break
  od
}

init {
  byte m;
  atomic {
    do
    :: m < MUTATORS -> attached[m] = (m != MUTATORS - 1); run Mutator(m); m++
    :: else -> m = 0; break
    od;
    do
    :: m < REQUESTERS -> run Requester(m); m++
    :: else -> m = 0; break
    od
  }
}
