/*
 * The safepoint protocol (native/core/threads/safepoint.cc): how mutators enter and leave run(), and how a pause or an inspection stops them.
 *
 * MUTATORS mutators go in and out of run() and poll, without end, and may stay parked for ever at any time, or run until
 * they are asked; the last one attaches and detaches as well; the first may make INSPECTIONS inspections. REQUESTERS threads
 * ask for STOPS pauses each. All interleavings.
 * README.md names every transition [in brackets here] and the invariant (ARCHITECTURE.md) that it keeps.
 *
 * One atomic block is one access to shared memory that another thread can tell apart: a LOCKed instruction on x86 (a
 * full barrier), a load, a store, or a futex call. The mutants that replace a LOCKed instruction by load and store have two.
 *
 * -DMUTATORS=n -DREQUESTERS=n -DSTOPS=n -DINSPECTIONS=n
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
#ifndef INSPECTIONS
#define INSPECTIONS 0
#endif
#define NOBODY MUTATORS
#define INSPECTOR (MUTATORS + REQUESTERS)

/* the state word of a mutator, which is its futex: PARKED, RUNNING or STOPPED, and the REQUESTED bit */
#define PARKED    0
#define RUNNING   1
#define REQUESTED 2
#define STOPPED   4

byte word[MUTATORS];
bool attached[MUTATORS];
bool asked[MUTATORS];                   /* the control words: TLAB limit 0, poll 1, stack limit -1 */
short pending;                          /* mutators still to stop, plus the requester's own hold */
bool finished;                          /* done_, the requester's futex: everybody has stopped, and a pause is over */
bool operation;                         /* whoever stops last runs it; none in an inspection */
bool asleep[MUTATORS + REQUESTERS + 1]; /* in futex_wait: mutators on their words, requesters and the inspector on `finished` */
bool mutex;                             /* requesters, inspectors, attach, detach */

/* what the threads believe, for the assertions */
bool inside[MUTATORS];                  /* may touch the heap */
bool pausing;                           /* the operation runs */
bool due;                               /* a stop was asked for and nobody has used it */

hidden byte i;

inline lock()   { atomic { !mutex -> mutex = true } }

/* [wait] while (word == was) futex_wait(&word, was) */
inline wait_while(me, was) {
  do
  :: word[me] != (was) -> break
  :: atomic { word[me] == (was) -> asleep[me] = true };
     !asleep[me]
  od
}
inline wait_until_stopped(who) {
  do
  :: finished -> break
  :: atomic { !finished -> asleep[who] = true };
     !asleep[who]
  od
}

inline wake_requesters() {
  d_step {
    for (i : MUTATORS .. INSPECTOR) { asleep[i] = false }
    i = 0
  }
}

inline nobody_inside(but) {
  for (i : 0 .. MUTATORS - 1) { assert(i == (but) || !inside[i]) }
  i = 0
}

/* [operation], on a thread that has the world to itself */
inline operate(but) {
  atomic {
    nobody_inside(but);
    assert(!pausing);
    assert(due);                                                 /* one for each stop */
    due = false;
    pausing = true
  }
  atomic { nobody_inside(but); pausing = false }
}

/* [resume] each that has been asked: its words, then its state, then [wake] */
inline resume(cursor) {
  do
  :: atomic { cursor < MUTATORS && !(word[cursor] & REQUESTED) -> cursor++ }
  :: cursor < MUTATORS && (word[cursor] & REQUESTED) ->
#ifdef MUTANT_WAKE_BEFORE_STATE
     asleep[cursor] = false;
#endif
     if
     :: word[cursor] & STOPPED ->
#ifdef MUTANT_RESTORE_AFTER_STATE
        word[cursor] = RUNNING;
        atomic { assert(!inside[cursor]); asked[cursor] = false };
#else
        atomic { assert(!inside[cursor]); asked[cursor] = false };   /* [restore] */
        word[cursor] = RUNNING;                                  /* [resume-state] */
#endif
#ifdef MUTANT_PARKED_RESUMED
     :: else -> asked[cursor] = false; word[cursor] = RUNNING
#else
     :: else -> asked[cursor] = false; word[cursor] = PARKED
#endif
     fi;
#ifndef MUTANT_WAKE_BEFORE_STATE
     asleep[cursor] = false;                                     /* [wake] */
#endif
     cursor++
  :: atomic { cursor == MUTATORS -> cursor = 0; break }
  od
}

#ifdef MUTANT_OPERATION_BEFORE_LAST
#define LAST (pending <= 1 && due)
#else
#define LAST (pending == 0)
#endif

/* [arrive] fetch_sub, and what there is to do for whoever gets to 0 */
inline arrive(cursor) {
  atomic {
    pending--;
    assert(pending >= 0);
    is_last = LAST
  }
  if
  :: atomic { is_last -> is_last = false };
#ifdef MUTANT_FINISHED_BEFORE_RESUME
     finished = true;
     wake_requesters();
#endif
     if
     :: operation -> operate(NOBODY); resume(cursor)
     :: !operation
     fi;
#ifndef MUTANT_FINISHED_BEFORE_RESUME
     finished = true;                                            /* [finish] */
     wake_requesters()
#endif
  :: !is_last
  fi
}

/* [request] of all but one, under the mutex */
inline request(but, what, k, old) {
  atomic {
    finished = false;
    operation = (what);
    due = true;
#ifdef MUTANT_NO_OWN_HOLD
    pending = 0
#else
    pending = 1
#endif
  }
  do
  :: atomic { k < MUTATORS && (!attached[k] || k == (but)) -> k++ }
  :: atomic { k < MUTATORS && attached[k] && k != (but) ->       /* [count] before it can arrive */
#ifndef MUTANT_ASK_BEFORE_COUNTING
       pending++
#endif
     };
#ifdef MUTANT_REQUEST_WITHOUT_RMW
     old = word[k];
     word[k] = old | REQUESTED;
#else
     atomic { old = word[k]; word[k] = old | REQUESTED };        /* [ask] fetch_or */
#endif
#ifdef MUTANT_ASK_BEFORE_COUNTING
     pending++;
#endif
     if
#ifdef MUTANT_PARKED_WAITED_FOR
     :: old == PARKED -> old = 0
#else
     :: old == PARKED -> atomic { pending--; old = 0 }           /* [parked] stands already */
#endif
     :: old != PARKED -> atomic { asked[k] = true; old = 0 }     /* [tell] after it has been asked */
     fi;
     k++
  :: atomic { k == MUTATORS -> k = 0; break }
  od
}

proctype Mutator(byte me) {
  byte old;
  byte k;
  byte inspections;
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
  if
#if defined(MUTANT_ENTER_IGNORES_REQUEST)
  :: atomic { word[me] = word[me] | RUNNING; inside[me] = true; assert(!pausing) }
#elif defined(MUTANT_ENTER_WITHOUT_CAS)
  :: word[me] == PARKED -> atomic { word[me] = RUNNING; inside[me] = true; assert(!pausing) }
#else
  :: atomic { word[me] == PARKED -> word[me] = RUNNING; inside[me] = true; assert(!pausing) }   /* [enter] CAS */
#endif
#ifndef MUTANT_ENTER_IGNORES_REQUEST
  :: word[me] != PARKED -> wait_while(me, PARKED | REQUESTED); goto enter                       /* [enter-wait] */
#endif
  fi;
#ifdef MUTANT_PUBLISH_UNFENCED
  old = word[me] & REQUESTED;
  asked[me] = false;
  if
  :: old -> atomic { old = 0; asked[me] = true }
  :: else
  fi;
#else
  asked[me] = false;                                             /* [publish] the TLAB, full fence */
#ifndef MUTANT_PUBLISH_UNCHECKED
  if
  :: word[me] & REQUESTED -> asked[me] = true                    /* [publish-check] asked in between */
  :: else
  fi;
#endif
#endif

running:
  if
  :: asked[me] -> goto poll
  :: goto leave
  :: goto end_until_asked                                        /* a long loop, with polls */
  :: inspections < INSPECTIONS && me == 0 -> inspections++; goto inspect
#ifdef MUTANT_DETACH_WHILE_RUNNING
  :: me == MUTATORS - 1 -> lock();
     atomic { attached[me] = false; word[me] = PARKED; inside[me] = false; mutex = false; goto parked }
#endif
  fi;
end_until_asked:
  asked[me];

poll:
  if
  :: atomic { word[me] == (RUNNING | REQUESTED) -> word[me] = STOPPED | REQUESTED; inside[me] = false }   /* [poll] CAS */
  :: atomic { word[me] != (RUNNING | REQUESTED) -> goto running }
  fi;
  arrive(k);
  wait_while(me, STOPPED | REQUESTED);
  atomic { assert(word[me] & RUNNING); inside[me] = true; assert(!pausing); goto running }

leave:
#ifdef MUTANT_LEAVE_BY_STORE
  atomic { inside[me] = false; old = word[me] };
  word[me] = old & ~RUNNING;
#else
  atomic { inside[me] = false; old = word[me]; word[me] = old & ~RUNNING };                     /* [leave] fetch_and */
#endif
  if
  :: atomic { old & REQUESTED -> old = 0 }; arrive(k)            /* [leave-arrives] */
  :: atomic { !(old & REQUESTED) -> old = 0 }
  fi;
  goto parked;

inspect:
#ifndef MUTANT_INSPECT_WITHOUT_LEAVING
  atomic { inside[me] = false; old = word[me]; word[me] = old & ~RUNNING };   /* [inspect-leave]: another stop may be on its way here */
  if
  :: atomic { old & REQUESTED -> old = 0 }; arrive(k)
  :: atomic { !(old & REQUESTED) -> old = 0 }
  fi;
#endif
  lock();
  request(me, false, k, old);
  arrive(k);
  wait_until_stopped(INSPECTOR);
#ifndef MUTANT_INSPECT_WITHOUT_LEAVING
  atomic { word[me] == PARKED -> word[me] = RUNNING; inside[me] = true };
#endif
  operate(me);                                                   /* [inspection] */
#ifdef MUTANT_UNLOCK_BEFORE_RESUME
  mutex = false;
  resume(k);
#else
  resume(k);
  mutex = false;
#endif
  asked[me] = false;
  if
  :: word[me] & REQUESTED -> asked[me] = true
  :: else
  fi;
  goto running;

done:
  skip
}

proctype Requester(byte me) {
  byte k;
  byte n;
  byte old;
  bool is_last;
  do
  :: n < STOPS ->
#ifndef MUTANT_NO_STOP_MUTEX
     lock();
#endif
     request(NOBODY, true, k, old);
#ifdef MUTANT_NO_OWN_HOLD
     pending++;
#endif
     arrive(k);                                                  /* [drop-hold] */
     wait_until_stopped(MUTATORS + me);
     atomic {
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
    finished = true;
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
