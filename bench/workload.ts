// What the throughput and latency programs have in common: each is written twice, on a heap and on plain JavaScript
// objects, does the same operations in the same order (seeded), and checks its own result on both.
//
// A step is the program's own unit of work (a push, a tree, a request); its latency is what the person who waits for it
// sees.

import type { Heap, Mutator } from 'glissade'
import type { Selection } from './bench.js'
import type { StepClock } from './step-clock.js'

export type Parameters = { readonly [name: string]: number }

/** One configuration of a program. */
export interface Variant {
  /** What distinguishes it, for the row's `workload`. */
  readonly name: string
  readonly parameters: Parameters
  /** Budget of the heap in MiB, for all systems that take one. */
  readonly heapMiB: number
  /** What the whole program allocates, in MiB on the heap: `none` runs only if that fits. */
  readonly totalMiB: number
  /** Steps a second; absent: full speed. */
  readonly rate?: number
  readonly runs?: number
  /** Switches of node for the version on plain objects. */
  readonly v8Flags?: readonly string[]
  /** Seconds of the machine's own floor beside it. */
  readonly floorS?: number
}

export interface Workload {
  readonly name: string
  readonly summary: string
  /** What progress is counted in, for utilisation: steps if all are of one size; null: nothing fine enough. */
  readonly progress: 'steps' | 'nodes' | null
  /** Peers under bench/peers that have the program. */
  readonly peers?: readonly ('java' | 'boehm')[]
  variants(selection: Selection): readonly Variant[]
  heap(heap: Heap, m: Mutator, clock: StepClock, parameters: Parameters): void
  plain(clock: StepClock, parameters: Parameters): void
}

/** A generator of numbers that both versions of a program share; [0, 2³²). */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    // xorshift32: the low bits of a linear congruential generator repeat too soon to pick array elements by.
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state >>> 0
  }
}

/** Fails the run: a benchmark that computes something else measures nothing. */
export function expectSame(what: string, found: number, expected: number): void {
  if (found !== expected) throw new Error(`${what}: ${found} instead of ${expected}`)
}
