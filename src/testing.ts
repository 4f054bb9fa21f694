/**
 * What tests and stress programs need beyond the public API: the graph hash, stepping, planted damage, seeded numbers.
 * Nothing here belongs into a program that is not a test.
 *
 * @packageDocumentation
 */
import type { Heap } from './glissade.js'
import { graphHash as hashOf, type GraphHash } from './gc/graph-hash.js'
import { PHASE_NAMES } from './heap/layout.js'

export type { GraphHash } from './gc/graph-hash.js'
export { tuned } from './testing/tuned.js'
export { Random, seedFromEnvironment } from './testing/random.js'
export { corrupt, type Corruption } from './testing/corrupt.js'

/**
 * A canonical hash of everything the strong roots reach, whatever its addresses: the same program gives the same hash
 * over every collector. Like a safepoint it wants live references in published root slots.
 */
export function graphHash(heap: Heap): GraphHash {
  return heap._inspect((core) => {
    core.collector.pauseMutators(core.mutatorIndex)
    try {
      return hashOf(core)
    } finally {
      core.collector.resumeMutators(core.mutatorIndex)
    }
  })
}

/**
 * Lets a collection of a heap made with `stepping: true` pass `gates` gates, starting one if none is under way; returns
 * the phase it then is in. A portable collector makes one whole collection. Inside run it is a safepoint.
 */
export function step(heap: Heap, gates = 1): (typeof PHASE_NAMES)[number] {
  const core = heap._core
  core.checkOpen()
  const phase = core.collector.step(core.running ? core.mutatorIndex : -1, gates)
  if (core.running) core.checked?.sync()
  return PHASE_NAMES[phase]
}
