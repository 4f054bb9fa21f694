// Invariant 8, seen from outside: while a cycle rests between its trace and its remark, verify finds a reference that was
// stored without its card, and finds nothing where the barrier was used.
import { Heap, type Ref } from 'glissade'
import { step } from 'glissade/testing'
import { describe, expect, it } from 'vitest'
import { configurations } from './conformance/configurations.js'

describe.each(configurations.filter((c) => c.concurrent))('cards ($name)', ({ options }) => {
  it('a store without the barrier, while marking, is found; one with it is not', () => {
    using heap = Heap.create({ maxBytes: '4m', ...options, stepping: true })
    const node = heap.defineShape('Node', { next: 'ref' })
    heap.run((m) => {
      const table = m.roots.table('ref', 8)
      table.set(0, m.alloc(node))
      // To the rest after the trace: the gates before it say that cards mean nothing yet.
      const found: string[][] = []
      for (let gate = 0; gate < 20; gate++) {
        if (step(heap, 1) !== 'mark') break
        const old = table.get(0) as Ref
        const white = m.alloc(node)
        const slot = old + node.at.next
        m.i32[slot] = white
        m.cards[slot >>> 8] = 0
        const bare = heap.verify().violations.map((v) => v.what)
        m.setRef(old, node.at.next, white)
        const barriered = heap.verify().violations.map((v) => v.what)
        expect(barriered).toEqual([])
        if (bare.length > 0) found.push(bare)
      }
      expect(found.length).toBeGreaterThan(0)
      expect(found[0][0]).toMatch(/card is clean: a store without the write barrier/)
    })
    heap.collectSync()
    heap.assertValid()
  })
})
