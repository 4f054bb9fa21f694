// What a heap asks of its collector: the only thing of src/gc that src/heap knows.
//
// Implementations: `concurrent` (drives native/core), `stop-the-world` and `none` (portable TypeScript). All calls come
// from the JS thread that owns the mutator index given (−1: the thread is no mutator, or is parked). A call marked
// *safepoint* may move every object: raw Refs held across it are dead.

import type { PHASE_NAMES } from '../heap/layout.js'
import type { HeapMemory } from '../heap/memory.js'

/** The collectors a heap can have. */
export type CollectorName = 'concurrent' | 'stop-the-world' | 'none'

/** A kind of stall, in microseconds. */
export interface HistogramSummary {
  readonly count: number
  /** Of all of them together. */
  readonly sum: number
  readonly p50: number
  readonly p99: number
  readonly p999: number
  readonly p9999: number
  readonly max: number
  /** The histogram: upper edge and count of every bucket that is not empty. Buckets are at most 3 % wide. */
  readonly buckets: readonly (readonly [edge: number, count: number])[]
}

/** That a collection entered a phase, and what the heap counted then. */
export interface PhaseChange {
  /** Milliseconds, on the clock of `performance.now()` of this thread. */
  readonly at: number
  readonly phase: (typeof PHASE_NAMES)[number]
  readonly bytesUsed: number
  /** Since the heap was created, as `heap.stats()` counts them. */
  readonly barrierFaults: number
  /** Allocations that waited, naps included, since the heap was created: the count of `pauses.allocationStall`. */
  readonly allocationStalls: number
}

/** What a collector counted, under its own names; src/gc/statistics.ts gives them their public form. */
export interface RawStatistics {
  readonly counters: { readonly [name: string]: number }
  readonly histograms: { readonly [name: string]: HistogramSummary }
  /** Errors that system calls returned and that were dealt with, by call and errno. */
  readonly errors?: { readonly [call: string]: { readonly [errno: string]: number } }
}

/** A word range `[start, end)` of the heap buffer that must read as zeros. */
export interface WordRange {
  readonly start: number
  readonly end: number
}

/** Told by a portable collector of a checked heap where objects begin after a collection. */
export interface CheckedObserver {
  /** Every object start known so far is void. */
  forgetObjects(): void
  /** A live object begins at `ref` after the collection that is ending. */
  objectAt(ref: number): void
}

export interface Collector {
  readonly name: CollectorName
  readonly memory: HeapMemory

  /** A mutator block for this thread; it starts parked. −1: none is left. */
  attach(): number
  detach(mutator: number): void
  /** Calls `fn` with the mutator running, and leaves it as it was, whatever happens. Entering and leaving are safepoints. */
  run<T>(mutator: number, fn: () => T): T
  /** Calls `fn` with the mutator parked, from inside `run`. A safepoint. */
  parked<T>(mutator: number, fn: () => T): T
  /** Safepoint. Throws ERR_INVALID_HEAP, as `allocateSlow` does, where the collector's verification has found a violation. */
  poll(mutator: number): void
  /**
   * Allocates what the TLAB cannot hold, header written and payload zero. A safepoint.
   * 0: exhausted even after a full collection.
   */
  allocateSlow(mutator: number, shapeId: number, word1: number, granules: number): number
  /** Allocates what the TLAB can hold, whoever asks for a stop. No safepoint. 0: it does not fit. */
  allocateReserved(mutator: number, shapeId: number, word1: number, granules: number): number

  /**
   * A root area of `slots` slots (see AreaKind), which is its capacity; −1: no room. Areas that were freed during a
   * concurrent cycle come back at its end: with `mayWait` the call waits for that, and is a safepoint.
   */
  createArea(kind: number, slots: number, owner: number, mayWait: boolean): number
  freeArea(area: number): void

  /** A whole cycle before it returns; a safepoint. Returns the number of cycles completed. */
  collect(mutator: number): number
  /** A whole cycle, not on this thread where the collector can. The caller is outside `run`. */
  collectAsync(): Promise<void>
  /** Stepping heaps: lets the cycle pass so many gates; returns the phase reached. Portable: one whole cycle. */
  step(mutator: number, gates: number): number

  /**
   * Calls `fn` with every other mutator stopped and this one's TLAB closed, for inspection; resumes them, and clears its inspecting
   * word, whatever happens. A safepoint. The thread is inside `run`.
   */
  stopped<T>(mutator: number, fn: () => T): T
  /** Calls `fn`, which has no safepoint, for one thread with this heap at a time, whatever ends it. */
  defining<T>(fn: () => T): T

  /** A reference that a collection under way would miss because its card is clean; empty where none is known. */
  checkCards(): string
  statistics(): RawStatistics
  /** The latest changes of phase, oldest first. */
  phaseLog(): readonly PhaseChange[]
  /** Whether `maxBytes` has room for `bytes` more: where they did not fit, addresses are missing. */
  withinBudget(bytes: number, maxBytes: number): boolean
  /** Ranges that the collector says are free and zero; for verification. Empty where it cannot tell. */
  freeRanges(): readonly WordRange[]
  /** Something another thread can open the same heap with, or null. */
  shareId(): number | null
  observe(observer: CheckedObserver): void
  /** This isolate is done with the heap, which others may go on with. Twice is once. */
  leave(): void
  /** Ends the heap, for all. */
  close(): void
}
