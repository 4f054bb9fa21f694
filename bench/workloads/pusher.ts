// Pusher (after gc-latency-experiment): messages of 1 KiB go through a window of fixed length; a step is one push, which
// allocates a message, fills it and drops the oldest. All live data is young or about to die, nothing in between: the
// worst case for collectors that copy survivors, and the clearest picture of what a pause does to a service.

import type { Workload } from '../workload.js'
import { expectSame } from '../workload.js'

const MESSAGE = 1024

export const pusher: Workload = {
  name: 'pusher',
  summary: 'a million 1 KiB messages through a window of 200 000; a step is one push',
  progress: 'steps',
  peers: ['java', 'boehm'],
  variants: ({ quick }) => [
    {
      name: quick ? '200 000 messages, window 40 000' : '1 000 000 messages, window 200 000',
      parameters: quick ? { messages: 200_000, window: 40_000 } : { messages: 1_000_000, window: 200_000 },
      heapMiB: quick ? 96 : 448,
      totalMiB: quick ? 210 : 1030,
      floorS: quick ? 1 : 5,
    },
  ],

  heap(heap, m, clock, { messages, window }) {
    const bytes = heap.defineArray('Bytes', 'u8')
    const refs = heap.defineArray('Refs', 'ref')
    const { i32, u8, rootsI32, cards, control, pollIndex } = m
    const stack = m.roots.stack('ref', 16)
    const { base } = stack
    stack.top = 1
    rootsI32[base] = m.allocArray(refs, window)
    const allocate = m.arrayAllocator(bytes)
    clock.start()
    for (let i = 0, slot = 0; i < messages; i++) {
      const message = allocate(MESSAGE)
      const start = message * 4 + 8
      u8.fill(i & 0xff, start, start + MESSAGE)
      const at = rootsI32[base] + refs.elementsAt + slot
      i32[at] = message
      cards[at >>> 8] = 1
      if (++slot === window) slot = 0
      if (control[pollIndex] !== 0) m.poll()
      clock.step()
    }
    const last = i32[rootsI32[base] + refs.elementsAt + ((messages - 1) % window)]
    expectSame('the last message', u8[last * 4 + 8 + MESSAGE - 1], (messages - 1) & 0xff)
  },

  plain(clock, { messages, window }) {
    const held = new Array<Uint8Array | null>(window).fill(null)
    clock.start()
    for (let i = 0, slot = 0; i < messages; i++) {
      held[slot] = new Uint8Array(MESSAGE).fill(i & 0xff)
      if (++slot === window) slot = 0
      clock.step()
    }
    expectSame('the last message', held[(messages - 1) % window]?.[MESSAGE - 1] ?? -1, (messages - 1) & 0xff)
  },
}
