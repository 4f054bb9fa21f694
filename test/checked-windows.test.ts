// Checked heaps move what is live to fresh addresses at every collection, however large the heap and wherever it lies by then.
import { Heap, type Ref } from 'glissade'
import { describe, expect, it } from 'vitest'
import { collecting, concurrent, failure, overAll } from './conformance/configurations.js'

describe.each(collecting)('fresh addresses ($name)', ({ options }) => {
  it.each(['1m', '512m', '1g', '2g', '4g'])('show every stale Ref in a heap of %s', (maxBytes) => {
    using heap = Heap.create({ ...options, maxBytes, checked: true })
    const node = heap.defineShape('Node', { next: 'ref' })
    heap.run((m) => {
      const table = m.roots.table('ref', 1)
      for (let round = 0; round < 10; round++) {
        const stale = m.alloc(node)
        table.set(0, stale)
        heap.collectSync()
        expect(failure(() => m.setRef(stale, node.at.next, 0)).code, `round ${round}`).toBe('ERR_STALE_REF')
      }
    })
  })
})

it('fresh addresses leave room for objects that need a long run of them (stop-the-world)', () => {
  using heap = Heap.create({ collector: 'stop-the-world', maxBytes: '8m', checked: true })
  const refs = heap.defineArray('Refs', 'ref')
  const bytes = heap.defineArray('Bytes', 'u8')
  heap.run((m) => {
    const table = m.roots.table('ref', 2)
    // In the middle of the space of pointer-free large objects, which has no long run for others then.
    table.set(0, m.allocArray(bytes, 2 ** 21))
    table.set(1, m.allocArray(bytes, 2 ** 21))
    table.set(0, 0)
    for (let round = 0; round < 100; round++) {
      for (let i = 0; i < 20; i++) m.allocArray(refs, 7000)
      heap.collectSync()
      // Not each time: where one has been, the window has to stay below it.
      if (round % 9 > 0) continue
      table.set(0, m.allocArray(refs, 1_250_000))
      expect(m.lengthOf(table.get(0) as Ref)).toBe(1_250_000)
      table.set(0, 0)
    }
  })
})

overAll(
  'fresh addresses of a concurrent heap',
  ({ options }) => {
    it.each([900_000, 1_500_000, 1_900_000])(
      'leave room for an array of %d references, alone in its heap',
      (length) => {
        using heap = Heap.create({ ...options, maxBytes: '8m', checked: true })
        const refs = heap.defineArray('Refs', 'ref')
        heap.run((m) => {
          // Each needs a collection of its own, from a window further up; now and then what lies in between moves that up, too.
          for (let round = 0; round < 80; round++) {
            for (let i = 0; i < 50 * (round % 3); i++) m.allocArray(refs, 10)
            expect(m.lengthOf(m.allocArray(refs, length)), `round ${round}`).toBe(length)
          }
        })
      },
    )
  },
  concurrent,
)
