// The slow path of every allocation of one mutator: checks, stress, the collector, exhaustion.
//
// A safepoint. Under stress, and in checked heaps, generated allocators have no fast path and every allocation comes
// here; otherwise only those that the TLAB cannot hold.

import { Cause } from '../gc/collector.js'
import type { HeapCore } from './heap-core.js'
import { LARGE_BYTES, MUTATOR_BASE, MUTATOR_WORDS, MutatorWord } from './layout.js'

export interface SlowPath {
  readonly everyAllocationSlow: boolean
  readonly slow: (shapeId: number, word1: number, granules: number) => number
}

export function createSlowPath(core: HeapCore, mutator: number): SlowPath {
  const { collector, options, checked } = core
  const { everyAllocations, everySite, everySafepoint } = options.stress
  const stress = everyAllocations > 0 || everySite || everySafepoint
  const sites = new Set<number>()
  let allocations = 0

  const isDue = (): boolean => {
    if (everySafepoint) return true
    if (everyAllocations > 0 && ++allocations % everyAllocations === 0) return true
    if (!everySite) return false
    const before = sites.size
    return sites.add(callSite()).size > before
  }

  const { control, i32 } = core.views
  const topWord = MUTATOR_BASE + mutator * MUTATOR_WORDS + MutatorWord.TlabTop
  const limitWord = MUTATOR_BASE + mutator * MUTATOR_WORDS + MutatorWord.TlabLimit

  /** What the generated fast path does, for those who have none. 0: the TLAB is too short. */
  const bump = (shapeId: number, word1: number, granules: number): number => {
    const top = control[topWord]
    const next = top + granules * 2
    if (granules * 8 >= LARGE_BYTES || next > control[limitWord]) return 0
    control[topWord] = next
    i32[top + 1] = word1
    i32[top] = shapeId
    return top
  }

  return {
    everyAllocationSlow: stress || checked !== null,
    slow(shapeId, word1, granules) {
      core.checkRunning('an allocator')
      if (stress && isDue()) collector.collect(mutator, Cause.Stress)
      let ref = bump(shapeId, word1, granules)
      if (ref === 0) ref = collector.allocateSlow(mutator, shapeId, word1, granules) | 0
      if (ref === 0) throw core.exhausted(granules * 8)
      if (checked !== null) {
        // First the table of what survived, then the object that no root holds yet.
        checked.sync()
        checked.objectAt(ref)
      }
      return ref
    },
  }
}

/** Where this module lies: frames from there, and from text it generated, are not the program's. */
const LIBRARY = new URL('.', import.meta.url).href

/** A hash of the call stack outside the library: distinct sites are what everySite stress counts. */
function callSite(): number {
  let hash = 0x811c9dc5
  for (const frame of (new Error().stack ?? '').split('\n').slice(1)) {
    if (frame.includes(LIBRARY)) continue
    for (let i = 0; i < frame.length; i++) hash = Math.imul(hash ^ frame.charCodeAt(i), 0x01000193)
  }
  return hash
}
