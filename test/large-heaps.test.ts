// Heaps whose sizes do not fit into 31 bits: address space only, so they cost nothing until they are used.
import { Heap, type Ref } from 'glissade'
import { describe, expect, it } from 'vitest'
import { configurations, failure } from './conformance/configurations.js'

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

describe.each(configurations)('text in a large heap ($name)', ({ options }) => {
  it.each(['900m', '1100m', '2g', '3g', '4g'])('of %s comes out as it went in', (maxBytes) => {
    using heap = Heap.create({ ...options, maxBytes })
    const [utf8, utf16] = [heap.defineArray('Utf8', 'u8'), heap.defineArray('Utf16', 'u16')]
    heap.run((m) => {
      for (const text of [
        'é',
        'a'.repeat(25),
        'é'.repeat(100),
        'a'.repeat(1000),
        'é'.repeat(20_000),
        'a'.repeat(60_000),
      ]) {
        for (const shape of [utf8, utf16]) {
          // Compared as one: the messages of long texts are long.
          expect(m.readString(m.newString(shape, text)) === text, `${text.length} of ${text[0]}, ${shape.name}`).toBe(
            true,
          )
        }
      }
    })
  })
})

const portable = configurations.filter(({ concurrent }) => !concurrent)
describe.each(portable)('a large heap whose large objects are of one kind ($name)', ({ options, collects }) => {
  const kinds = [
    ['4g', 'u8', 2 ** 30 - 1, 2],
    ['4g', 'ref', 900 * 2 ** 18, 4],
    ['3g', 'u8', 600 * 2 ** 20, 4],
  ] as const
  // To collect is to read all references, which takes seconds.
  it.each(kinds.filter(([, kind]) => kind !== 'ref' || !collects))(
    'of %s has room for arrays of %s with %i elements: %i',
    (maxBytes, kind, length, count) => {
      using heap = Heap.create({ ...options, maxBytes })
      const big = heap.defineArray('Big', kind)
      heap.run((m) => {
        const table = m.roots.table('ref', count)
        for (let i = 0; i < count; i++) table.set(i, m.allocArray(big, length))
        expect(new Set(Array.from({ length: count }, (_, i) => table.get(i))).size).toBe(count)
        for (let i = 0; i < count; i++) expect(m.lengthOf(table.get(i) as Ref)).toBe(length)
      })
    },
  )

  it('says when addresses are missing, not bytes', () => {
    using heap = Heap.create({ ...options, maxBytes: '4g' })
    const bytes = heap.defineArray('Bytes', 'u8')
    heap.run((m) => {
      const table = m.roots.table('ref', 4)
      for (let i = 0; i < 4; i++) table.set(i, m.allocArray(bytes, 900 * 2 ** 20))
      const { code, message } = failure(() => m.allocArray(bytes, 450 * 2 ** 20))
      expect(code).toBe('ERR_HEAP_EXHAUSTED')
      expect(message).toMatch(
        /maxBytes = 4294967296 has room for it, but large objects do not move, .* make several smaller objects/,
      )
    })
  })
})
