// The canonical hash of a graph: what two programs left differs wherever it could be told apart, and nowhere else.

import type { Heap } from 'glissade'
import { Tag, Tagged, type Mutator, type Ref, type RootTable } from 'glissade'
import { graphHash } from 'glissade/testing'
import { expect, it } from 'vitest'
import { overAll, withHeap } from './conformance/configurations.js'

interface World {
  readonly m: Mutator
  readonly heap: Heap
  readonly table: RootTable<'ref'>
  readonly values: RootTable<'value'>
  readonly shapes: ReturnType<typeof define>
}

function define(heap: Heap) {
  return {
    node: heap.defineShape('Node', { left: 'ref', any: 'value', right: 'ref', small: 'u8', last: 'u8' }),
    // As long as a node, with its references in the same places.
    other: heap.defineShape('Other', { left: 'ref', any: 'value', right: 'ref', small: 'u8', last: 'u8' }),
    plain: heap.defineShape('Plain', { number: 'f64', flag: 'u8' }),
    refs: heap.defineArray('Refs', 'ref'),
    cells: heap.defineArray('Cells', 'value'),
    bytes: heap.defineArray('Bytes', 'u8'),
  }
}

/** Root 0 has a node that refers to two others, roots 1 to 4 have an array of each kind and a plain object. */
function build({ m, table, values, shapes: { node, plain, refs, cells, bytes } }: World): void {
  for (const slot of [5, 6, 0]) table.set(slot, m.alloc(node))
  m.setRef(root(table, 0), node.at.left, root(table, 5))
  m.setRef(root(table, 0), node.at.right, root(table, 6))
  m.setValueInt(root(table, 0), node.at.any, 7)
  m.u8[root(table, 5) * 4 + node.at.small] = 5
  m.u8[root(table, 6) * 4 + node.at.small] = 6
  table.set(1, m.allocArray(refs, 3))
  m.setElementRef(root(table, 1), 2, root(table, 5))
  table.set(2, m.allocArray(cells, 3))
  m.setValueRef(root(table, 2), cells.elementsAt, root(table, 6))
  m.setValueNumber(root(table, 2), cells.elementsAt + 2, 0.5)
  table.set(3, m.allocArray(bytes, 13))
  m.u8[root(table, 3) * 4 + bytes.elementsAt + 12] = 12
  table.set(4, m.alloc(plain))
  m.f64[(root(table, 4) >>> 1) + plain.at.number] = 1.5
  table.set(5, 0)
  table.set(6, 0)
  values.set(0, 3.5)
  values.set(1, new Tagged(Tag.Ref, root(table, 3)))
}
const root = (table: RootTable<'ref'>, slot: number): Ref => table.get(slot) as Ref
const left = ({ m, table, shapes }: World): Ref => m.getRef(root(table, 0), shapes.node.at.left)

const DIFFERENCES: readonly (readonly [what: string, make: (world: World) => void])[] = [
  ['a reference that is null', ({ m, table, shapes }) => m.setRef(root(table, 0), shapes.node.at.left, 0)],
  [
    'two references exchanged',
    ({ m, table, shapes: { node } }) => {
      const [a, b] = [m.getRef(root(table, 0), node.at.left), m.getRef(root(table, 0), node.at.right)]
      m.setRef(root(table, 0), node.at.left, b)
      m.setRef(root(table, 0), node.at.right, a)
    },
  ],
  [
    'the same object twice, where there were two',
    (world) => world.m.setRef(root(world.table, 0), world.shapes.node.at.right, left(world)),
  ],
  ['another element of an array', ({ m, table }) => m.setElementRef(root(table, 1), 2, root(table, 3))],
  [
    'a reference in the next element',
    (world) => {
      world.m.setElementRef(root(world.table, 1), 1, left(world))
      world.m.setElementRef(root(world.table, 1), 2, 0)
    },
  ],
  ['a number of a value', ({ m, table, shapes }) => m.setValueInt(root(table, 0), shapes.node.at.any, 8)],
  ['the kind of a value', ({ m, table, shapes }) => m.setValueTagged(root(table, 0), shapes.node.at.any, Tag.User0, 7)],
  [
    'what a value refers to',
    ({ m, table, shapes }) => m.setValueRef(root(table, 2), shapes.cells.elementsAt, root(table, 3)),
  ],
  ['the last value of an array', ({ m, table, shapes }) => m.setValueNil(root(table, 2), shapes.cells.elementsAt + 2)],
  [
    'a byte behind the last reference',
    ({ m, table, shapes }) => void (m.u8[root(table, 0) * 4 + shapes.node.at.last] = 1),
  ],
  [
    'a byte of an object that another holds',
    (world) => void (world.m.u8[left(world) * 4 + world.shapes.node.at.last] = 1),
  ],
  ['a byte without references', ({ m, table, shapes }) => void (m.u8[root(table, 4) * 4 + shapes.plain.at.flag] = 1)],
  [
    'the last byte of an array',
    ({ m, table, shapes }) => void (m.u8[root(table, 3) * 4 + shapes.bytes.elementsAt + 12] = 1),
  ],
  ['a shape', ({ m, table, shapes }) => m.setShape(root(table, 0), shapes.other)],
  [
    'the name of a shape',
    ({ m, table, shapes: { node, other } }) => {
      for (const slot of [node.at.left, node.at.right]) m.setShape(m.getRef(root(table, 0), slot), other)
      m.setShape(root(table, 0), other)
    },
  ],
  [
    'a length',
    ({ m, table, values, shapes }) => {
      // Both are as many granules long, and their bytes the same.
      table.set(3, m.allocArray(shapes.bytes, 14))
      m.u8[root(table, 3) * 4 + shapes.bytes.elementsAt + 12] = 12
      values.set(1, new Tagged(Tag.Ref, root(table, 3)))
    },
  ],
  [
    'a root slot',
    ({ table }) => {
      table.set(7, root(table, 4))
      table.set(4, 0)
    },
  ],
  ['one more root', ({ table }) => table.set(7, root(table, 4))],
  ['a number in a root', ({ values }) => values.set(0, 4.5)],
  ['a reference in a value root', ({ values, table }) => values.set(1, new Tagged(Tag.Ref, root(table, 4)))],
]

overAll('the hash of a graph', (configuration) => {
  const hashOf = (make: (world: World) => void, garbage = 0): string =>
    withHeap(configuration, { maxBytes: '1m' }, (heap) => {
      const shapes = define(heap)
      return heap.run((m) => {
        const table = m.roots.table('ref', 8)
        const values = m.roots.table('value', 2)
        for (let i = 0; i < garbage; i++) m.alloc(shapes.plain)
        const world = { m, heap, table, values, shapes }
        build(world)
        if (garbage > 0) heap.collectSync()
        make(world)
        return graphHash(heap).hash
      })
    })

  it('does not depend on where objects lie', () => {
    const hash = hashOf(() => undefined)
    expect(hash).toMatch(/^[0-9a-f]{16}$/)
    expect(hashOf(() => undefined, 1000)).toBe(hash)
  })

  it('differs with everything that a program could tell', () => {
    const hashes = new Map([['nothing', hashOf(() => undefined)]])
    for (const [what, make] of DIFFERENCES) {
      const hash = hashOf(make)
      expect([...hashes].find(([, known]) => known === hash)?.[0], `the same as with ${what}`).toBeUndefined()
      hashes.set(what, hash)
    }
  })
})
