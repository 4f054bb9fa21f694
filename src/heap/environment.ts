// What generated code of one mutator closes over. One per mutator, made when the thread first runs.

/** What generated allocators call where their fast path does not do (slow-path.ts). */
export interface SlowPath {
  /** Stress and checked heaps: no fast path, every allocation goes through `slow`. */
  readonly everyAllocationSlow: boolean
  /** The slow path: a safepoint; returns a Ref or throws. */
  readonly slow: (shapeId: number, word1: number, granules: number) => number
  /** What `m.reserve` does where the TLAB is too short, or has no fast path: makes room in it; a safepoint. */
  readonly reserveSlowly: (bytes: number) => void
}

/** Bindings of generated allocators. */
export interface AllocatorEnvironment extends SlowPath {
  readonly heapId: number
  readonly mutator: number
  readonly control: Int32Array
  readonly i32: Int32Array
}
