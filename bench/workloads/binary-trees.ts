// Binary-trees (Benchmarks Game): a stretch tree, a long-lived tree, and between them many short-lived trees of growing
// depth, each built, checked and dropped. A step is one tree. Objects are as small as they come and die together.

import type { Workload } from '../workload.js'
import { expectSame } from '../workload.js'
import { build, check, heapTrees, nodes, uncounted } from './trees.js'

const MIN_DEPTH = 4
const times = (n: number, depth: number): number => 2 ** (n - depth + MIN_DEPTH)

/** MiB of all nodes of a run, 16 bytes each. */
function total(n: number): number {
  let sum = nodes(n + 1) + nodes(n)
  for (let depth = MIN_DEPTH; depth <= n; depth += 2) sum += times(n, depth) * nodes(depth)
  return Math.ceil((sum * 16) / 2 ** 20)
}

export const binaryTrees: Workload = {
  name: 'binary-trees',
  summary: 'short-lived trees beside a long-lived one; a step is one tree',
  progress: 'nodes',
  peers: ['java', 'boehm'],
  variants: ({ quick }) =>
    (quick ? [14, 16] : [16, 18, 21]).map((n) => ({
      name: `depth ${n}`,
      parameters: { n },
      // The stretch tree is the most that is ever live.
      heapMiB: Math.max(24, Math.ceil((nodes(n + 1) * 16 * 2.5) / 2 ** 20)),
      totalMiB: total(n),
      runs: n > 18 ? 3 : 5,
    })),

  heap(heap, m, clock, { n }) {
    const trees = heapTrees(heap, m, clock)
    const { rootsI32, control, pollIndex } = m
    clock.start()
    expectSame('stretch tree', trees.check(trees.build(n + 1, 0)), nodes(n + 1))
    clock.step(0)
    trees.publish(0)
    rootsI32[trees.base] = trees.build(n, 0)
    trees.publish(1)
    for (let depth = MIN_DEPTH; depth <= n; depth += 2) {
      let found = 0
      for (let i = times(n, depth); i > 0; i--) {
        found += trees.check(trees.build(depth, 1))
        trees.publish(1)
        if (control[pollIndex] !== 0) m.poll()
        clock.step(uncounted(depth))
      }
      expectSame(`trees of depth ${depth}`, found, times(n, depth) * nodes(depth))
    }
    expectSame('long-lived tree', trees.check(rootsI32[trees.base]), nodes(n))
  },

  plain(clock, { n }) {
    clock.start()
    expectSame('stretch tree', check(build(n + 1, clock)), nodes(n + 1))
    clock.step(0)
    const longLived = build(n, clock)
    for (let depth = MIN_DEPTH; depth <= n; depth += 2) {
      let found = 0
      for (let i = times(n, depth); i > 0; i--) {
        found += check(build(depth, clock))
        clock.step(uncounted(depth))
      }
      expectSame(`trees of depth ${depth}`, found, times(n, depth) * nodes(depth))
    }
    expectSame('long-lived tree', check(longLived), nodes(n))
  },
}
