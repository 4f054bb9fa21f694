// What a stress run exercised: one table of figures, added up over threads, heaps and episodes.

import type { Heap } from '../../index.js'

export interface Tally {
  /** Steps of workloads. */
  steps: number
  /** Comparisons of a whole structure with its model. */
  modelChecks: number
  /** Heaps verified from outside, by heap.verify(). */
  heapChecks: number
  /** Checks that the collector made of itself (option verify). */
  selfChecks: number
  /** Programs whose graph was the same over every collector that this machine has. */
  programs: number
  /** Milliseconds that these programs took. */
  programMs: number
  heaps: number
  collections: number
  flips: number
  /** Collections that kept the marks of the one before. */
  youngCycles: number
  pagesMoved: number
  pagesCopied: number
  pagesZeroFilled: number
  pagesKept: number
  barrierFaults: number
  injected: number
  /** Times a heap was full, said so, and went on. */
  exhausted: number
}

export function emptyTally(): Tally {
  return {
    steps: 0,
    modelChecks: 0,
    heapChecks: 0,
    selfChecks: 0,
    programs: 0,
    programMs: 0,
    heaps: 0,
    collections: 0,
    flips: 0,
    youngCycles: 0,
    pagesMoved: 0,
    pagesCopied: 0,
    pagesZeroFilled: 0,
    pagesKept: 0,
    barrierFaults: 0,
    injected: 0,
    exhausted: 0,
  }
}

export function add(to: Tally, from: Partial<Tally>): void {
  for (const [name, amount] of Object.entries(from)) to[name as keyof Tally] += amount
}

/** What the collector of `heap` counted since its creation. */
export function countHeap(heap: Heap): Partial<Tally> {
  const { collections, epoch, pages, barrierFaults, raw } = heap.stats()
  return {
    heaps: 1,
    collections,
    // The portable collectors do not count theirs: each is one.
    flips: raw.counters['flips'] ?? epoch,
    youngCycles: raw.counters['youngCycles'] ?? 0,
    pagesMoved: pages.moved,
    pagesCopied: pages.copied,
    pagesZeroFilled: pages.zeroFilled,
    pagesKept: pages.kept,
    barrierFaults,
    selfChecks: raw.counters['verifications'] ?? 0,
  }
}
