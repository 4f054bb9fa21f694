// What generated code of one mutator closes over. One per mutator, made when the thread first runs.

/** Bindings of generated allocators. */
export interface AllocatorEnvironment {
  readonly heapId: number
  readonly mutator: number
  readonly control: Int32Array
  readonly i32: Int32Array
  /** Stress and checked heaps: no fast path, every allocation goes through `slow`. */
  readonly everyAllocationSlow: boolean
  /** The slow path: a safepoint; returns a Ref or throws. */
  readonly slow: (shapeId: number, word1: number, granules: number) => number
  /** Makes room in the TLAB for what is reserved; a safepoint. */
  readonly reserveSlowly: (bytes: number) => void
}
