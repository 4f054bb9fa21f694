// Heaps whose sizes do not fit into 31 bits: address space only, so they cost nothing until they are used.
import { Heap, type Ref } from 'glissade'
import { describe, expect, it } from 'vitest'
import { configurations } from './conformance/configurations.js'

describe.each(configurations)('a large heap ($name)', ({ options }) => {
  it.each(['2047m', '2g', '3g', '4g'])('of %s allocates small objects and large ones', (maxBytes) => {
    using heap = Heap.create({ ...options, maxBytes })
    const node = heap.defineShape('Node', { next: 'ref' })
    const bytes = heap.defineArray('Bytes', 'u8')
    heap.run((m) => {
      const table = m.roots.table('ref', 4)
      for (let i = 0; i < 20_000; i++) {
        const ref = m.alloc(node)
        m.setRef(ref, node.at.next, table.get(0) as Ref)
        table.set(0, ref)
      }
      table.set(1, m.allocArray(bytes, 1_000_000))
      heap.collectSync()
      let length = 0
      for (let ref = table.get(0); ref !== 0; ref = m.getRef(ref as Ref, node.at.next)) length++
      expect(length).toBe(20_000)
      expect(m.lengthOf(table.get(1) as Ref)).toBe(1_000_000)
    })
  })
})
