// Binary trees, on the heap and in plain objects: what binary-trees, GCBench and others build and check.
//
// The heap's version keeps every reference in a root stack across safepoints and publishes exactly the slots in use before
// each allocation, as an interpreter would. Nodes are 16 bytes: header, left, right.

import type { Heap, Mutator } from 'glissade'

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

export function heapTrees(heap: Heap, m: Mutator): HeapTrees {
  const pair = heap.defineShape('Pair', { left: 'ref', right: 'ref' })
  const stack = m.roots.stack('ref', 256)
  const { i32, rootsI32, cards, control } = m
  const { base, topIndex } = stack
  const allocate = m.allocator(pair)
  const { left: leftAt, right: rightAt } = pair.at
  const build = (depth: number, sp: number): number => {
    if (depth === 0) {
      control[topIndex] = sp
      return allocate()
    }
    rootsI32[base + sp] = build(depth - 1, sp)
    rootsI32[base + sp + 1] = build(depth - 1, sp + 1)
    control[topIndex] = sp + 2
    const made = allocate()
    const left = made + leftAt
    i32[left] = rootsI32[base + sp]
    cards[left >>> 8] = 1
    const right = made + rightAt
    i32[right] = rootsI32[base + sp + 1]
    cards[right >>> 8] = 1
    return made
  }
  const check = (tree: number): number => {
    const left = i32[tree + leftAt]
    return left === 0 ? 1 : 1 + check(left) + check(i32[tree + rightAt])
  }
  return {
    build,
    check,
    base,
    publish(slots) {
      control[topIndex] = slots
    },
  }
}

export class Pair {
  constructor(
    readonly left: Pair | null,
    readonly right: Pair | null,
  ) {}
}
export function build(depth: number): Pair {
  return depth === 0 ? new Pair(null, null) : new Pair(build(depth - 1), build(depth - 1))
}
export function check(tree: Pair): number {
  return tree.left === null ? 1 : 1 + check(tree.left) + check(tree.right as Pair)
}
