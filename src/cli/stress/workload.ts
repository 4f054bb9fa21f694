// What a stress workload is: real structures in the heap beside a shadow model of them in plain JavaScript.
//
// An activity is one workload in one thread of one heap. Its steps are drawn from its own seeded numbers and from nothing
// else (no clock, no addresses), so the same seed makes the same program whatever the collector does meanwhile. All calls
// come from inside run. A step changes heap and model together; where it allocates it does so before it changes either,
// or keeps the half-built object in a root slot of its own, so that exhaustion leaves something to `reset`.

import { layout, Tag, Tagged, type Heap, type Mutator, type RawValue, type Ref } from '../../index.js'
import type { Random } from '../../testing.js'

export interface WorkloadContext {
  readonly heap: Heap
  readonly random: Random
  /** Bytes of live data that this activity may keep, roughly. */
  readonly budget: number
  /** A root table that every thread of the heap knows; raw indices, because areas have one owner. */
  readonly exchange: ExchangeTable
  /** False where collections free nothing (`none`), or not everything (those that keep marks). */
  readonly collects: boolean
}

/** A `ref` table as every isolate can address it: slots `[base, base + slots)` of the root view. */
export interface ExchangeTable {
  readonly base: number
  readonly slots: number
}

export interface Activity {
  /** A few operations. */
  step(m: Mutator): void
  /** Compares everything with the model; throws Mismatch. Allocates nothing. */
  check(m: Mutator): void
  /** Lets go of everything, in heap and model. */
  reset(m: Mutator): void
}

export interface Workload {
  readonly name: string
  /** One line for the help. */
  readonly summary: string
  /** Root areas that it may hold in one thread, those of its handles included; 1 where nothing is said. */
  readonly areas?: number
  start(context: WorkloadContext, m: Mutator): Activity
}

/**
 * Those of `workloads` that each of `threads` threads takes on: all, or as many as fit into its share of a heap's root areas,
 * beginning with another one for another seed. They are the same in all threads, which share the shapes of the first.
 */
export function fitting(workloads: readonly Workload[], seed: number, threads: number): Workload[] {
  // One area is the exchange table.
  let left = Math.floor((layout.MAX_AREAS - 1) / threads)
  const from = seed % workloads.length
  return [...workloads.slice(from), ...workloads.slice(0, from)]
    .filter(({ areas = 1 }) => {
      if (areas > left) return false
      left -= areas
      return true
    })
    .sort((a, b) => workloads.indexOf(a) - workloads.indexOf(b))
}

/** The heap and the model disagree. */
export class Mismatch extends Error {
  override name = 'Mismatch'
}

/** Throws a Mismatch unless both are the same (NaN is itself, −0 is not 0). */
export function same(what: () => string, found: unknown, expected: unknown): void {
  if (Object.is(found, expected)) return
  throw new Mismatch(`${what()} is ${print(found)}, the model says ${print(expected)}`)
}

function print(value: unknown): string {
  if (value instanceof Tagged) return `tag ${value.tag.toString(16)} payload ${value.payload}`
  return Object.is(value, -0) ? '-0' : String(value)
}

const USER_TAGS = [Tag.User0, Tag.User1, Tag.User2, Tag.User3] as const

/** Values of every kind as a function of a number, so that a model need keep only the number. */
export function storeSample(m: Mutator, object: Ref, at: number, id: number): void {
  switch (id % 8) {
    case 0:
      return m.setValueInt(object, at, id | 0)
    case 1:
      return m.setValueBool(object, at, (id & 8) !== 0)
    case 2:
      return m.setValueNil(object, at)
    case 3:
      return m.setValueUndefined(object, at)
    case 4:
      // An integer that looks like a Ref under the embedder's tag: no collector may follow it.
      return m.setValueTagged(object, at, USER_TAGS[id & 3], object)
    case 5:
      return m.setValueNumber(object, at, wildNaN())
    case 6:
      return m.setValueNumber(object, at, -0)
    default:
      return m.setValueNumber(object, at, id * 1.25)
  }
}

/** Whether `found` is what {@link storeSample} of `id` stores. */
export function isSample(found: RawValue, id: number): boolean {
  switch (id % 8) {
    case 0:
      return found === (id | 0)
    case 1:
      return found === ((id & 8) !== 0)
    case 2:
      return found === null
    case 3:
      return found === undefined
    case 4:
      return found instanceof Tagged && found.tag === Tag.User0 + (id & 3)
    case 5:
      return Number.isNaN(found)
    case 6:
      return Object.is(found, -0)
    default:
      return found === id * 1.25
  }
}

const bits = new DataView(new ArrayBuffer(8))
/** A NaN whose bits would read as a reference, were it stored as it is. */
function wildNaN(): number {
  bits.setUint32(0, 0x7ffe0000)
  bits.setUint32(4, 0x00010000)
  return bits.getFloat64(0)
}
