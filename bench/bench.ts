// What a benchmark is: named cases, each of which runs in a process of its own.
//
// Fresh processes, because a JIT remembers: type feedback of one case changes the code of the next, one detached buffer
// slows every typed array of the isolate, and peak memory cannot be reset.

import type { Outcome, Row } from './rows.js'

export interface Case {
  readonly bench: string
  /** What runs. */
  readonly workload: string
  /** On what it runs: a collector of glissade, V8's heap, or a peer. */
  readonly system: string
  readonly parameters: { readonly [name: string]: string | number | boolean }
  /** Runs of this case; the suite's `--runs` overrides it. */
  readonly runs?: number
  /** Switches of node for the process. */
  readonly nodeFlags?: readonly string[]
}

export interface Selection {
  /** The whole suite in two minutes: smaller sizes, one run. */
  readonly quick: boolean
}

export interface Bench {
  readonly name: string
  readonly summary: string
  /** What progress is counted in, where it is. */
  readonly progressIn?: 'steps' | 'nodes'
  /** The cases in an order that puts those to be compared side by side; what cannot run here is told to `skip`. */
  cases(selection: Selection, skip: (why: string) => void): readonly Case[]
  /** Of the cases that were chosen, those that can run here; makes ready what they need (a compiler's work, not theirs). */
  prepare?(chosen: readonly Case[], skip: (why: string) => void): readonly Case[]
  /** Runs one case, in its own process. */
  run(one: Case): Outcome | Promise<Outcome>
  /** The rows of one case from its runs, for cases that measure several things at once; default: one row. */
  rows?(one: Case, outcomes: readonly Outcome[]): readonly Row[]
  /** Adds figures that compare rows (ratios). */
  compare?(rows: readonly Row[]): readonly Row[]
}
