// The types of the addon: what native/binding exports (ARCHITECTURE.md, "The native border").

import type { HeapMemory } from '../heap/memory.js'
import type { Probe } from './capabilities.js'
import type { RawStatistics } from './collector.js'

/** Numbers in, as the core takes them: bytes, counts, 0 or 1. */
export interface NativeHeapOptions {
  readonly maxBytes: number
  readonly maxRootBytes: number
  /** The longest ArrayBuffer of this Node. */
  readonly bufferLimit: number
  /** The heap may grow to so many times what lives. */
  readonly growth: number
  readonly collectorThreads: number
  /** 1: all of them in each phase that has work for them; 0: as many as bring more than they cost. */
  readonly allThreads: number
  /** 0 auto, 1 move, 2 copy. */
  readonly relocation: number
  /** 0 sigbus, 1 thread. */
  readonly faults: number
  /** 1: every collection moves all but large objects to addresses not used lately (checked heaps). */
  readonly freshWindows: number
  /** 1: freed memory faults at once (native/core/verification/protection.h). */
  readonly protect: number
  readonly stepping: number
  /** 0 to 4: native/core/verification/verification.h. */
  readonly verify: number
}

/** What the core can be told beyond the options of a heap; for tests and benchmarks (`tuned` of glissade/testing). */
export interface NativeTuning {
  /** 1: every collection moves all but large objects, unchecked heaps' too. */
  readonly freshWindows?: number
  /** The heap may grow to this, whatever is live; the first cycle begins there, or at half of maxBytes. */
  readonly minBytes?: number
  /**
   * Garbage is reused in place: 0 never (a cycle that gains enough compacts), 1 where that will do, 2 in holes for one
   * object, too, wherever it is.
   */
  readonly reuse?: number
  /**
   * Cycles that keep the marks of the one before, if nothing has moved: 0 never, 1 where they pay, 2 always, also in three
   * of four collections that are asked for.
   */
  readonly young?: number
  /** Pages that faults may take from the kernel before those beside them are built first; 0: a part of what is compacted. */
  readonly overdraft?: number
  /** The time in which a heap forgets half of the memory that it needs no longer, in milliseconds; 0: at once. */
  readonly retentionMs?: number
  /** Built pages that the collector places in one call, at the most. */
  readonly placingBatch?: number
}

export interface NativeHeap extends HeapMemory {
  readonly id: number
  /** Ref of the moving space's first word; pointer-free large objects lie below. */
  readonly movingStart: number
  attach(): number
  detach(mutator: number): void
  /** Ends `run` for the collector, before its callback returns. Twice is once. */
  leave(mutator: number): void
  run<T>(mutator: number, fn: () => T): T
  parked<T>(mutator: number, fn: () => T): T
  poll(mutator: number): void
  allocate(mutator: number, shapeId: number, word1: number, granules: number): number
  allocateReserved(mutator: number, shapeId: number, word1: number, granules: number): number
  /** With a mutator (-1: this thread has none) it waits, parked, for areas that come back at the end of a cycle. */
  createArea(kind: number, slots: number, owner: number, mutator?: number): number
  freeArea(area: number): void
  collect(mutator: number): number
  collectAsync(): Promise<void>
  step(mutator: number, gates: number): number
  stopped<T>(mutator: number, fn: () => T): T
  defining<T>(fn: () => T): T
  /** What is wrong with the cards, while a stepping cycle rests before its remark; empty otherwise. */
  checkCards(): string
  stats(): RawStatistics
  /** Five numbers to an entry: time (CLOCK_MONOTONIC, ns), phase, bytes used, barrier faults, allocation stalls. */
  phaseLog(): Float64Array
  close(): void
}

/** What a heap made with `stepping` has besides; native/binding/stepping.cc says what each does. */
export interface NativeStepping {
  rest(): number
  portion(objects: number): void
  marked(): number
  pageWord(page: number): number
  pageKind(page: number): number
  pageContent(page: number): readonly number[]
  compactPage(page: number): boolean
  holdPage(page: number, point: number): boolean
  releasePage(): void
  touch(page: number): boolean
  interleave(page: number, order: Uint8Array): readonly NativeTurn[] | null
}

/** One turn of a schedule: actors 0 and 1, hold points by number, the page's word before and after. */
export interface NativeTurn {
  readonly actor: number
  readonly from: number
  readonly enabled: number
  readonly before: number
  readonly after: number
}

export interface NativeBinding {
  readonly stepping: { readonly [list: string]: readonly string[] }
  readonly layout: { readonly [name: string]: number }
  probe(): Probe
  create(options: NativeHeapOptions & NativeTuning): NativeHeap
  open(id: number): NativeHeap
  /**
   * Calls `fn`; where it does not return, the mutator block at `block` is one that inspects nothing, and has no TLAB, nothing reserved
   * and that running word.
   */
  frame<T>(fn: () => T, control: Int32Array, block: number, running: number): T
  /** Puts the collector's SIGBUS handler back over one that replaced it, and hands on to that. */
  reinstallHandler(): void
  configureInjection(rules: string, seed: number): string | undefined
  injectionCounts(): { readonly [rule: string]: number }
}

/** An error thrown by the binding. */
export interface NativeError extends Error {
  readonly code: string
  readonly errno?: number
  readonly page?: number
}
