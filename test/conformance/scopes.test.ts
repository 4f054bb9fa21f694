// What keeps handles: scopes that end, globals and weak references until they are released.
import { Handle, Heap, type SlotKind } from 'glissade'
import { expect, it } from 'vitest'
import { collecting, failure, overAll, runsIn, withHeap } from './configurations.js'

overAll('what keeps handles', (configuration) => {
  it('ends handles with their scope, inner scopes with outer ones, all with the run', () => {
    withHeap(configuration, {}, (heap) => {
      const node = heap.defineShape('Node', { next: 'ref' })
      const left = heap.run((m) => {
        const outer = m.scope()
        const kept = outer.new(node)
        const inner = m.scope()
        const lost = inner.new(node)
        // Made by the outer scope while the inner is open: it belongs to the outer.
        const late = outer.new(node, { next: kept })
        const result = outer.keep(lost)
        inner.dispose()
        inner.dispose()
        expect(failure(() => lost.next).code).toBe('ERR_HANDLE_DEAD')
        expect(failure(() => lost.ref).message).toMatch(/its scope has ended/)
        expect(failure(() => inner.new(node)).code).toBe('ERR_HANDLE_DEAD')
        heap.collectSync()
        expect(late.next?.is(kept)).toBe(true)
        expect(result.alive).toBe(true)
        m.scope().new(node)
        outer.dispose()
        expect(failure(() => late.next).code).toBe('ERR_HANDLE_DEAD')
        return m.scope().new(node)
      })
      heap.run(() => expect(failure(() => left.next).code).toBe('ERR_HANDLE_DEAD'))
    })
  })

  it('does not let a dead handle see the object that took its slot', () => {
    withHeap(configuration, {}, (heap) => {
      const node = heap.defineShape('Node', { key: 'i32' })
      heap.run((m) => {
        const dead = m.scoped((scope) => scope.new(node, { key: 1 }))
        m.scoped((scope) => {
          const taker = scope.new(node, { key: 2 })
          expect(taker._slot).toBe(dead._slot)
          expect(failure(() => dead.key).code).toBe('ERR_HANDLE_DEAD')
        })
      })
    })
  })

  it('says of a handle whether it may be used', () => {
    const heap = Heap.create({ maxBytes: '1m', ...configuration.options })
    const node = heap.defineShape('Node', { next: 'ref' })
    const { inScope, released, kept } = heap.run((m) => {
      const scope = m.scope()
      const inScope = scope.new(node)
      const [released, kept] = [heap.global(inScope), heap.global(inScope)]
      expect([inScope.alive, released.handle.alive]).toEqual([true, true])
      released.release()
      return { inScope, released, kept }
    })
    expect([inScope.alive, released.handle.alive, kept.handle.alive]).toEqual([false, false, true])
    heap.close()
    expect(kept.handle.alive).toBe(false)
  })

  it('ends with an inner run the scopes that it opened, also when it throws', () => {
    withHeap(configuration, {}, (heap) => {
      const node = heap.defineShape('Node', { key: 'i32' })
      heap.run((m) => {
        const outer = m.scope()
        const made = [outer.new(node, { key: 0 })]
        heap.run((inner) => made.push(inner.scope().new(node, { key: 1 })))
        const thrown = (): void =>
          heap.run((inner) => {
            made.push(inner.scope().new(node, { key: 2 }))
            throw new TypeError('of the program')
          })
        expect(thrown).toThrow(TypeError)
        expect(made.map(({ alive }) => alive)).toEqual([true, false, false])
        // What is made now belongs to the scope that is still open.
        const global = heap.global(outer.new(node, { key: 3 }))
        const weak = heap.weak(global.handle)
        expect([made[0].key, weak.get()?.key]).toEqual([0, 3])
      })
    })
  })

  it('lets go at the end of a scope of what it made while an inner one was open', () => {
    withHeap(configuration, {}, (heap) => {
      const node = heap.defineShape('Node', { next: 'ref' })
      heap.run((m) => {
        m.scoped((outer) => {
          const late = m.scoped((inner) => [
            outer.new(node),
            outer.keep(inner.new(node)),
            outer.newArray(heap.defineArray('Refs', 'ref'), 3),
          ])
          expect(late.map(({ alive }) => alive)).toEqual([true, true, true])
          expect(heap.verify().objects).toBe(3)
        })
        expect(heap.verify().objects).toBe(0)
      })
    })
  })

  it('lets globals go in any order, and all that are left with the heap', () => {
    const heap = Heap.create({ maxBytes: '1m', ...configuration.options })
    const node = heap.defineShape('Node', { key: 'i32' })
    const globals = heap.run((m) =>
      m.scoped((scope) => Array.from({ length: 12 }, (_, key) => heap.global(scope.new(node, { key })))),
    )
    const released = new Set<number>()
    for (const key of [3, 11, 0, 10, 5]) {
      globals[key].release()
      released.add(key)
      expect(globals.map(({ open }) => open)).toEqual(globals.map((_, at) => !released.has(at)))
    }
    heap.collectSync()
    heap.run(() => globals.forEach((g, key) => released.has(key) || expect(g.handle.key).toBe(key)))
    heap.close()
    expect(globals.filter(({ open }) => open)).toEqual([])
  })

  it('releases globals and weak references outside run, inside parked, and by `using`', () => {
    withHeap(configuration, {}, (heap) => {
      const node = heap.defineShape('Node', { key: 'i32' })
      const make = () => heap.run((m) => m.scoped((s) => heap.global(s.new(node, { key: 2 }))))
      const weakOf = (global: ReturnType<typeof make>) => heap.run(() => heap.weak(global.handle))
      const first = make()
      const weak = weakOf(first)
      expect(runsIn(heap, () => first.release())).toBe(1)
      expect(first.open).toBe(false)
      heap.collectSync()
      heap.run((m) => m.scoped(() => expect(weak.get() === undefined).toBe(configuration.collects)))
      expect(runsIn(heap, () => weak.release())).toBe(1)
      {
        using second = make()
        using third = weakOf(second)
        heap.run((m) => m.scoped(() => expect(third.get()?.key).toBe(2)))
      }
      const fourth = make()
      heap.run((m) => {
        m.parked(() => fourth.release())
        expect(failure(() => fourth.handle.key).message).toMatch(/its global was released/)
      })
      if (configuration.collects) {
        heap.collectSync()
        expect(heap.verify().objects).toBe(0)
      }
      const last = make()
      const lastWeak = weakOf(last)
      heap.close()
      last.release()
      lastWeak.release()
    })
  })

  it('lets go in parked of what an outer scope has made while an inner one was open', () => {
    withHeap(configuration, {}, (heap) => {
      const node = heap.defineShape('Node', { key: 'i32' })
      heap.run((m) => {
        const outer = m.scope()
        const inner = m.scope()
        for (let i = 0; i < 5; i++) {
          outer.new(node)
          inner.new(node)
        }
        expect(heap.census().objects).toBe(10)
        m.parked(() => outer.dispose())
        expect(heap.census().objects).toBe(0)
      })
    })
  })

  it('keeps a hundred thousand handles, and gives their slots back', () => {
    withHeap(configuration, { maxBytes: '32m' }, (heap) => {
      const node = heap.defineShape('Node', { key: 'i32' })
      heap.run((m) => {
        for (let round = 0; round < 2; round++) {
          m.scoped((scope) => {
            const handles = Array.from({ length: 100_000 }, (_, key) => scope.new(node, { key }))
            heap.collectSync()
            handles.forEach((h, key) => {
              if (h.key !== key) throw new Error(`handle ${key} reads ${h.key}`)
            })
          })
        }
        const globals = m.scoped((s) => Array.from({ length: 5000 }, (_, key) => heap.global(s.new(node, { key }))))
        globals.forEach((g, i) => i % 2 === 0 && g.release())
        heap.collectSync()
        globals.forEach((g, key) => key % 2 === 1 && expect(g.handle.key).toBe(key))
        expect(heap.verify().objects).toBe(2500)
        globals.forEach((g) => g.release())
      })
    })
  })

  it('says so when the root region is full of handles, and goes on when scopes have ended', () => {
    withHeap(configuration, { maxRootBytes: '1m' }, (heap) => {
      const node = heap.defineShape('Node', { key: 'i32' })
      heap.run((m) => {
        for (let round = 0; round < 3; round++) {
          let made = 0
          const full = failure(() =>
            m.scoped((scope) => {
              const first = scope.new(node, { key: round })
              for (; made < 2 ** 18; made++) scope.handle(first.ref)
            }),
          )
          expect(full.code).toBe('ERR_ROOTS_EXHAUSTED')
          expect(full.message).toMatch(/in maxRootBytes = 1048576: raise it, free areas, or end scopes sooner$/)
          // Nearly all of the region is handles by then.
          expect(made).toBeGreaterThan(2 ** 18 - 2 ** 14)
          m.scoped((scope) => {
            const object = scope.new(node, { key: round })
            heap.collectSync()
            expect(object.key).toBe(round)
          })
        }
        // What the scopes took is there for others.
        m.roots.table('ref', 2 ** 17).free()
        // Globals and weak references take slots of their own, from what is left.
        m.scoped((scope) => {
          const object = scope.new(node, { key: 5 })
          const fill = (): void => {
            for (let i = 0; i < 2 ** 18; i++) heap.global(object)
          }
          expect(failure(fill).code).toBe('ERR_ROOTS_EXHAUSTED')
          heap.collectSync()
          expect(object.key).toBe(5)
        })
      })
    })
  })

  it('finds room for handles in forty places of a page each', () => {
    withHeap(configuration, { maxRootBytes: '512k' }, (heap) => {
      const node = heap.defineShape('Node', { key: 'i32' })
      heap.run((m) => {
        const tables: Disposable[] = []
        const full = failure(() => {
          for (;;) tables.push(m.roots.table('ref', 1))
        })
        expect(full.code).toBe('ERR_ROOTS_EXHAUSTED')
        for (let i = 0; i < 80; i += 2) tables[i][Symbol.dispose]()
        m.scoped((scope) => {
          let last = scope.new(node, { key: 7 })
          for (let i = 0; i < 39 * 1024; i++) last = scope.keep(last)
          heap.assertValid()
          if (configuration.collects) heap.collectSync()
          expect(last.key).toBe(7)
        })
        for (let i = 1; i < tables.length; i += 2) tables[i][Symbol.dispose]()
      })
    })
  })

  it('keeps nothing for a scope that the iterator of its items has ended, nor above the cursor where a scope ends in parked', () => {
    withHeap(configuration, {}, (heap) => {
      const refs = heap.defineArray('Refs', 'ref')
      const census = (): number => (heap.collectSync(), heap.census().objects)
      heap.run((m) => {
        for (let i = 0; i < 10; i++) {
          m.scoped((outer) => {
            const scope = m.scope()
            const items = {
              *[Symbol.iterator]() {
                scope.dispose()
                yield null
              },
            }
            expect(failure(() => scope.newArray(refs, items)).code).toBe('ERR_HANDLE_DEAD')
            const inner = m.scope()
            inner.newArray(refs, 3)
            m.parked(() => inner.dispose())
            expect(outer.newArray(refs, 1).length).toBe(1)
          })
        }
      })
      expect(census()).toBe(configuration.collects ? 0 : census())
    })
  })

  it('leaves no root behind, however its scopes nest and wherever they end', () => {
    withHeap(configuration, {}, (heap) => {
      const shape = heap.defineShape('Node', { next: 'ref' })
      heap.run((m) => {
        const { rootsI32 } = heap._core.views
        const held = (): number => rootsI32.subarray(0, 1 << 16).reduce((count, ref) => count + (ref !== 0 ? 1 : 0), 0)
        const fill = (count: number): void => {
          m.scoped((scope) => {
            const first = scope.new(shape)
            let last = first
            for (let i = 1; i < count; i++) last = scope.new(shape, { next: last })
            if (count > 1) fill(count >> 1)
            expect(first.next).toBe(null)
            expect(last.alive).toBe(true)
          })
        }
        // The first areas have 1024 and 2048 slots: scopes begin and end before, at and beyond their borders.
        for (const count of [0, 1, 1023, 1024, 1025, 3072, 3073, 6000, 1]) {
          if (count > 0) fill(count)
          else m.scoped(() => undefined)
          const before = held()
          m.scoped((scope) => expect(scope.new(shape).next).toBe(null))
          expect(held()).toBe(before)
          // What a checked heap keeps for itself is one slot.
          expect(before).toBeLessThanOrEqual(1)
        }
      })
    })
  })
})

const LARGE_KINDS = ['u8', 'f64', 'ref', 'value'] as const satisfies readonly SlotKind[]

overAll(
  'weak references',
  (configuration) => {
    it('let go of what nothing else holds', () => {
      withHeap(configuration, {}, (heap) => {
        const node = heap.defineShape('Node', { key: 'i32' })
        heap.run((m) => {
          m.scoped((outer) => {
            const kept = outer.new(node, { key: 1 })
            const [strong, weak] = m.scoped((s) => [heap.weak(kept), heap.weak(s.new(node, { key: 2 }))])
            m.scoped(() => expect(weak.get()?.key).toBe(2))
            heap.collectSync()
            expect(weak.get()).toBe(undefined)
            expect(strong.get()?.key).toBe(1)
            expect(strong.get()?.is(kept)).toBe(true)
            strong.release()
            expect(strong.get()).toBe(undefined)
          })
        })
      })
    })

    it('to large objects, with and without references, go by those objects', () => {
      withHeap(configuration, { maxBytes: '32m' }, (heap) => {
        const LENGTH = 40_000 // of the smallest elements, more than 32 KiB
        const node = heap.defineShape('Node', { key: 'i32' })
        const refs = heap.defineArray('refs', 'ref')
        heap.run((m) => {
          const holder = m.scoped((s) => heap.global(s.newArray(refs, LARGE_KINDS.length)))
          const arrays = LARGE_KINDS.map((kind, i) => {
            const shape = heap.defineArray(`${kind}s`, kind)
            return m.scoped((s) => {
              const kept = s.newArray(shape, LENGTH)
              const dead = s.newArray(shape, LENGTH)
              const content = kind === 'ref' || kind === 'value' ? s.new(node, { key: i }) : 100 + i
              for (const array of [kept, dead]) array.set(LENGTH - 1, content as never)
              // Only another object holds it.
              holder.handle.set(i, kept)
              return { i, kept: heap.weak(kept), dead: heap.weak(dead) }
            })
          })
          m.scoped(() => arrays.forEach(({ dead }) => expect(dead.get()?.length).toBe(LENGTH)))
          for (let round = 0; round < 3; round++) {
            for (let k = 0; k < 1000; k++) m.alloc(node)
            heap.collectSync()
            m.scoped(() => {
              for (const { i, kept, dead } of arrays) {
                expect(dead.get()).toBe(undefined)
                expect(kept.get()?.is(holder.handle.get(i) as Handle)).toBe(true)
                const content = kept.get()?.get(LENGTH - 1)
                expect(content instanceof Handle ? content.as(node).key : content).toBe(
                  content instanceof Handle ? i : 100 + i,
                )
              }
            })
          }
          m.scoped(() => LARGE_KINDS.forEach((_, i) => holder.handle.set(i, null)))
          heap.collectSync()
          for (const { kept } of arrays) expect(kept.get()).toBe(undefined)
          expect(heap.verify().objects).toBe(1)
        })
      })
    })

    it('give their slots back when they are released', () => {
      withHeap(configuration, { maxRootBytes: '1m' }, (heap) => {
        const node = heap.defineShape('Node', { key: 'i32' })
        heap.run((m) => {
          m.scoped((outer) => {
            const kept = outer.new(node, { key: 7 })
            // Many times the slots that there is room for.
            for (let i = 0; i < 1_000_000; i++) heap.weak(kept).release()
            const first = heap.weak(kept)
            first.release()
            first.release()
            // A slot that was given back twice would serve two.
            const other = outer.new(node, { key: 8 })
            const [a, b] = [heap.weak(kept), heap.weak(other)]
            heap.collectSync()
            m.scoped(() => expect([a.get()?.key, b.get()?.key, first.get()]).toEqual([7, 8, undefined]))
          })
        })
      })
    })
  },
  collecting,
)
