// Verification finds each kind of planted damage, says where, and how a root reaches it.
import { Heap, layout, Tag, type Mutator, type Ref, type RootStack, type RootTable } from 'glissade'
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

  it('names a root slot once where the root itself is wrong', () => {
    using heap = Heap.create({ maxBytes: '4m', ...options })
    heap.run((m) => {
      const table = m.roots.table('ref', 8)
      table.top = 1
      m.rootsI32[table.base] = 7
      const [violation] = heap.verify().violations
      m.rootsI32[table.base] = 0
      expect(violation.what).toMatch(/is odd/)
      expect(violation.path).toEqual([violation.where])
    })
  })

  it('finds nothing in a heap that is in order', () => {
    expect(damaged(() => {})).toEqual([])
  })

  it('takes no other options than it has', () => {
    using heap = Heap.create({ maxBytes: '1m', ...options })
    expect(heap.verify({ afterCollection: undefined }).ok).toBe(true)
    for (const bad of [null, 5, 'x', [], { aftercollection: true }, { afterCollection: 1 }] as never[]) {
      expect(failure(() => heap.verify(bad)).code).toBe('ERR_OPTION')
      expect(failure(() => heap.assertValid(bad)).code).toBe('ERR_OPTION')
    }
  })
})

describe.each(configurations)('verify knows every rule ($name)', ({ options }) => {
  interface Whole {
    readonly heap: Heap
    readonly m: Mutator
    readonly table: RootTable<'ref'>
    readonly cells: RootTable<'value'>
    readonly stacks: readonly RootStack[]
    readonly node: { readonly id: number; readonly at: { readonly next: number; readonly v: number } }
    /** What slots 0 to 4 of the table hold: a node, an array of refs, one of values, numbers of 4 KB and of 160 KB. */
    readonly at: (slot: number) => Ref
  }
  const LENGTH = 200

  function verified(plant: (whole: Whole) => void, verifying = {}): ReturnType<Heap['verify']> & { told: string } {
    const heap = Heap.create({ maxBytes: '4m', ...options })
    try {
      const node = heap.defineShape('Node', { next: 'ref', v: 'value' })
      const refs = heap.defineArray('Refs', 'ref')
      const values = heap.defineArray('Values', 'value')
      const numbers = heap.defineArray('Numbers', 'i32')
      return heap.run((m) => {
        const table = m.roots.table('ref', 8)
        const cells = m.roots.table('value', 8)
        const stacks = [m.roots.stack('ref', 8), m.roots.stack('value', 8)]
        const at = (slot: number): Ref => table.get(slot) as Ref
        table.set(0, m.alloc(node))
        table.set(1, m.allocArray(refs, LENGTH))
        table.set(2, m.allocArray(values, LENGTH))
        table.set(3, m.allocArray(numbers, 1000))
        table.set(4, m.allocArray(numbers, 40_000))
        m.scoped((scope) => heap.weak(scope.handle(at(0), node)))
        heap.assertValid({ afterCollection: true })
        plant({ heap, m, table, cells, stacks, node, at })
        const report = heap.verify(verifying)
        const told = report.ok ? '' : failure(() => heap.assertValid(verifying)).message
        return { ...report, told }
      })
    } finally {
      // A damaged heap is not collected again: pages go back as they are.
      heap.close()
    }
  }

  const { SHAPE_BASE, AREA_BASE, AREA_WORDS, AreaKind, AreaWord, ShapeWord, ShapeKind, Word } = layout
  const shapeWord = (id: number, word: number): number => SHAPE_BASE + 4 * id + word
  const areaWord = (area: number, word: number): number => AREA_BASE + AREA_WORDS * area + word
  const value = (m: Mutator, word: number, high: number, low: number): void => {
    m.i32[word + 1] = high
    m.i32[word] = low
  }
  /** The header of an array of `length` numbers in the middle of the payload of another one. */
  const header = ({ m, at }: Whole, slot: number, word: number, length: number): Ref => {
    const ref = (at(slot) + word) as Ref
    m.i32[ref] = m.i32[at(slot)]
    m.i32[ref + 1] = length << 2
    return ref
  }

  it.each<[string, (whole: Whole) => void, RegExp, RegExp]>([
    [
      'nil with a payload',
      ({ m, at, node }) => value(m, at(0) + 2 * node.at.v, Tag.Nil, 3),
      /nil or undefined has the payload 3/,
      /^Node@\d+\.v$/,
    ],
    [
      'undefined with a payload',
      ({ m, at, node }) => value(m, at(0) + 2 * node.at.v, Tag.Undefined, -1),
      /nil or undefined has the payload -1/,
      /^Node@\d+\.v$/,
    ],
    [
      'a fixed shape that became one of arrays',
      ({ m, node }) => void (m.control[shapeWord(node.id, ShapeWord.Kind)] = ShapeKind.ArrayRef),
      /^its kind word is 2$/,
      /^shape 'Node'/,
    ],
    [
      'an array shape that became a fixed one',
      ({ m, at }) => void (m.control[shapeWord(m.shapeOf(at(1)), ShapeWord.Kind)] = ShapeKind.Fixed),
      /^its kind word is 1$/,
      /^shape 'Refs'/,
    ],
    [
      'a shape without the references that it has',
      ({ m, node }) => void m.control[shapeWord(node.id, ShapeWord.SlotCount)]--,
      /^its references are not where they were defined$/,
      /^shape 'Node'/,
    ],
    [
      'a shape with its references elsewhere',
      ({ m, node }) => void m.control[shapeWord(node.id, ShapeWord.SlotStart)]++,
      /^its references are not where they were defined$/,
      /^shape 'Node'/,
    ],
    [
      'a value that became a reference without a tag',
      ({ m, node }) => {
        m.control[layout.SLOT_MAP_BASE + m.control[shapeWord(node.id, ShapeWord.SlotStart)]] ^= 1
      },
      /^its references are not where they were defined$/,
      /^shape 'Node'/,
    ],
    [
      'a shape count that leaves one out',
      ({ m }) => void m.control[Word.ShapeCount]--,
      /^the shape count is below a defined id$/,
      /^shape 'Numbers'/,
    ],
    [
      'a root area of no kind',
      ({ m, table }) => void (m.control[areaWord(table.index, AreaWord.Kind)] = AreaKind.GuardedTable + 1),
      /^its description is damaged \(kind 7,/,
      /^root area \d+$/,
    ],
    [
      'a root area that begins before all others',
      ({ m, table }) => void (m.control[areaWord(table.index, AreaWord.Start)] = -8),
      /^its description is damaged \(kind 3, start -8,/,
      /^root area \d+$/,
    ],
    [
      'a root area that reaches past the region',
      ({ m, cells }) => void (m.control[areaWord(cells.index, AreaWord.Capacity)] = m.rootsF64.length - cells.base + 1),
      /^its description is damaged \(kind 4,/,
      /^root area \d+$/,
    ],
    [
      'a weak reference to no object',
      ({ m }) => {
        for (let area = 0; area < m.control[Word.AreaCount]; area++) {
          if (m.control[areaWord(area, AreaWord.Kind)] !== AreaKind.WeakRefTable) continue
          m.rootsI32[m.control[areaWord(area, AreaWord.Start)]] += 1
        }
      },
      /^the Ref \d+ is odd/,
      /^weak handles\[0\]$/,
    ],
    [
      'a torn value in a root',
      ({ m, cells }) => {
        cells.set(2, null)
        m.rootsI32[2 * (cells.base + 2) + 1] = Tag.Ref
      },
      /tag of a reference and no payload/,
      /^root area \d+\[2\]$/,
    ],
    [
      'the last element of an array of refs',
      ({ m, at }) => void (m.i32[at(1) + 1 + LENGTH] = at(0) + 1),
      /^the Ref \d+ is odd/,
      /^Refs@\d+\[199\]$/,
    ],
    [
      'the last element of an array of values',
      ({ m, at }) => value(m, at(2) + 2 * LENGTH, Tag.Ref, 0x7ffffff0),
      /is outside the heap/,
      /^Values@\d+\[199\]$/,
    ],
    [
      'a value of an array with a tag that nothing stores',
      ({ m, at }) => value(m, at(2) + 2, Tag.User3 + 1, 0),
      /tag 0x7ffd0008, which nothing stores/,
      /^Values@\d+\[0\]$/,
    ],
    [
      'a reference into an object that is in order',
      (whole) => whole.table.set(5, header(whole, 3, 4, 900)),
      /overlaps another object: a Ref points into the middle of one$/,
      /^root area \d+\[5\]$/,
    ],
    [
      'an object in the middle of one that is found after it',
      (whole) => {
        const around = whole.at(3)
        whole.table.set(3, header(whole, 3, 132, 700))
        whole.table.set(5, around)
      },
      /overlaps another object/,
      /^root area \d+\[5\]$/,
    ],
    [
      'a large object that begins in the middle of a page',
      (whole) => whole.table.set(5, header(whole, 4, 4, 20_000)),
      /is 80008 bytes long and not page-aligned, as large objects are$/,
      /^root area \d+\[5\]$/,
    ],
    [
      'an array that reaches past the heap',
      (whole) => whole.table.set(5, header(whole, 4, 1022 * 2 + 4, 2 ** 30 - 1)),
      /has the length 1073741823, which reaches past the end of the heap$/,
      /^root area \d+\[5\]$/,
    ],
  ])('%s', (_what, plant, what, where) => {
    const { ok, violations, told } = verified(plant)
    const found = violations.find((v) => what.test(v.what) && where.test(v.where))
    expect(found, JSON.stringify(violations)).toBeDefined()
    expect(ok).toBe(false)
    expect(told).toContain(`${found?.where}: ${found?.what}`)
  })

  it('what lies above the top of a stack, where a collection has just been', () => {
    for (const k of [0, 1]) {
      const plant = ({ m, stacks }: Whole): void => void (m.rootsI32[(1 + k) * (stacks[k].base + 7)] = 2)
      expect(verified(plant).violations).toEqual([])
      const { violations, told } = verified(plant, { afterCollection: true })
      expect(violations.map(({ what }) => what)).toEqual(['slot 7, above top 0, is not zero'])
      expect(told).toMatch(/the heap is damaged in 1 places:\n {2}root area \d+: slot 7, above top 0, is not zero$/)
    }
  })

  it('counts the objects that are reached and their bytes', () => {
    const sizes = [24, 8 + 4 * LENGTH, 8 + 8 * LENGTH, 8 + 4 * 1000, 8 + 4 * 40_000]
    const bytes = sizes.reduce((sum, size) => sum + size)
    expect(verified(() => undefined)).toEqual({ ok: true, violations: [], objects: 5, bytes, told: '' })
    expect(verified(({ table }) => table.set(4, 0))).toMatchObject({ objects: 4, bytes: bytes - sizes[4] })
  })

  it('names a hundred violations, and ten of them in the error', () => {
    const { violations, told } = verified(({ m, at }) => m.i32.fill(at(0) + 1, at(1) + 2, at(1) + 2 + LENGTH))
    expect(violations).toHaveLength(100)
    expect(told).toMatch(/^the heap is damaged in 100 places:\n/)
    expect(told.match(/is odd/g)).toHaveLength(10)
  })
})
