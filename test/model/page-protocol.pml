/*
 * The page-state protocol of a compaction: from the flip to the closing handshake, and into the next flip.
 *
 * MUTATORS mutators (each may be in the SIGBUS handler), COLLECTORS collector threads, PAGES to-space pages.
 * To-space page p reads source pages p and p + 1, so neighbours share a boundary source page.
 * README.md names every transition [in brackets here] and the invariant (ARCHITECTURE.md) that it keeps.
 *
 * One atomic block is one access to shared memory that another thread can tell apart. A compare-and-swap loop on one
 * word is one step: it takes effect where it succeeds, a failure only reads again. On x86 these are LOCKed
 * instructions, hence full barriers. The one plain store whose delay would matter is the clearing of `active`.
 *
 * -DCOPY        pages are placed by copying (the buffer stays); otherwise by moving (the buffer becomes a hole)
 * -DSLIDE       page 0 is source page 0 unchanged: placed by moving the source itself
 * -DSTALL       one thread may stop for ever between any two steps of its work: no mutator may ever need it
 * -DMUTATORS=n -DCOLLECTORS=n -DPAGES=n
 * -DCYCLES=n    collections
 * -DTOUCHES=n   accesses per mutator, each at any time and to any page
 * -DRESERVE=n   buffers at the flip
 * -DENOMEMS=n   placings that fail for lack of memory
 * -DMUTANT_x    breaks one rule
 */
#ifndef PAGES
#define PAGES 2
#endif
#ifndef CYCLES
#define CYCLES 1
#endif
#ifndef TOUCHES
#define TOUCHES 1
#endif
#ifndef MUTATORS
#define MUTATORS 3
#endif
#ifndef COLLECTORS
#define COLLECTORS 2
#endif
#ifndef RESERVE
#define RESERVE 5
#endif
#ifndef ENOMEMS
#define ENOMEMS 0
#endif

#ifdef SLIDE
#define SLIDES(p) ((p) == 0)
#else
#define SLIDES(p) false
#endif

#define SOURCES (PAGES + 1)
#define FRAMES  (SOURCES + RESERVE)     /* a frame is a page of memory: a source page, or a buffer */
#define NOFRAME 15

/* what a frame or a to-space page holds */
#define HOLE    0
#define JUNK    1                       /* free, unfinished, reused or released: nobody may rely on it */
#define SOURCE  (2 + cycle * 4)         /* pre-flip content of this cycle */
#define PAGE(p) (3 + cycle * 4 + (p))   /* finished content of to-space page p of this cycle */

/* states of the page word */
#define untouched 0
#define building  1
#define built     2
#define mapped    3

/* the page word: its three parts are always read and written as one */
byte state[PAGES];
byte builders[PAGES];
byte buffer[PAGES];

byte unbuilt[SOURCES];                  /* per source page: destinations not yet built and left */
byte content[FRAMES];
short pool;                             /* free frames, one bit each ... */
byte free;                              /* ... less those that a builder has taken: which one shows when it publishes */

bool compacting;                        /* the `active` flag: the handler has something to do */
byte inflight;                          /* handlers between entry and exit */

/* the kernel */
byte space[PAGES];                      /* to-space: HOLE = missing */
bool registered;
byte enomem;

byte cycle;
byte running;                           /* mutators between two safepoints: the flip waits for them */
byte passed;                            /* collector threads that saw every page mapped */
bool stalled;
byte plan[MUTATORS];                    /* the pages each mutator will touch: TOUCHES digits in base PAGES */

hidden byte i;

/* [free-frame] From here the frame may be overwritten: by a builder, or as TLAB memory. */
inline give(f) {
  assert(!(pool & (1 << f)));
  content[f] = JUNK;
  pool = pool | (1 << f);
  free++
}

inline flip() {                         /* [flip] every mutator is stopped */
#ifndef MUTANT_FLIP_BEFORE_RESET
  for (i : 0 .. PAGES - 1) { assert(state[i] == untouched && builders[i] == 0) }
#endif
  cycle++;
  pool = 0;
  free = RESERVE;
  for (i : 0 .. PAGES - 1) { space[i] = HOLE }
  for (i : 0 .. SOURCES - 1) {
    content[i] = SOURCE;
    unbuilt[i] = (i == 0 || i == SOURCES - 1 || SLIDES(i - 1) -> 1 : 2)
  }
  for (i : SOURCES .. FRAMES - 1) { content[i] = JUNK; pool = pool | (1 << i) }
  passed = 0;
  registered = true;
  compacting = true;
  i = 0
}

/* [release-source] one destination of source page s is built, and all its builders have left */
inline release(s) {
  assert(unbuilt[s] > 0);
  unbuilt[s]--;
  if
  :: unbuilt[s] == 0 -> give(s)
  :: else
  fi
}

/* The kernel maps p. It does so only where nothing is mapped; that this happens once, from the published buffer and
   with the finished content of this cycle, is the protocol's part. */
inline install(p, b, what) {
  assert(what == PAGE(p));
#ifndef MUTANT_MAPPED_BEFORE_PLACE
  assert(state[p] == built && buffer[p] == b);
#endif
  space[p] = what
}

/* [confirm] built -> mapped; the builders' count stays */
inline confirm(p) {
  if
  :: state[p] == built ->
     state[p] = mapped;
#if defined(COPY) && !defined(MUTANT_EVERY_PLACER_RETURNS)
     if                                 /* by the winner of this CAS alone */
#ifndef MUTANT_SLID_SOURCE_RECYCLED
     :: SLIDES(p) && buffer[p] == p && builders[p] > 0           /* somebody is late with it: it stays until the close */
#endif
     :: else -> give(buffer[p])
     fi
#else
     skip
#endif
#ifndef SLIDE
     ; buffer[p] = 0
#endif
  :: else
  fi
#if defined(COPY) && defined(MUTANT_EVERY_PLACER_RETURNS)
  ; give(f);
  f = NOFRAME
#endif
}

/*
 * What a thread does with page p. Each alternative is one step; todo says which comes next, f and tmp are registers.
 *   looking -> building -> (releasing) -> looking          it built p
 *   looking -> placing -> (copying) -> confirming -> looking
 * The loop is left from [see-mapped], which the caller supplies.
 */
#define looking    0
#define building_p 1
#define uncounted  2                    /* building, but MUTANT_OVERTAKE_UNCOUNTED */
#define unclaimed  3                    /* between load and store, MUTANT_CLAIM_WITHOUT_CAS */
#define unbuffered 4                    /* claimed, no buffer yet, MUTANT_CLAIM_BEFORE_BUFFER */
#define releasing  5
#define placing    6
#define copying    7
#define confirming 8

/* [claim], [overtake], [see-built]: one look at the page word, and the CAS that follows from it. The buffer is taken
   before the claim; without a free one the thread waits for a buffer *or* for the word to change. */
#ifdef MUTANT_CLAIM_BEFORE_BUFFER
#define CAN_BUILD true
#define CLAIMED   todo = unbuffered
#else
#define CAN_BUILD (free > 0)
#define CLAIMED   free--; todo = building_p
#endif
#ifdef MUTANT_CLAIM_WITHOUT_CAS
#define CLAIM(p) free--; todo = unclaimed
#else
#define CLAIM(p) CLAIMED; state[p] = building; builders[p] = 1
#endif
#ifdef MUTANT_OVERTAKE_UNCOUNTED
#define OVERTAKE(p) free--; todo = uncounted
#else
#define OVERTAKE(p) CLAIMED; builders[p]++
#endif
#ifdef MUTANT_NO_OVERTAKE
#define IMPATIENT false
#else
#define IMPATIENT CAN_BUILD
#endif
#define CLAIMABLE(p) (state[p] == untouched && CAN_BUILD)
#define SEE_BUILT(p) f = buffer[p]; todo = BUILT_NEXT
#ifdef MUTANT_MAPPED_BEFORE_PLACE
#define BUILT_NEXT confirming
#else
#define BUILT_NEXT placing
#endif

#ifdef MUTANT_UNREGISTER_EARLY
#define FIRST 1                         /* the sweep forgets a page */
#else
#define FIRST 0
#endif

#ifdef MUTANT_OVERTAKER_OVERWRITES
#define PUBLISHABLE(p) (state[p] == building || state[p] == built)
#else
#define PUBLISHABLE(p) (state[p] == building)
#endif

/* the word says so until it is reset, also when it is mapped */
#ifdef MUTANT_LOSER_RELEASES_SLID
#define SOURCE_PLACED(p) (won && buffer[p] == p)
#else
#define SOURCE_PLACED(p) (buffer[p] == p)
#endif

inline publish(p) {                     /* [publish] */
  /* [build] Sources never become intact again within a cycle, so it is enough, and strongest, to look at them at
     its last moment. The buffer is private until here. Who is late with a page that was placed as it is may find its source
     placed, or moved away (zeros), and throws away what it made; it finds no other page there. */
  assert(SLIDES(p) && state[p] != building && (content[p] == PAGE(p) || content[p] == HOLE) ||
         content[p] == SOURCE && (SLIDES(p) || content[p + 1] == SOURCE));
  i = 0;
  do
  :: (pool & (1 << i)) -> break
  :: else -> i++
  od;
  if
  :: PUBLISHABLE(p) ->
#ifdef MUTANT_OVERTAKER_OVERWRITES
     if
     :: state[p] == built -> give(buffer[p])                     /* the newest copy replaces the published one */
     :: else
     fi;
#endif
     if
#ifdef SLIDE
     :: SLIDES(p) -> free++; i = p                               /* [slide] the source is the buffer, and the own one goes back */
#endif
     :: pool = pool & ~(1 << i)
     fi;
     content[i] = PAGE(p);
     state[p] = built;
     buffer[p] = i;
     won = true
#ifdef MUTANT_REUSE_BEFORE_PLACE
     ; give(i)
#endif
  :: else ->
     free++                                                      /* lost the race: the buffer goes back */
#ifdef MUTANT_PLACE_OWN_BUFFER
     ; f = i
#endif
  fi;
  if
  :: todo == building_p -> assert(builders[p] > 0); builders[p]--; last_out = (builders[p] == 0)
  :: else
  fi;
#ifdef MUTANT_RELEASE_AT_PUBLISH
  last_out = won;                                                /* the winner frees the sources, builders or not */
#endif
  todo = (last_out && !(SLIDES(p) && SOURCE_PLACED(p)) -> releasing : looking);
#ifdef MUTANT_PLACE_OWN_BUFFER
  if
  :: !won -> todo = placing                                      /* from its own buffer, without asking the word */
  :: else
  fi;
#endif
  won = false;
  last_out = false;
  i = 0
}

#ifdef MUTANT_EVERY_PLACER_RETURNS
#define KEEP_BUFFER (todo == confirming)
#else
#define KEEP_BUFFER false
#endif

inline ioctl_place(p) {                 /* [place] p from buffer f, as one look at the word showed it */
  if
  :: !registered -> todo = looking                               /* EINVAL (COPY: ENOENT) */
  :: registered && space[p] != HOLE -> todo = confirming         /* EEXIST: another's, or our own (kernel bug) */
#ifndef COPY
  :: registered && space[p] != HOLE && content[f] == HOLE -> todo = looking   /* ENOENT: raced with the winner */
#endif
  :: registered && space[p] == HOLE && enomem ->                 /* ENOMEM: still built, to be tried again */
     enomem--;
     todo = looking
#ifdef MUTANT_ENOMEM_DROPS_BUFFER
     ; give(f)
#endif
  :: registered && space[p] == HOLE ->
#ifdef COPY
     tmp = content[f];                                           /* the kernel reads the buffer ... */
     todo = copying
#else
     assert(content[f] != HOLE);                                 /* ENOENT on a missing page: its content is lost */
     install(p, f, content[f]);
     content[f] = HOLE;
     todo = confirming
#endif
  fi;
#ifdef MUTANT_MAPPED_BEFORE_PLACE
  todo = (todo == confirming -> looking : todo);                 /* the word was first */
#endif
  f = (todo == copying || KEEP_BUFFER -> f : NOFRAME)
}

#ifdef COPY
inline kernel_copied(p) {               /* ... and installs the page if it is still missing */
  if
  :: !registered -> todo = looking
  :: registered && space[p] == HOLE -> install(p, f, tmp); todo = confirming
  :: registered && space[p] != HOLE -> todo = confirming
  fi;
  tmp = HOLE;
  f = (KEEP_BUFFER -> f : NOFRAME)
}
#define OR_COPY(p) :: atomic { todo == copying -> kernel_copied(p) }
#else
#define OR_COPY(p)
#endif

#ifdef MUTANT_CLAIM_BEFORE_BUFFER
#define OR_BUFFER(p) :: atomic { todo == unbuffered && free > 0 -> free--; todo = building_p }
#else
#define OR_BUFFER(p)
#endif

#ifdef MUTANT_CLAIM_WITHOUT_CAS
#define OR_STORE(p) :: atomic { todo == unclaimed -> todo = building_p; state[p] = building; builders[p] = 1 }
#else
#define OR_STORE(p)
#endif

#ifdef STALL
#define OR_STALL :: atomic { todo != looking && !stalled -> stalled = true; goto end_stalled }
#else
#define OR_STALL
#endif

#ifdef MUTANT_MAPPED_BEFORE_PLACE
#define AFTER_CONFIRM (f == NOFRAME -> looking : placing)
#else
#define AFTER_CONFIRM looking
#endif

#define OR_LOOK(p) \
  :: atomic { todo == looking && CLAIMABLE(p) -> CLAIM(p) } \
  :: atomic { todo == looking && state[p] == building && IMPATIENT -> OVERTAKE(p) } \
  :: atomic { todo == looking && state[p] == built -> SEE_BUILT(p) }

#define OR_WORK(p) \
  :: atomic { todo == building_p || todo == uncounted -> publish(p) } \
  :: atomic { todo == releasing -> release(p); if :: !SLIDES(p) -> release(p + 1) :: else fi; todo = looking } \
  :: atomic { todo == placing -> ioctl_place(p) } \
  :: atomic { todo == confirming -> confirm(p); todo = AFTER_CONFIRM } \
  OR_COPY(p) OR_BUFFER(p) OR_STORE(p) OR_STALL

/* the word is never ahead of the kernel */
#ifdef MUTANT_MAPPED_BEFORE_PLACE
#define MAPPED_IS_MAPPED(p) skip        /* shows by its consequences */
#else
#define MAPPED_IS_MAPPED(p) assert(space[p] != HOLE)
#endif

#define LOCALS byte p; byte f = NOFRAME; byte todo; byte tmp; bool last_out; bool won

proctype Mutator(byte me) {
  LOCALS;
  byte n;
#ifdef MUTANT_READ_BEFORE_ENTER
  bool was_active;
#endif
  do
  :: atomic { n < TOUCHES ->            /* leaves a safepoint: from here the flip waits for this thread */
       running++;
       n++;
       p = plan[me] % PAGES;
       plan[me] = plan[me] / PAGES
     }
     do
     :: atomic { space[p] != HOLE ->                             /* [access] */
          assert(space[p] == PAGE(p));                           /* finished, and of this cycle */
          running--; p = 0;
          break
        }
     :: atomic { space[p] == HOLE ->                             /* [fault] */
          assert(registered)                                     /* else the kernel would fill in zeros */
        }
        /* SIGBUS. Any time may pass before the handler's first instruction. */
#ifdef MUTANT_READ_BEFORE_ENTER
        was_active = compacting;
        inflight++;
#else
        inflight++;                                              /* [enter-handler] */
#endif
        if
#if defined(MUTANT_NO_ACTIVE_CHECK)
        :: true ->
#elif defined(MUTANT_READ_BEFORE_ENTER)
        :: !was_active -> inflight--
        :: was_active -> was_active = false;
#else
        :: atomic { !compacting -> inflight-- }                  /* [late-handler] touches nothing */
        :: compacting ->
#endif
           do
           OR_LOOK(p)
           OR_WORK(p)
           :: atomic { todo == looking && state[p] == mapped ->  /* [see-mapped] */
                MAPPED_IS_MAPPED(p);
                break
              }
           od;
           inflight--                                            /* [leave-handler], then the access again */
        fi
     od
  :: n == TOUCHES -> break
  od;
#ifdef STALL
  goto done;
end_stalled:
  false;
done:
#endif
  skip
}

inline reset_words() {                                           /* [reset] */
  do
  :: atomic { p < PAGES -> state[p] = untouched; builders[p] = 0; buffer[p] = 0; p++ }
  :: atomic { p == PAGES -> p = 0; break }
  od
}

inline release_all() {                                           /* [release-from-space] */
  d_step {
    i = 0;
    do
    :: i < FRAMES -> content[i] = JUNK; i++
    :: else -> break
    od;
    i = 0
  }
}

proctype Collector(byte me) {
  LOCALS;
  byte round = 1;
  bool sweep;
  do
  :: round <= CYCLES && cycle == round ->
     do
     /* [pass] builds what nobody has claimed, places nothing yet */
     :: atomic { todo == looking && !sweep ->
          if
          :: CLAIMABLE(p) -> CLAIM(p)      /* [claim] */
          :: else ->                                             /* [skip] */
             p++;
             if
             :: p == PAGES -> p = FIRST; sweep = true
             :: else
             fi
          fi
        }
     /* [sweep] places, and makes sure that every page gets mapped */
     :: atomic { sweep && todo == looking && CLAIMABLE(p) -> CLAIM(p) }
     :: atomic { sweep && todo == looking && state[p] == building && IMPATIENT -> OVERTAKE(p) }
     :: atomic { sweep && todo == looking && state[p] == built -> SEE_BUILT(p) }
     :: atomic { sweep && todo == looking && state[p] == mapped ->
          MAPPED_IS_MAPPED(p);
          p++;
          if
          :: p == PAGES -> p = 0; sweep = false; round++; passed++; break   /* [join-collectors] */
          :: else
          fi
        }
     OR_WORK(p)
     od;
     if
     :: me == 0 ->                                               /* this one closes */
#ifndef MUTANT_NO_COLLECTOR_JOIN
#ifdef STALL
end_join:
#endif
        passed == COLLECTORS;
#endif
#if !defined(MUTANT_ACTIVE_AFTER_DRAIN) && !defined(MUTANT_ACTIVE_UNFENCED)
        compacting = false;                                      /* [deactivate] an exchange, not a store */
#endif
        registered = false;                                      /* [unregister] */
#ifdef MUTANT_RELEASE_BEFORE_DRAIN
        release_all();
#endif
#ifdef MUTANT_RESET_BEFORE_DRAIN
        reset_words();
#endif
#ifdef STALL
end_drain:
#endif
        inflight == 0;                                           /* [drain] */
#ifdef MUTANT_ACTIVE_UNFENCED
        compacting = false;             /* a plain store before the load above: x86 lets the load pass it */
#endif
#if !defined(MUTANT_RESET_BEFORE_DRAIN) && !defined(MUTANT_FLIP_BEFORE_RESET)
        reset_words();
#endif
#ifdef MUTANT_ACTIVE_AFTER_DRAIN
        compacting = false;
#endif
#ifndef MUTANT_RELEASE_BEFORE_DRAIN
        release_all();
#endif
        if
        :: round <= CYCLES ->
           atomic { running == 0 -> flip() }
#ifdef MUTANT_FLIP_BEFORE_RESET
           reset_words()
#endif
        :: round > CYCLES
        fi
     :: me != 0
     fi
  :: round > CYCLES -> break
  od;
#ifdef STALL
  goto done;
end_stalled:
  false;
done:
#endif
  skip
}

#define PLANS_1 PAGES
#define PLANS_2 (PAGES * PAGES)
#define PLANS_3 (PAGES * PAGES * PAGES)
#if TOUCHES == 1
#define PLANS PLANS_1
#elif TOUCHES == 2
#define PLANS PLANS_2
#else
#define PLANS PLANS_3
#endif

init {
  byte m;
  atomic {                              /* mutators are alike, so only plans in non-decreasing order are tried */
    do
    :: m < MUTATORS ->
       do
       :: plan[m] < PLANS - 1 -> plan[m]++
       :: break
       od;
       if
       :: m + 1 < MUTATORS -> plan[m + 1] = plan[m]
       :: else
       fi;
       m++
    :: else -> break
    od;
    m = 0;
    enomem = ENOMEMS;
    flip();
    do
    :: m < MUTATORS -> run Mutator(m); m++
    :: else -> m = 0; break
    od;
    do
    :: m < COLLECTORS -> run Collector(m); m++
    :: else -> m = 0; break
    od
  }
}
