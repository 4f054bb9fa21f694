// GCBench (Ellis, Kovac, Boehm): a stretch tree of depth 18, a long-lived tree of depth 16 and an array of 500 000
// doubles stay; then, for each depth, as many trees as have the nodes of two stretch trees together, half of them built
// from the root down (old objects come to refer to young ones), half from the leaves up. A step is one tree.

import type { Heap, Mutator } from 'glissade'
import type { StepClock } from '../step-clock.js'
import type { Workload } from '../workload.js'
import { expectSame } from '../workload.js'
import { COUNTED_DEPTH, nodes, treeBuilder, uncounted } from './trees.js'

const MIN_DEPTH = 4
/** Nodes of a tree below its root. */
const below = (depth: number): number => nodes(depth) - 1
const iterations = (stretch: number, depth: number): number => Math.floor((2 * nodes(stretch)) / nodes(depth))

class Node {
  i = 0
  j = 0
  constructor(
    public left: Node | null,
    public right: Node | null,
  ) {}
}
function populate(depth: number, node: Node, clock: StepClock): void {
  if (depth <= 0) return
  node.left = new Node(null, null)
  node.right = new Node(null, null)
  populate(depth - 1, node.left, clock)
  populate(depth - 1, node.right, clock)
  if (depth === COUNTED_DEPTH) clock.work(below(depth))
}
function make(depth: number, clock: StepClock): Node {
  if (depth <= 0) return new Node(null, null)
  const made = new Node(make(depth - 1, clock), make(depth - 1, clock))
  if (depth === COUNTED_DEPTH) clock.work(nodes(depth))
  return made
}
function count(node: Node | null): number {
  return node === null ? 0 : 1 + count(node.left) + count(node.right)
}

function onHeap(heap: Heap, m: Mutator, clock: StepClock, stretch: number, longLived: number): void {
  const shape = heap.defineShape('Node', { left: 'ref', right: 'ref', i: 'i32', j: 'i32' })
  const doubles = heap.defineArray('Doubles', 'f64')
  const stack = m.roots.stack('ref', 256)
  const { i32, f64, rootsI32, cards, control, pollIndex } = m
  const { base, topIndex } = stack
  const { reserve } = m
  const allocate = m.allocator(shape)
  const { left, right } = shape.at
  const bytes = 8 * shape.granules
  const link = (at: number, ref: number): void => {
    i32[at] = ref
    cards[at >>> 8] = 1
  }
  /** Fills the tree whose root is in slot `sp`. */
  const fill = (depth: number, sp: number): void => {
    if (depth <= 0) return
    control[topIndex] = sp + 1
    reserve(2 * bytes)
    const first = allocate()
    const second = allocate()
    link(rootsI32[base + sp] + left, first)
    link(rootsI32[base + sp] + right, second)
    rootsI32[base + sp + 1] = first
    fill(depth - 1, sp + 1)
    rootsI32[base + sp + 1] = i32[rootsI32[base + sp] + right]
    fill(depth - 1, sp + 1)
    if (depth === COUNTED_DEPTH) clock.work(below(depth))
  }
  const build = treeBuilder(m, shape, stack, clock)
  const size = (ref: number): number => (ref === 0 ? 0 : 1 + size(i32[ref + left]) + size(i32[ref + right]))

  clock.start()
  expectSame('stretch tree', size(build(stretch, 0)), nodes(stretch))
  clock.step(0)
  control[topIndex] = 0
  rootsI32[base] = allocate()
  fill(longLived, 0)
  control[topIndex] = 1
  const array = m.allocArray(doubles, 500_000)
  rootsI32[base + 1] = array
  control[topIndex] = 2
  for (let i = 0; i < 250_000; i++) f64[(array >>> 1) + doubles.elementsAt + i] = 1 / (i + 1)
  for (let depth = MIN_DEPTH; depth <= longLived; depth += 2) {
    for (let i = iterations(stretch, depth); i > 0; i--) {
      control[topIndex] = 2
      rootsI32[base + 2] = allocate()
      fill(depth, 2)
      control[topIndex] = 2
      clock.step(uncounted(depth))
      build(depth, 2)
      control[topIndex] = 2
      if (control[pollIndex] !== 0) m.poll()
      clock.step(uncounted(depth))
    }
  }
  expectSame('long-lived tree', size(rootsI32[base]), nodes(longLived))
  expectSame('array', f64[(rootsI32[base + 1] >>> 1) + doubles.elementsAt + 999], 1 / 1000)
}

export const gcbench: Workload = {
  name: 'gcbench',
  summary: 'GCBench: trees built down and up beside long-lived data; a step is one tree',
  progress: 'nodes',
  peers: ['java', 'boehm'],
  variants: ({ quick }) => [
    {
      name: quick ? 'stretch 16, long-lived 14' : 'stretch 18, long-lived 16',
      parameters: quick ? { stretch: 16, longLived: 14 } : { stretch: 18, longLived: 16 },
      heapMiB: quick ? 32 : 64,
      totalMiB: quick ? 120 : 420,
    },
  ],
  heap: (heap, m, clock, { stretch, longLived }) => onHeap(heap, m, clock, stretch, longLived),
  plain(clock, { stretch, longLived }) {
    clock.start()
    expectSame('stretch tree', count(make(stretch, clock)), nodes(stretch))
    clock.step(0)
    const kept = new Node(null, null)
    populate(longLived, kept, clock)
    const array = new Float64Array(500_000)
    for (let i = 0; i < 250_000; i++) array[i] = 1 / (i + 1)
    for (let depth = MIN_DEPTH; depth <= longLived; depth += 2) {
      for (let i = iterations(stretch, depth); i > 0; i--) {
        populate(depth, new Node(null, null), clock)
        clock.step(uncounted(depth))
        make(depth, clock)
        clock.step(uncounted(depth))
      }
    }
    expectSame('long-lived tree', count(kept), nodes(longLived))
    expectSame('array', array[999], 1 / 1000)
  },
}
