// Hashtable latencies: a server with a table of items of 1 KiB. A request looks a random key up, reads it, and puts a new
// item in its place. Metered: requests arrive at a fixed rate, and a request that comes during a pause has waited since it
// came. Buckets are chained entries; keys are whole numbers.

import type { Workload } from '../workload.js'
import { expectSame, randomNumbers, type Variant } from '../workload.js'

const ITEM_WORDS = 254
const scramble = (key: number): number => (Math.imul(key ^ (key >>> 15), 0x2c1b3c6d) ^ (key >>> 7)) >>> 0

class Entry {
  constructor(
    readonly key: number,
    public item: Int32Array,
    readonly next: Entry | null,
  ) {}
}

const variant = (items: number, seconds: number, rate?: number): Variant => ({
  name: `${items} items of 1 KiB, ${rate ? `${rate} requests/s` : 'full speed'}`,
  parameters: { items, seconds },
  heapMiB: Math.ceil((items * 1100 * 1.6) / 2 ** 20 + 16),
  totalMiB: Infinity,
  ...(rate !== undefined && { rate }),
  runs: 3,
  floorS: Math.min(seconds, 10),
})

export const hashtable: Workload = {
  name: 'hashtable',
  summary: 'lookups and replacements in a table of 1 KiB items, also at a fixed rate; a step is a request',
  progress: 'steps',
  peers: ['java'],
  variants: ({ quick }) => (quick ? [variant(25_000, 1, 9000)] : [variant(250_000, 20), variant(250_000, 20, 9000)]),

  heap(heap, m, clock, { items, seconds }) {
    const entry = heap.defineShape('Entry', { next: 'ref', item: 'ref', key: 'i32' })
    const refs = heap.defineArray('Refs', 'ref')
    const bytes = heap.defineArray('Item', 'i32')
    const { i32, rootsI32, cards, control, pollIndex } = m
    const stack = m.roots.stack('ref', 16)
    const { base } = stack
    stack.top = 2
    rootsI32[base + 1] = 0
    rootsI32[base] = m.allocArray(refs, items)
    const allocateEntry = m.allocator(entry)
    const allocateItem = m.arrayAllocator(bytes)
    const at = entry.at
    const store = (where: number, ref: number): void => {
      i32[where] = ref
      cards[where >>> 8] = 1
    }
    const newItem = (key: number): number => {
      const item = allocateItem(ITEM_WORDS)
      for (let w = 0; w < ITEM_WORDS; w++) i32[item + bytes.elementsAt + w] = key + w
      return item
    }
    for (let key = 0; key < items; key++) {
      rootsI32[base + 1] = newItem(key)
      const made = allocateEntry()
      const bucket = rootsI32[base] + refs.elementsAt + (scramble(key) % items)
      i32[made + at.key] = key
      store(made + at.item, rootsI32[base + 1])
      store(made + at.next, i32[bucket])
      store(bucket, made)
    }
    rootsI32[base + 1] = 0
    const find = (key: number): number => {
      let ref = i32[rootsI32[base] + refs.elementsAt + (scramble(key) % items)]
      while (ref !== 0 && i32[ref + at.key] !== key) ref = i32[ref + at.next]
      return ref
    }
    const random = randomNumbers(1)
    clock.start()
    for (;;) {
      if (control[pollIndex] !== 0) m.poll()
      if (!clock.due()) continue
      const key = random() % items
      expectSame('an item', i32[i32[find(key) + at.item] + bytes.elementsAt + 9], key + 9)
      const item = newItem(key)
      store(find(key) + at.item, item)
      clock.step()
      if (clock.over(seconds)) break
    }
  },

  plain(clock, { items, seconds }) {
    const buckets = new Array<Entry | null>(items).fill(null)
    const newItem = (key: number): Int32Array => {
      const item = new Int32Array(ITEM_WORDS)
      for (let w = 0; w < ITEM_WORDS; w++) item[w] = key + w
      return item
    }
    for (let key = 0; key < items; key++) {
      const bucket = scramble(key) % items
      buckets[bucket] = new Entry(key, newItem(key), buckets[bucket])
    }
    const find = (key: number): Entry => {
      let entry = buckets[scramble(key) % items]
      while (entry !== null && entry.key !== key) entry = entry.next
      return entry as Entry
    }
    const random = randomNumbers(1)
    clock.start()
    for (;;) {
      if (!clock.due()) continue
      const key = random() % items
      expectSame('an item', find(key).item[9], key + 9)
      find(key).item = newItem(key)
      clock.step()
      if (clock.over(seconds)) break
    }
  },
}
