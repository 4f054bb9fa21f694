// Binary trees, on the heap and in plain objects: what binary-trees, GCBench and others build and check.
//
// The heap's version keeps every reference in a root stack across safepoints and publishes exactly the slots in use before
// each, as an interpreter would. Small subtrees are one safepoint: room for all their nodes is made at once.
// Nodes are 16 bytes: header, left, right.
//
// Trees differ in size, so progress is counted in nodes built: by the tree where it is small, and after each subtree of
// COUNTED_DEPTH where it is larger, some twenty microseconds apart.

import type { Heap, Mutator, RootStack, Shape } from 'glissade'
import type { StepClock } from '../step-clock.js'

export const COUNTED_DEPTH = 9
export const nodes = (depth: number): number => 2 ** (depth + 1) - 1
/** Subtrees up to this depth are built after one `m.reserve`. */
const RESERVED_DEPTH = 4
const COUNTED = nodes(COUNTED_DEPTH)
/** The nodes of a tree that building it has not counted. */
export const uncounted = (depth: number): number => (depth < COUNTED_DEPTH ? nodes(depth) : 0)

export interface HeapTrees {
  /** A complete tree of `depth`; slots from `sp` up are free. The Ref is good until the next safepoint. */
  build(depth: number, sp: number): number
  /** Nodes of the tree. */
  check(tree: number): number
  /** The root stack: `rootsI32[base + n]`. */
  readonly base: number
  /** Makes `slots` slots live, and tells the collector about no more. */
  publish(slots: number): void
}

/**
 * What builds complete trees of objects of `shape` on a heap. `stack` is a root stack of the caller's: slots from `sp` up are free. The
 * Ref that `build` returns is good until the next safepoint.
 */
export function treeBuilder(
  m: Mutator,
  shape: Shape<{ left: 'ref'; right: 'ref' }>,
  stack: RootStack,
  clock: StepClock,
): (depth: number, sp: number) => number {
  const { i32, rootsI32, control, reserve } = m
  const { base, topIndex } = stack
  const allocate = m.allocator(shape)
  const { left: leftAt, right: rightAt } = shape.at
  const reserved = nodes(RESERVED_DEPTH) * 8 * shape.granules
  const buildReserved = (depth: number): number => {
    if (depth === 0) return allocate()
    const left = buildReserved(depth - 1)
    const right = buildReserved(depth - 1)
    const made = allocate()
    i32[made + leftAt] = left | 0
    i32[made + rightAt] = right | 0
    return made
  }
  const build = (depth: number, sp: number): number => {
    if (depth <= RESERVED_DEPTH) {
      control[topIndex] = sp
      reserve(reserved)
      return buildReserved(depth)
    }
    // Without `| 0` what a call returns would be stored by way of a double.
    rootsI32[base + sp] = build(depth - 1, sp) | 0
    rootsI32[base + sp + 1] = build(depth - 1, sp + 1) | 0
    control[topIndex] = sp + 2
    const made = allocate()
    // Nobody else knows it yet: no cards.
    i32[made + leftAt] = rootsI32[base + sp]
    i32[made + rightAt] = rootsI32[base + sp + 1]
    if (depth === COUNTED_DEPTH) clock.work(COUNTED)
    return made
  }
  return build
}

export function heapTrees(heap: Heap, m: Mutator, clock: StepClock): HeapTrees {
  const pair = heap.defineShape('Pair', { left: 'ref', right: 'ref' })
  const stack = m.roots.stack('ref', 256)
  const { i32, control } = m
  const { left: leftAt, right: rightAt } = pair.at
  const check = (tree: number): number => {
    const left = i32[tree + leftAt]
    return left === 0 ? 1 : 1 + check(left) + check(i32[tree + rightAt])
  }
  return {
    build: treeBuilder(m, pair, stack, clock),
    check,
    base: stack.base,
    publish(slots) {
      control[stack.topIndex] = slots
    },
  }
}

export class Pair {
  constructor(
    readonly left: Pair | null,
    readonly right: Pair | null,
  ) {}
}
export function build(depth: number, clock: StepClock): Pair {
  if (depth === 0) return new Pair(null, null)
  const made = new Pair(build(depth - 1, clock), build(depth - 1, clock))
  if (depth === COUNTED_DEPTH) clock.work(COUNTED)
  return made
}
export function check(tree: Pair): number {
  return tree.left === null ? 1 : 1 + check(tree.left) + check(tree.right as Pair)
}
