// Invariant 8, seen from outside: while a cycle rests between its trace and its remark, verify finds a reference that was
// stored without its card, and finds nothing where the barrier was used.
import { Heap, type Ref } from 'glissade'
import { step } from 'glissade/testing'
import { expect, it } from 'vitest'
import { concurrent, overAll } from './conformance/configurations.js'

overAll(
  'cards',
  ({ options }) => {
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

    it('the stores that initialise an object need none, in whatever phase', () => {
      using heap = Heap.create({ maxBytes: '4m', ...options, stepping: true })
      const node = heap.defineShape('Node', { next: 'ref', number: 'f64' })
      const LENGTH = 5
      heap.run((m) => {
        const table = m.roots.table('ref', 8)
        const stack = m.roots.stack('ref', 2)
        stack.top = 2
        table.set(0, m.alloc(node))
        const make = (): void => {
          m.rootsI32[stack.base] = 0
          for (let i = 0; i < LENGTH; i++) {
            const made = m.alloc(node)
            m.i32[made + node.at.next] = m.rootsI32[stack.base]
            m.f64[(made >>> 1) + node.at.number] = i
            m.rootsI32[stack.base] = made
          }
          m.setRef(table.get(0) as Ref, node.at.next, m.rootsI32[stack.base] as Ref)
          m.rootsI32[stack.base] = 0
        }
        const numbers = (): number[] => {
          const found: number[] = []
          let at = m.getRef(table.get(0) as Ref, node.at.next)
          for (; at !== 0; at = m.getRef(at, node.at.next)) found.push(m.f64[(at >>> 1) + node.at.number])
          return found
        }
        const phases = new Set<string>()
        for (let cycle = 0; cycle < 4; cycle++) {
          for (let phase = step(heap, 1); phase !== 'idle'; phase = step(heap, 1)) {
            phases.add(phase)
            make()
            expect(heap.verify().violations).toEqual([])
          }
          expect(numbers()).toEqual([4, 3, 2, 1, 0])
        }
        expect(phases.size).toBeGreaterThan(3)
      })
      heap.collectSync()
      heap.assertValid()
    })
  },
  concurrent,
)
