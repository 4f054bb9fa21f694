/// <reference lib="esnext.disposable" preserve="true" />
/**
 * glissade: a managed heap for language runtimes, with a collector that moves objects while the program runs.
 *
 * ```ts
 * import { Heap } from 'glissade'
 *
 * const heap = Heap.create({ maxBytes: '64m' })
 * const Node = heap.defineShape('Node', { next: 'ref', key: 'f64' })
 * heap.run((m) => {
 *   m.scoped((scope) => {
 *     const first = scope.new(Node, { key: 1 })
 *     first.next = scope.new(Node, { key: 2 })
 *   })
 * })
 * heap.close()
 * ```
 *
 * @packageDocumentation
 */
export { Heap, type HeapToken } from './glissade.js'
export { STATISTICS_DOCS, type HeapStatistics } from './gc/statistics.js'
export type { Census, CensusOptions, Count, ShapeCount } from './inspection/census.js'
export type { Labels } from './inspection/labels.js'
export type { PathOptions, Target } from './inspection/path-to-root.js'
export type { SnapshotOptions } from './inspection/snapshot.js'
export type { VerifyOptions, VerifyReport, Violation } from './gc/verify.js'
export type { Capabilities } from './gc/open-collector.js'
export type { CollectorName, HistogramSummary, PhaseChange } from './gc/collector.js'
export { ERROR_CODES, HeapError, type ErrorCode } from './heap/errors.js'
export { layout, Tag, type UserTag } from './heap/layout.js'
export { OPTIONS, type HeapOptions, type ParsedOptions } from './heap/options.js'
export {
  Shape,
  ArrayShape,
  type AnyShape,
  type ArrayOptions,
  type SlotKind,
  type SlotTable,
  type WeakArray,
} from './heap/shapes.js'
export { Tagged, type PlainNumber, type RawValue, type Ref } from './heap/values.js'
export type { Mutator } from './heap/mutator.js'
export type { ArrayAllocator, FixedAllocator } from './heap/allocation.js'
export type { RootContent, RootKind, RootOptions, Roots, RootStack, RootTable } from './heap/roots.js'
export { Handle } from './heap/handles.js'
export type { ArrayHandle, HandleValue, ObjectHandle, ObjectInit, SlotType } from './heap/handles.js'
export type { Global, Scope, Weak } from './heap/scopes.js'
export type { Guardian } from './heap/guardians.js'
