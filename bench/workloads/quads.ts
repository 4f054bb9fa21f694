// Quads (after Whippet's): a long-lived quadtree, and rounds in which many shallow quadtrees are built, counted and
// dropped until each has allocated a good part of the heap. Nodes have four children; a step is one shallow tree.

import type { Workload } from '../workload.js'
import { expectSame } from '../workload.js'

const SHALLOW = 3
const ROUNDS = 20
const nodes = (depth: number): number => (4 ** (depth + 1) - 1) / 3

class PlainQuad {
  constructor(
    readonly a: PlainQuad | null,
    readonly b: PlainQuad | null,
    readonly c: PlainQuad | null,
    readonly d: PlainQuad | null,
  ) {}
}
function build(depth: number): PlainQuad {
  if (depth === 0) return new PlainQuad(null, null, null, null)
  return new PlainQuad(build(depth - 1), build(depth - 1), build(depth - 1), build(depth - 1))
}
function count(quad: PlainQuad | null): number {
  return quad === null ? 0 : 1 + count(quad.a) + count(quad.b) + count(quad.c) + count(quad.d)
}
const treesPerRound = (depth: number): number => Math.floor((nodes(depth) * 2) / 7.5 / nodes(SHALLOW))

export const quads: Workload = {
  name: 'quads',
  summary: 'shallow quadtrees beside a deep one; a step is one shallow tree',
  progress: 'steps',
  peers: ['java', 'boehm'],
  variants: ({ quick }) => {
    const depth = quick ? 8 : 10
    const live = (nodes(depth) * 24) / 2 ** 20
    return [
      {
        name: `depth ${depth}`,
        parameters: { depth },
        heapMiB: Math.ceil(live * 2 + 8),
        totalMiB: Math.ceil(live + (ROUNDS * treesPerRound(depth) * nodes(SHALLOW) * 24) / 2 ** 20),
      },
    ]
  },

  heap(heap, m, clock, { depth }) {
    const quad = heap.defineShape('Quad', { a: 'ref', b: 'ref', c: 'ref', d: 'ref' })
    const stack = m.roots.stack('ref', 256)
    const { i32, rootsI32, control, pollIndex } = m
    const { base, topIndex } = stack
    const allocate = m.allocator(quad)
    const first = quad.at.a
    const make = (levels: number, sp: number): number => {
      if (levels === 0) {
        control[topIndex] = sp
        return allocate()
      }
      for (let i = 0; i < 4; i++) rootsI32[base + sp + i] = make(levels - 1, sp + i) | 0
      control[topIndex] = sp + 4
      const made = allocate()
      // Nobody else knows it yet: no cards.
      for (let i = 0; i < 4; i++) i32[made + first + i] = rootsI32[base + sp + i]
      return made
    }
    const size = (ref: number): number => {
      if (ref === 0) return 0
      return (
        1 +
        size(i32[ref + first]) +
        size(i32[ref + first + 1]) +
        size(i32[ref + first + 2]) +
        size(i32[ref + first + 3])
      )
    }
    rootsI32[base] = make(depth, 0)
    control[topIndex] = 1
    clock.start()
    for (let round = 0; round < ROUNDS; round++) {
      for (let i = treesPerRound(depth); i > 0; i--) {
        expectSame('a shallow tree', size(make(SHALLOW, 1)), nodes(SHALLOW))
        control[topIndex] = 1
        if (control[pollIndex] !== 0) m.poll()
        clock.step()
      }
      expectSame('the deep tree', size(rootsI32[base]), nodes(depth))
      clock.skip()
    }
  },

  plain(clock, { depth }) {
    const deep = build(depth)
    clock.start()
    for (let round = 0; round < ROUNDS; round++) {
      for (let i = treesPerRound(depth); i > 0; i--) {
        expectSame('a shallow tree', count(build(SHALLOW)), nodes(SHALLOW))
        clock.step()
      }
      expectSame('the deep tree', count(deep), nodes(depth))
      clock.skip()
    }
  },
}
