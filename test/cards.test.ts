// Invariant 8, seen from outside: while a cycle rests between its trace and its remark, verify finds a reference that was
// stored without its card, and finds nothing where the barrier was used.
import { Heap, Tag, Tagged, type Ref } from 'glissade'
import { step } from 'glissade/testing'
import { describe, expect, it } from 'vitest'
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
          const violations = heap.verify().violations
          const bare = violations.map((v) => v.what)
          for (const { where } of violations) expect(where).toBe(`card table, Node@${old}.next`)
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

// The card of the slot, not of the object that has it: in an array the two are far apart.
overAll('the card of a slot', ({ options }) => {
  const LENGTH = 5000

  describe.each([false, true])('checked: %s', (checked) => {
    it('is marked by every store of a reference', () => {
      using heap = Heap.create({ maxBytes: '8m', ...options, checked })
      const refs = heap.defineArray('Refs', 'ref')
      const values = heap.defineArray('Values', 'value')
      // Slots of a fixed object that are more than a card away from its header.
      const wide = heap.defineShape('Wide', {
        ...Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`f${i}`, 'f64' as const])),
        v: 'value' as const,
        r: 'ref' as const,
      })
      heap.run((m) => {
        using scope = m.scope()
        const [refArray, valueArray, object] = [
          scope.newArray(refs, LENGTH),
          scope.newArray(values, LENGTH),
          scope.new(wide),
        ]
        const at = values.elementsAt
        const roots = m.roots.table('value', 1)
        const stores: Record<string, [store: (i: number) => void, word: (i: number) => number]> = {
          setElementRef: [(i) => m.setElementRef(refArray.ref, i, object.ref), (i) => refArray.ref + 2 + i],
          'setRef of an element': [(i) => m.setRef(refArray.ref, 2 + i, object.ref), (i) => refArray.ref + 2 + i],
          setValueRef: [(i) => m.setValueRef(valueArray.ref, at + i, object.ref), (i) => valueArray.ref + 2 * (at + i)],
          copyValue: [
            (i) => m.copyValue(valueArray.ref, at + i, (valueArray.ref >>> 1) + at),
            (i) => valueArray.ref + 2 * (at + i),
          ],
          copyRootValue: [
            (i) => m.copyRootValue(valueArray.ref, at + i, roots.base),
            (i) => valueArray.ref + 2 * (at + i),
          ],
          'a handle’s set of a ref': [(i) => refArray.set(i, object), (i) => refArray.ref + 2 + i],
          'a handle’s set of a value': [(i) => valueArray.set(i, object), (i) => valueArray.ref + 2 * (at + i)],
          'setRef of a slot': [() => m.setRef(object.ref, wide.at.r, refArray.ref), () => object.ref + wide.at.r],
          'setValueRef of a slot': [
            () => m.setValueRef(object.ref, wide.at.v, refArray.ref),
            () => object.ref + 2 * wide.at.v,
          ],
          'a handle’s ref property': [() => (object.r = refArray), () => object.ref + wide.at.r],
          'a handle’s value property': [() => (object.v = refArray), () => object.ref + 2 * wide.at.v],
        }
        m.setValueRef(valueArray.ref, at, object.ref)
        roots.set(0, new Tagged(Tag.Ref, object.ref))
        for (const [name, [store, word]] of Object.entries(stores)) {
          for (const i of [0, 300, 2600, LENGTH - 1]) {
            m.cards.fill(0)
            store(i)
            expect(m.cards[word(i) >>> 8], `${name}, ${i}`).toBe(1)
          }
        }
      })
      heap.assertValid()
    })

    it('is marked in root tables, by globals and by scopes, also in slots that were used before', () => {
      using heap = Heap.create({ maxBytes: '8m', ...options, checked })
      const node = heap.defineShape('Node', { next: 'ref' })
      heap.run((m) => {
        const refs = m.roots.table('ref', LENGTH)
        const values = m.roots.table('value', LENGTH)
        using scope = m.scope()
        const object = scope.new(node)
        const marks = (what: string, store: () => number): void => {
          m.rootCards.fill(0)
          const word = store()
          expect(m.rootCards[word >>> 8], what).toBe(1)
        }
        for (const i of [0, 300, LENGTH - 1]) {
          marks(`table of refs, ${i}`, () => (refs.set(i, object.ref), refs.base + i))
          marks(`table of values, ${i}`, () => {
            values.set(i, new Tagged(Tag.Ref, object.ref))
            return 2 * (values.base + i)
          })
        }
        for (let round = 0; round < 3; round++) {
          marks('a global', () => heap.global(object).handle._slot)
          heap.global(object).release()
          marks('a global in the place of another', () => heap.global(object).handle._slot)
          m.scoped((inner) => {
            for (let i = 0; i < 3; i++) marks('a scope', () => inner.keep(object)._slot)
            marks('an outer scope', () => scope.keep(object)._slot)
          })
        }
      })
    })
  })
})
