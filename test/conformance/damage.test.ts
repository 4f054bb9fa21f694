// Inspections of a heap whose words were stored over: told at once, whatever the number that lies there.
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Heap, Tag, Tagged, type Ref } from 'glissade'
import { expect, it } from 'vitest'
import { failure, overAll } from './configurations.js'

overAll('a damaged heap', (configuration) => {
  const looks = (heap: Heap): (() => unknown)[] => [
    () => heap.census(),
    () => heap.pathTo(() => false),
    () => heap.writeSnapshot(join(tmpdir(), 'never-written.heapsnapshot')),
  ]

  it('in which an array is longer than the heap is told as such', () => {
    const heap = Heap.create({ maxBytes: '1m', ...configuration.options })
    heap.run((m) => {
      const table = m.roots.table('ref', 1)
      for (const kind of ['ref', 'value', 'f64', 'u8'] as const) {
        const shape = heap.defineArray(kind, kind)
        table.set(0, m.allocArray(shape, 5))
        const ref = table.get(0) as Ref
        const word = m.i32[ref + 1]
        m.i32[ref + 1] = -4
        for (const look of looks(heap)) {
          expect(failure(look)).toEqual({
            code: 'ERR_INVALID_HEAP',
            message: `the heap is damaged: the object that begins at ${ref} ends outside the heap. heap.verify() says where it is`,
          })
        }
        m.i32[ref + 1] = word
        expect(heap.census().objects).toBe(1)
      }
    })
    heap.close()
  })

  it('in which the top of a stack is none is told as such', () => {
    const heap = Heap.create({ maxBytes: '1m', ...configuration.options })
    heap.run((m) => {
      const stack = m.roots.stack('value', 10, { name: 'operands' })
      for (const top of [-1, 11, 2 ** 30]) {
        m.control[stack.topIndex] = top
        for (const look of looks(heap)) {
          expect(failure(look).message).toMatch(`damaged: the top of operands, of 10 slots, is ${top}. `)
        }
        m.control[stack.topIndex] = 10
        expect(heap.census().objects).toBe(0)
      }
    })
    heap.close()
  })

  it.runIf(configuration.collects)(
    'in which the top of a stack is none keeps the areas beside it through collections',
    () => {
      const heap = Heap.create({ maxBytes: '4m', ...configuration.options })
      const node = heap.defineShape('Node', { key: 'i32' })
      heap.run((m) => {
        // A page each, so that one begins where the other ends.
        const before = m.roots.table('value', 512)
        const stack = m.roots.stack('value', 512)
        const behind = m.roots.table('value', 512)
        const held = m.roots.table('ref', 1)
        for (const top of [-3, 520, 2 ** 31 - 1, -(2 ** 31)]) {
          held.set(0, m.alloc(node))
          // A number of the embedder's that looks like a Ref: to move it would be to lose it.
          const number = held.get(0) as Ref
          for (const area of [before, behind]) {
            for (let i = 0; i < 512; i++) area.set(i, new Tagged(Tag.User0, number))
          }
          m.control[stack.topIndex] = top
          m.alloc(node)
          heap.collectSync()
          m.control[stack.topIndex] = 0
          for (const area of [before, behind]) {
            for (let i = 0; i < 512; i++) expect(area.get(i)).toEqual(new Tagged(Tag.User0, number))
          }
        }
      })
      heap.close()
    },
  )
})
