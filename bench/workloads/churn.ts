// Churn: a large graph of small objects, mutated at random all over. The worst case for a collector whose barrier is the
// MMU (after a flip every step touches pages that have not arrived) and for those that copy what is live.
//
// Nodes of 48 bytes hang together in clusters of 16, and clusters in one directory. Half of the clusters are anchors, which
// stay; a step replaces one cluster of the other half, links its nodes at random to anchors, and relinks four random anchors
// among themselves. Nothing refers to a cluster that goes except the directory, so that live data stays what it was.

import type { Workload } from '../workload.js'
import { expectSame, randomNumbers, type Variant } from '../workload.js'

const CLUSTER = 16
const NODE_BYTES = 48
const RELINKED = 4

class Node {
  next: Node | null = null
  cross: Node | null = null
  left: Node | null = null
  right: Node | null = null
  // Small whole numbers: V8 stores these in the object, and any other double in an object of its own.
  key = 0
  value = 0
  weight = 0
}

const variant = (liveMiB: number, seconds: number, rate?: number): Variant => ({
  name: `${liveMiB} MiB live, ${rate ? `${rate} steps/s` : 'full speed'}`,
  parameters: { liveMiB, seconds },
  // 1.3 times live and a little to breathe.
  heapMiB: Math.ceil(liveMiB * 1.3 + 64),
  totalMiB: Infinity,
  ...(rate !== undefined && { rate }),
  runs: 3,
  // V8's own limit would be too low for the large graph; its young generation is left as it is.
  v8Flags: liveMiB > 1024 ? ['--max-old-space-size=10000'] : [],
  floorS: Math.min(seconds, 10),
})

/** The same with room for twice what lives; a JVM has more than that in all of them. */
const roomy = (liveMiB: number, seconds: number): Variant => ({
  ...variant(liveMiB, seconds),
  name: `${liveMiB} MiB live in twice that, full speed`,
  heapMiB: Math.min(4095, liveMiB * 2),
})

export const churn: Workload = {
  name: 'churn',
  summary: 'a large graph of small objects, mutated at random; a step replaces 16 nodes and relinks 4',
  progress: 'steps',
  peers: ['java', 'boehm'],
  variants: ({ quick }) =>
    quick
      ? [variant(64, 1.2), variant(64, 1.2, 20_000)]
      : [variant(256, 20), variant(256, 20, 20_000), variant(2048, 30), roomy(2048, 30), variant(2048, 30, 20_000)],

  heap(heap, m, clock, { liveMiB, seconds }) {
    const node = heap.defineShape('Node', {
      next: 'ref',
      cross: 'ref',
      left: 'ref',
      right: 'ref',
      key: 'f64',
      value: 'f64',
      weight: 'f64',
    })
    const refs = heap.defineArray('Refs', 'ref')
    const clusters = Math.floor((liveMiB * 2 ** 20) / (NODE_BYTES * CLUSTER + 4))
    const anchors = clusters >> 1
    const random = randomNumbers(1)
    const { i32, f64, rootsI32, cards, control, pollIndex } = m
    const stack = m.roots.stack('ref', 16)
    const { base } = stack
    stack.top = 2
    rootsI32[base] = m.allocArray(refs, clusters)
    const allocate = m.allocator(node)
    const at = refs.elementsAt
    const { next, cross, key } = node.at

    /** A cluster's list is made in a root slot; every node links to the head of a random anchor. */
    const replace = (slot: number, known: number): void => {
      rootsI32[base + 1] = 0
      for (let i = 0; i < CLUSTER; i++) {
        // Until it is in a root slot nobody else knows it: no cards.
        const made = allocate()
        i32[made + next] = rootsI32[base + 1]
        if (known > 0) i32[made + cross] = i32[rootsI32[base] + at + (random() % known)]
        f64[(made >>> 1) + key] = i
        rootsI32[base + 1] = made
      }
      const where = rootsI32[base] + at + slot
      i32[where] = rootsI32[base + 1]
      cards[where >>> 8] = 1
    }
    const relink = (): void => {
      const directory = rootsI32[base] + at
      const from = i32[i32[directory + (random() % anchors)] + next]
      i32[from + cross] = i32[directory + (random() % anchors)]
      cards[(from + cross) >>> 8] = 1
    }
    for (let slot = 0; slot < clusters; slot++) replace(slot, Math.min(slot, anchors))
    clock.start()
    for (;;) {
      if (control[pollIndex] !== 0) m.poll()
      if (!clock.due()) continue
      replace(anchors + (random() % (clusters - anchors)), anchors)
      for (let i = 0; i < RELINKED; i++) relink()
      clock.step()
      if (clock.over(seconds)) break
    }
    let found = 0
    for (let ref = i32[rootsI32[base] + at + clusters - 1]; ref !== 0; ref = i32[ref + next]) found++
    expectSame('nodes of a cluster', found, CLUSTER)
  },

  plain(clock, { liveMiB, seconds }) {
    const clusters = Math.floor((liveMiB * 2 ** 20) / (NODE_BYTES * CLUSTER + 4))
    const anchors = clusters >> 1
    const random = randomNumbers(1)
    const directory = new Array<Node | null>(clusters).fill(null)
    const replace = (slot: number, known: number): void => {
      let head: Node | null = null
      for (let i = 0; i < CLUSTER; i++) {
        const made: Node = new Node()
        made.next = head
        if (known > 0) made.cross = directory[random() % known]
        made.key = i
        head = made
      }
      directory[slot] = head
    }
    const relink = (): void => {
      const from = (directory[random() % anchors] as Node).next as Node
      from.cross = directory[random() % anchors]
    }
    for (let slot = 0; slot < clusters; slot++) replace(slot, Math.min(slot, anchors))
    clock.start()
    for (;;) {
      if (!clock.due()) continue
      replace(anchors + (random() % (clusters - anchors)), anchors)
      for (let i = 0; i < RELINKED; i++) relink()
      clock.step()
      if (clock.over(seconds)) break
    }
    let found = 0
    for (let node = directory[clusters - 1]; node !== null; node = node.next) found++
    expectSame('nodes of a cluster', found, CLUSTER)
  },
}
