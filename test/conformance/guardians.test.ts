// Guardians: an object comes out once nothing else refers to it, whole and alive, and not before.
import { Heap, type Guardian, type ObjectHandle } from 'glissade'
import { stepCycle } from 'glissade/testing'
import { expect, it } from 'vitest'
import { collecting, failure, overAll, withHeap } from './configurations.js'

interface File {
  readonly number: 'i32'
  readonly buffer: 'ref'
}

overAll(
  'guardians',
  (configuration) => {
    it.runIf(configuration.concurrent)(
      'guard what a trace under way has found dead, and a weak reference still gave',
      () => {
        withHeap(configuration, { stepping: true, verify: 3 }, (heap) => {
          const file = heap.defineShape('File', { number: 'i32', buffer: 'ref' })
          const guardian: Guardian<ObjectHandle<File>> = heap.guardian()
          heap.run((m) => {
            const weak = m.scoped((scope) => {
              guardian.guard(scope.new(file, { number: 1 })) // makes its tables
              return heap.weak(scope.new(file, { number: 2 }))
            })
            const cycle = stepCycle(heap).to('preclean')
            m.scoped(() => guardian.guard(weak.get()!))
            cycle.finish()
            heap.assertValid()
            heap.collectSync()
            m.scoped(() => {
              const due = Array.from({ length: guardian.due }, () => guardian.next()?.number)
              expect(due.sort()).toEqual([1, 2])
              expect(weak.get()).toBe(undefined)
            })
          })
        })
      },
    )

    it('give objects that nothing else refers to, with all that these refer to, once', () => {
      withHeap(configuration, {}, (heap) => {
        const file = heap.defineShape('File', { number: 'i32', buffer: 'ref' })
        const bytes = heap.defineArray('Bytes', 'u8')
        const guardian: Guardian<ObjectHandle<File>> = heap.guardian()
        heap.run((m) => {
          const scope = m.scope()
          const kept = scope.new(file, { number: 1, buffer: scope.newArray(bytes, [1, 1, 1]) })
          guardian.guard(kept)
          m.scoped((inner) => {
            // The second has a large buffer, which does not move.
            for (const [number, length] of [
              [2, 3],
              [3, 100_000],
            ] as const) {
              const buffer = inner.newArray(bytes, length)
              buffer.set(length - 1, number)
              guardian.guard(inner.new(file, { number, buffer }))
            }
          })
          expect([guardian.due, guardian.next()]).toEqual([0, undefined])
          heap.collectSync()
          expect(guardian.due).toBe(2)
          heap.collectSync()
          heap.collectSync()
          expect(guardian.due).toBe(2)
          m.scoped(() => {
            const found = [guardian.next(), guardian.next()].map((dead) => {
              const buffer = dead?.buffer?.as(bytes)
              return [dead?.number, buffer?.length, buffer?.get(buffer.length - 1)]
            })
            expect(found.sort()).toEqual([
              [2, 3, 2],
              [3, 100_000, 3],
            ])
          })
          expect([guardian.due, guardian.next()]).toEqual([0, undefined])
          heap.collectSync()
          expect(guardian.due).toBe(0)
          expect(kept.number).toBe(1)
        })
        // Outside run nothing keeps the first one any more.
        heap.collectSync()
        expect(guardian.due).toBe(1)
        heap.run((m) => m.scoped(() => expect(guardian.next()?.number).toBe(1)))
      })
    })

    it('give an object again that was guarded again, and as often as it was guarded', () => {
      withHeap(configuration, {}, (heap) => {
        const node = heap.defineShape('Node', { key: 'i32' })
        const [first, second] = [heap.guardian(), heap.guardian()]
        heap.run((m) => {
          const table = m.roots.table('ref', 1)
          table.set(0, m.alloc(node))
          for (const guardian of [first, first, second]) guardian.guardRef(table.get(0) as never)
          heap.collectSync()
          expect([first.due, second.due]).toEqual([0, 0])
          table.set(0, 0)
          heap.collectSync()
          expect([first.due, second.due]).toEqual([2, 1])
          const taken = first.nextRef()
          expect([taken === 0, first.nextRef(), second.nextRef()]).toEqual([false, taken, taken])
          table.set(0, taken)
          first.guardRef(taken as never)
          heap.collectSync()
          expect(first.due).toBe(0)
          table.set(0, 0)
          heap.collectSync()
          expect([first.due, second.due]).toEqual([1, 0])
          first.nextRef()
          heap.collectSync()
          expect([first.due, first.nextRef()]).toEqual([0, 0])
        })
      })
    })

    it('come after weak references: those to what is due are cleared, and ephemerons with such keys', () => {
      withHeap(configuration, {}, (heap) => {
        const node = heap.defineShape('Node', { key: 'i32', other: 'ref' })
        const weakArray = heap.defineArray('WeakArray', 'ref', { weak: 'elements' })
        const pairs = heap.defineArray('Pairs', 'ref', { weak: 'keys' })
        const guardian = heap.guardian<ObjectHandle<{ key: 'i32'; other: 'ref' }>>()
        heap.run((m) => {
          const scope = m.scope()
          const elements = scope.newArray(weakArray, 2)
          const properties = scope.newArray(pairs, 2)
          const { toGuarded, toOther, toOwn } = m.scoped((inner) => {
            // A weak array that the guarded object alone keeps: what it holds of the dead is cleared, the rest stays.
            const own = inner.newArray(weakArray, 3)
            const guarded = inner.new(node, { key: 1, other: inner.new(node, { key: 2, other: own }) })
            own.set(0, guarded)
            own.set(1, inner.new(node))
            own.set(2, elements)
            elements.set(0, guarded)
            elements.set(1, guarded.other)
            properties.set(0, guarded)
            properties.set(1, inner.new(node))
            guardian.guard(guarded)
            return { toGuarded: heap.weak(guarded), toOther: heap.weak(guarded.other as never), toOwn: heap.weak(own) }
          })
          heap.collectSync()
          expect([toGuarded.get(), toOther.get(), toOwn.get()]).toEqual([undefined, undefined, undefined])
          expect([elements.get(0), elements.get(1), properties.get(0), properties.get(1)]).toEqual(Array(4).fill(null))
          const guarded = guardian.next()
          const own = guarded?.other?.as(node).other?.as(weakArray)
          expect(own?.get(0)?.is(guarded)).toBe(true)
          expect(own?.get(1)).toBe(null)
          expect(own?.get(2)?.is(elements)).toBe(true)
        })
      })
    })

    it('guard many objects at a time, and take new ones while old ones are due', () => {
      withHeap(configuration, { maxBytes: '32m' }, (heap) => {
        const node = heap.defineShape('Node', { key: 'i32', next: 'ref' })
        const guardian = heap.guardian()
        const COUNT = 20_000
        heap.run((m) => {
          const table = m.roots.table('ref', 1)
          const seen = new Map<number, number>()
          const take = (): void => {
            const key = m.i32[guardian.nextRef() + node.at.key]
            seen.set(key, (seen.get(key) ?? 0) + 1)
          }
          let number = 0
          let left = 0
          for (let round = 0; round < 4; round++) {
            for (let i = 0; i < COUNT; i++, number++) {
              const ref = m.alloc(node)
              m.i32[ref + node.at.key] = number
              // Every third is kept by a list; each list dies a round later.
              if (i % 3 === 0) {
                m.setRef(ref, node.at.next, table.get(0))
                table.set(0, ref)
              }
              guardian.guardRef(ref)
            }
            heap.collectSync()
            const dead = COUNT - Math.ceil(COUNT / 3)
            expect(guardian.due).toBe(left + dead + (round === 0 ? 0 : COUNT - dead))
            // Some stay in the queue for the next round.
            for (left = COUNT / 4; guardian.due > left;) take()
            table.set(0, 0)
          }
          heap.collectSync()
          while (guardian.due > 0) take()
          expect(seen.size).toBe(number)
          expect([...seen.values()].every((times) => times === 1)).toBe(true)
        })
        expect(heap.stats().raw.counters.guardedDue).toBe(4 * COUNT)
      })
    })

    it('keep an object that no handle could be made of', () => {
      withHeap(configuration, {}, (heap) => {
        const node = heap.defineShape('Node', { key: 'i32' })
        const guardian = heap.guardian<ObjectHandle<{ key: 'i32' }>>()
        heap.run((m) => {
          m.scoped((scope) => guardian.guard(scope.new(node, { key: 7 })))
          heap.collectSync()
          expect(failure(() => guardian.next()).code).toBe('ERR_NO_SCOPE')
          expect(guardian.due).toBe(1)
          heap.collectSync()
          m.scoped(() => expect(guardian.next()?.key).toBe(7))
          expect(guardian.due).toBe(0)
        })
      })
    })

    it('give what is due in all their tables, however slowly it is taken', () => {
      withHeap(configuration, { maxBytes: '32m' }, (heap) => {
        const node = heap.defineShape('Node', { key: 'i32' })
        const guardian = heap.guardian()
        heap.run((m) => {
          let number = 0
          const guard = (count: number): void => {
            for (let i = 0; i < count; i++) {
              const ref = m.alloc(node)
              m.i32[ref + node.at.key] = number++
              guardian.guardRef(ref)
            }
          }
          guard(5000)
          // New ones come as fast as old ones go; all of the first are among what comes out all the same.
          const first = new Set(Array.from({ length: 5000 }, (_, i) => i))
          for (let round = 0; round < 60 && first.size > 0; round++) {
            heap.collectSync()
            for (let i = 0; i < 500; i++) first.delete(m.i32[guardian.nextRef() + node.at.key])
            guard(500)
          }
          expect(first.size).toBe(0)
        })
      })
    })

    it('guard nothing once released, and give their root areas back', () => {
      withHeap(configuration, { maxRootBytes: '64k' }, (heap) => {
        const node = heap.defineShape('Node', { key: 'i32' })
        for (let i = 0; i < 40; i++) {
          using guardian = heap.guardian()
          heap.run((m) => guardian.guardRef(m.alloc(node)))
          heap.collectSync()
          expect(guardian.due).toBe(1)
        }
        const guardian = heap.guardian()
        heap.run((m) => {
          guardian.guardRef(m.alloc(node))
          guardian.release()
          guardian.release()
          expect(failure(() => guardian.nextRef()).message).toBe(
            'this guardian was released: make another with heap.guardian()',
          )
          expect(failure(() => guardian.guardRef(m.alloc(node))).code).toBe('ERR_BOUNDS')
        })
        expect(guardian.due).toBe(0)
      })
    })

    it('are full when the root region is, and go on', () => {
      withHeap(configuration, { maxRootBytes: '64k' }, (heap) => {
        const node = heap.defineShape('Node', { key: 'i32' })
        const guardian = heap.guardian()
        heap.run((m) => {
          let guarded = 0
          const full = failure(() => {
            for (;;) {
              guardian.guardRef(m.alloc(node))
              guarded++
            }
          })
          expect(full.code).toBe('ERR_ROOTS_EXHAUSTED')
          expect(guarded).toBeGreaterThan(1000)
          heap.collectSync()
          expect(guardian.due).toBe(guarded)
          let taken = 0
          while (guardian.nextRef() !== 0) taken++
          expect(taken).toBe(guarded)
          for (let i = 0; i < guarded; i++) guardian.guardRef(m.alloc(node))
        })
      })
    })
  },
  collecting,
)

it('guardians are used inside run, with objects of their own heap', () => {
  const heap = Heap.create({ maxBytes: '1m', collector: 'none' })
  const other = Heap.create({ maxBytes: '1m', collector: 'none' })
  const node = heap.defineShape('Node', { key: 'i32' })
  const foreign = other.defineShape('Node', { key: 'i32' })
  const guardian = heap.guardian()
  expect(failure(() => guardian.next()).code).toBe('ERR_NOT_RUNNING')
  heap.run((m) => {
    expect(failure(() => guardian.guard(1 as never)).message).toMatch(/^guardian\.guard takes a handle; got 1/)
    for (const bad of [0, 3, -2, 2 ** 40, 1.5, '8', undefined]) {
      expect(failure(() => guardian.guardRef(bad as never)).code).toBe('ERR_BAD_REF')
    }
    other.run((n) => expect(failure(() => guardian.guard(n.scope().new(foreign))).code).toBe('ERR_FOREIGN_HANDLE'))
    guardian.guardRef(m.alloc(node))
    heap.collectSync()
    // A collector that frees nothing finds nothing dead.
    expect([guardian.due, guardian.next()]).toEqual([0, undefined])
  })
  heap.close()
  expect(failure(() => guardian.due).code).toBe('ERR_HEAP_CLOSED')
  expect(failure(() => heap.guardian()).code).toBe('ERR_HEAP_CLOSED')
  guardian.release()
  other.close()
})
