// Verification finds each kind of planted damage, says where, and how a root reaches it.
import { Heap, type Ref } from 'glissade'
import { corrupt, type Corruption } from 'glissade/testing'
import { describe, expect, it } from 'vitest'
import { configurations, failure } from './conformance/configurations.js'

describe.each(configurations)('verify ($name)', ({ options, concurrent }) => {
  interface Planted {
    readonly heap: Heap
    readonly object: Ref
    readonly at: { readonly next: number; readonly v: number }
    readonly array: Ref
    readonly area: number
  }
  /** A small graph: table[0] → first → object → array, in a heap of its own; then `plant`, then verify. */
  function damaged(plant: (heap: Planted) => void): { what: string; where: string; path: readonly string[] }[] {
    const heap = Heap.create({ maxBytes: '4m', ...options })
    try {
      const node = heap.defineShape('Node', { next: 'ref', v: 'value' })
      const bytes = heap.defineArray('Bytes', 'u8')
      return heap.run((m) => {
        const table = m.roots.table('ref', 8)
        for (let i = 0; i < 3; i++) {
          const ref = i === 0 ? m.allocArray(bytes, 5) : m.alloc(node)
          if (i > 0) m.setRef(ref, node.at.next, table.get(0) as Ref)
          table.set(0, ref)
        }
        heap.assertValid()
        const first = table.get(0) as Ref
        const object = m.getRef(first, node.at.next)
        const array = m.getRef(object, node.at.next)
        const at = { next: node.at.next, v: node.at.v * 2 }
        plant({ heap, object, at, array, area: table.index })
        const { ok, violations } = heap.verify()
        expect(ok).toBe(violations.length === 0)
        if (!ok) expect(failure(() => heap.assertValid()).code).toBe('ERR_INVALID_HEAP')
        return [...violations]
      })
    } finally {
      // A damaged heap is not collected again: pages go back as they are.
      heap.close()
    }
  }

  const cases: [Corruption, (p: Planted) => void, RegExp, RegExp][] = [
    [
      'badShapeId',
      (p) => corrupt(p.heap, 'badShapeId', p.object),
      /shape id 60000: no shape has it/,
      /^Node@\d+\.next$/,
    ],
    ['freedObject', (p) => corrupt(p.heap, 'freedObject', p.object), /points to free memory/, /^Node@\d+\.next$/],
    [
      'hugeLength',
      (p) => corrupt(p.heap, 'hugeLength', p.array),
      /length 1073741823|not page-aligned/,
      /^Node@\d+\.next$/,
    ],
    ['oddRef', (p) => corrupt(p.heap, 'oddRef', p.object, p.at.next), /is odd/, /^Node@\d+\.next$/],
    ['wildRef', (p) => corrupt(p.heap, 'wildRef', p.object, p.at.next), /is outside the heap/, /^Node@\d+\.next$/],
    [
      'interiorRef',
      (p) => corrupt(p.heap, 'interiorRef', p.object, p.at.next),
      /overlaps another|no shape has it|free memory/,
      /^Node@\d+\.next$/,
    ],
    [
      'tornValue',
      (p) => corrupt(p.heap, 'tornValue', p.object, p.at.v),
      /tag of a reference and no payload/,
      /^Node@\d+\.v$/,
    ],
    [
      'badTag',
      (p) => corrupt(p.heap, 'badTag', p.object, p.at.v),
      /tag 0x7ffd0008, which nothing stores/,
      /^Node@\d+\.v$/,
    ],
    [
      'badBoolean',
      (p) => corrupt(p.heap, 'badBoolean', p.object, p.at.v),
      /boolean has the payload 7/,
      /^Node@\d+\.v$/,
    ],
    ['dirtyPadding', (p) => corrupt(p.heap, 'dirtyPadding', p.array), /padding after its last element/, /^Bytes@\d+$/],
    [
      'dirtyRootArea',
      (p) => corrupt(p.heap, 'dirtyRootArea', 0 as Ref, p.area),
      /above top 1, is not zero/,
      /^root area/,
    ],
    ['topOutOfRange', (p) => corrupt(p.heap, 'topOutOfRange', 0 as Ref, p.area), /outside its capacity/, /^root area/],
    ['shapeSize', (p) => corrupt(p.heap, 'shapeSize', p.object), /size word is 4, defined as 3/, /^shape 'Node'/],
    ['dirtyNullPage', (p) => corrupt(p.heap, 'dirtyNullPage'), /first page, where null points/, /first page/],
  ]
  if (!concurrent) {
    cases.push(['dirtyFreeMemory', (p) => corrupt(p.heap, 'dirtyFreeMemory'), /free memory is not zero/, /^free range/])
  }

  it.each(cases)('finds %s', (_kind, plant, what, where) => {
    const violations = damaged(plant)
    const found = violations.find((v) => what.test(v.what) && where.test(v.where))
    expect(found, JSON.stringify(violations)).toBeDefined()
  })

  it('names the path from a root', () => {
    const [violation] = damaged((p) => corrupt(p.heap, 'oddRef', p.object, p.at.next))
    expect(violation.path).toHaveLength(3)
    expect(violation.path[0]).toMatch(/^root area \d+\[0\]$/)
    expect(violation.path[1]).toMatch(/^Node@\d+\.next$/)
    expect(violation.path[2]).toBe(violation.where)
  })

  it('finds nothing in a heap that is in order', () => {
    expect(damaged(() => {})).toEqual([])
  })
})
