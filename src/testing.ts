/// <reference lib="esnext.disposable" preserve="true" />
/**
 * What tests and stress programs need beyond the public API: the graph hash, stepping, planted damage, seeded numbers.
 * Nothing here belongs into a program that is not a test.
 *
 * @packageDocumentation
 */
import type { Heap } from './glissade.js'
import { graphHash as hashOf, type GraphHash } from './gc/graph-hash.js'

export type { GraphHash } from './gc/graph-hash.js'
export { tuned } from './testing/tuned.js'
export type { NativeTuning } from './gc/native.js'
export { Random, seedFromEnvironment } from './testing/random.js'
export { corrupt, type Corruption } from './testing/corrupt.js'
export { step, stepCycle, SteppedCycle } from './testing/stepping.js'
export type { Actor, HoldPoint, PageKind, PageState, Rest, SteppedPage, Turn } from './testing/stepping.js'

/**
 * A canonical hash of everything the strong roots reach, whatever its addresses: the same program gives the same hash
 * over every collector. A safepoint, like `heap.verify()`.
 */
export function graphHash(heap: Heap): GraphHash {
  return heap._inspectStopped(hashOf)
}
