// Fragmentation: alternating lifetimes, the worst case for heaps that do not move. Each round fills the budget with objects
// of one size, drops every second one, and goes on with objects of twice the size, which fit into no hole. A heap that
// compacts stays as large as its live data; watch peakRssMiB. A step is one allocation.

import type { Workload } from '../workload.js'
import { expectSame } from '../workload.js'

const ROUNDS = 6
const FIRST_BYTES = 32

/** Objects of `bytes` that make up half of the budget, which is what survives a round. */
const halfOf = (budgetMiB: number, bytes: number): number => Math.floor((budgetMiB * 2 ** 19) / bytes)

/** 32 bytes in Node, where an array of numbers takes 48 and 8 for each slot. */
class Small {
  constructor(readonly first: number) {}
}
function plainArray(bytes: number, first: number): number[] {
  const made = new Array<number>(bytes / 8 - 6) // as it is made: filling it would be a second time
  made[0] = first
  return made
}
const firstOf = (made: Small | readonly number[] | null): number =>
  made === null ? -1 : made instanceof Small ? made.first : made[0]

export const fragmentation: Workload = {
  name: 'fragmentation',
  summary: 'every second object dies and the next are twice as large; a step is one allocation',
  progress: null,
  peers: ['java', 'boehm'],
  variants: ({ quick }) => {
    const budgetMiB = quick ? 24 : 192
    return [
      {
        name: `${budgetMiB} MiB, ${ROUNDS} sizes from ${FIRST_BYTES} bytes`,
        parameters: { budgetMiB },
        heapMiB: Math.ceil(budgetMiB * 1.5) + 16,
        totalMiB: budgetMiB * (ROUNDS + 1),
      },
    ]
  },

  heap(heap, m, clock, { budgetMiB }) {
    const words = heap.defineArray('Words', 'i32')
    const refs = heap.defineArray('Refs', 'ref')
    const { i32, rootsI32, cards, control, pollIndex } = m
    const stack = m.roots.stack('ref', 16)
    const { base } = stack
    const most = 2 * halfOf(budgetMiB, FIRST_BYTES)
    stack.top = 1
    rootsI32[base] = m.allocArray(refs, most)
    const allocate = m.arrayAllocator(words)
    const at = refs.elementsAt
    clock.start()
    for (let round = 0, bytes = FIRST_BYTES; round < ROUNDS; round++, bytes *= 2) {
      const half = halfOf(budgetMiB, bytes)
      // What survived the round before sits in the odd slots, spread over the array; it goes as the new objects come.
      for (let i = 0; i < 2 * half; i++) {
        const made = allocate(bytes / 4 - 2)
        i32[made + words.elementsAt] = i
        const slot = rootsI32[base] + at + i
        i32[slot] = made
        cards[slot >>> 8] = 1
        // Every second one dies when the one after it is there.
        if ((i & 1) === 1) i32[slot - 1] = 0
        if (control[pollIndex] !== 0) m.poll()
        clock.step()
      }
      for (let i = 1; i < 2 * half; i += 2) {
        expectSame('a survivor', i32[i32[rootsI32[base] + at + i] + words.elementsAt], i)
      }
      for (let i = 2 * half; i < most; i++) i32[rootsI32[base] + at + i] = 0
      clock.skip()
    }
  },

  plain(clock, { budgetMiB }) {
    const most = 2 * halfOf(budgetMiB, FIRST_BYTES)
    const held = new Array<Small | number[] | null>(most).fill(null)
    clock.start()
    for (let round = 0, bytes = FIRST_BYTES; round < ROUNDS; round++, bytes *= 2) {
      const half = halfOf(budgetMiB, bytes)
      for (let i = 0; i < 2 * half; i++) {
        held[i] = bytes < 64 ? new Small(i) : plainArray(bytes, i)
        if ((i & 1) === 1) held[i - 1] = null
        clock.step()
      }
      for (let i = 1; i < 2 * half; i += 2) expectSame('a survivor', firstOf(held[i]), i)
      for (let i = 2 * half; i < most; i++) held[i] = null
      clock.skip()
    }
  },
}
