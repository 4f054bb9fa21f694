// Handles: typed properties, scopes that end, globals that do not, and errors that name the mistake.
import { Handle, Heap, Tag, Tagged, type Ref, type SlotKind } from 'glissade'
import { expect, it } from 'vitest'
import { collecting, failure, overAll, withHeap } from './configurations.js'

overAll('handles', (configuration) => {
  it('reads and writes every kind of slot through properties and by name', () => {
    withHeap(configuration, {}, (heap) => {
      const shape = heap.defineShape('Kinds', { r: 'ref', v: 'value', f: 'f64', i: 'i32', u: 'u32', s: 'u16', b: 'u8' })
      heap.run((m) => {
        m.scoped((scope) => {
          const other = scope.new(shape, { i: 5 })
          const object = scope.new(shape, { r: other, v: other, f: 0.5, i: -1, u: 2 ** 32 - 1, s: 65535, b: 255 })
          for (let round = 0; round < 2; round++) {
            expect(object.r?.as(shape).i).toBe(5)
            expect((object.v as Handle).is(other)).toBe(true)
            expect([object.f, object.i, object.u, object.s, object.b]).toEqual([0.5, -1, 2 ** 32 - 1, 65535, 255])
            expect(object.get('f')).toBe(0.5)
            heap.collectSync()
          }
          object.set('r', null)
          expect(object.r).toBe(null)
          for (const value of [1, NaN, true, false, null, undefined, new Tagged(Tag.User2, 9)]) {
            object.v = value
            expect(object.v).toEqual(value)
          }
          expect(failure(() => (object.i = 0.5)).message).toMatch(
            /'i' of 'Kinds' takes a whole number.*32 bits.*got 0.5/,
          )
          expect(failure(() => (object.u = -1)).code).toBe('ERR_BAD_VALUE')
          expect(failure(() => (object.s = 65536)).code).toBe('ERR_BAD_VALUE')
          expect(failure(() => (object.b = 256)).code).toBe('ERR_BAD_VALUE')
          expect(failure(() => (object.f = 'x' as never)).code).toBe('ERR_BAD_VALUE')
          expect(failure(() => (object.r = 7 as never)).message).toMatch(/takes a handle or null; got 7/)
          expect(failure(() => (object.v = {} as never)).code).toBe('ERR_BAD_VALUE')
          expect(failure(() => object.get('vv' as never)).message).toMatch(/no slot "vv": did you mean 'v'/)
        })
      })
    })
  })

  it('says which slot or element, what it takes, and what to do', () => {
    withHeap(configuration, {}, (heap) => {
      using other = Heap.create({ maxBytes: '1m', collector: 'stop-the-world' })
      const table = { next: 'ref', v: 'value', i: 'i32' } as const
      const node = heap.defineShape('Node', table)
      other.defineShape('Other', { n: 'i32' })
      const foreign = other.defineShape('Node', table)
      const numbers = heap.defineArray('Numbers', 'f64')
      const refs = heap.defineArray('Refs', 'ref')
      heap.run((m) => {
        m.scoped((scope) => {
          const object = scope.new(node)
          const says = (action: () => unknown, code: string, message: RegExp): void => {
            const told = failure(action)
            expect(told.message).toMatch(message)
            expect(told.code).toBe(code)
          }
          const tagged = new Tagged(Tag.Ref, object.ref)
          says(
            () => (object.v = tagged),
            'ERR_BAD_VALUE',
            /as a handle; got a Tagged with Tag.Ref: scope.handle\(ref\)/,
          )
          says(
            () => (object.next = object.ref as never),
            'ERR_BAD_VALUE',
            /^'next' of 'Node' takes a handle or null; got \d+: sc/,
          )
          says(
            () => scope.newArray(numbers, [1, 's' as never]),
            'ERR_BAD_VALUE',
            /^element 1 of 'Numbers' takes a number; got "s"/,
          )
          says(
            () => scope.newArray(refs, [object, null, 7 as never]),
            'ERR_BAD_VALUE',
            /^element 2 of 'Refs' takes a handle or n/,
          )
          says(
            () => object.as(foreign),
            'ERR_WRONG_SHAPE',
            /^the object is a 'Node', and the given 'Node' is a shape of another/,
          )
          says(() => scope.handle(object.ref, foreign), 'ERR_WRONG_SHAPE', /is a shape of another heap: give the one/)
          says(() => object.as(numbers), 'ERR_WRONG_SHAPE', /^the object is a 'Node', not a 'Numbers'$/)
          says(() => object.as(undefined as never), 'ERR_WRONG_SHAPE', /^a handle is typed by a shape; got undefined$/)
          says(() => scope.handle(object.ref, 5 as never), 'ERR_WRONG_SHAPE', /^a handle is typed by a shape; got 5$/)
          expect(scope.handle(0)).toBe(null)
          says(
            () => scope.handle(0 as Ref, node),
            'ERR_BAD_REF',
            /^a Ref is an even word index inside the heap; got 0$/,
          )
          says(
            () => m.alloc(foreign),
            'ERR_WRONG_SHAPE',
            /heap.defineShape of this heap returned; got the shape 'Node', which is/,
          )
          says(() => m.setShape(0 as Ref, node), 'ERR_BAD_REF', /0, which is null: test for it first$/)
          says(
            () => m.setShape(object.ref, foreign),
            'ERR_WRONG_SHAPE',
            /^setShape takes a shape .* got the shape 'Node', which/,
          )
          other.run((n) => {
            const b = n.scope().new(foreign)
            says(
              () => scope.keep(b),
              'ERR_FOREIGN_HANDLE',
              /^scope.keep got a handle of another heap: references do not cross/,
            )
            expect(object.is(b as never)).toBe(false)
          })
        })
      })
    })
  })

  it('throws nothing but HeapErrors, whatever it is given', () => {
    withHeap(configuration, {}, (heap) => {
      const node = heap.defineShape('Node', {
        next: 'ref',
        v: 'value',
        i: 'i32',
        u: 'u32',
        s: 'u16',
        b: 'u8',
        f: 'f64',
      })
      const numbers = heap.defineArray('Numbers', 'f64')
      const bytes = heap.defineArray('Bytes', 'u8')
      heap.run((m) => {
        m.scoped((scope) => {
          const object = scope.new(node, undefined)
          const array = scope.newArray(numbers, 3)
          const nothing = undefined as never
          const cases: [() => unknown, string][] = [
            [() => m.alloc(nothing), 'ERR_WRONG_SHAPE'],
            [() => m.allocArray(nothing, 1), 'ERR_WRONG_SHAPE'],
            [() => m.allocArray(numbers, 1n as never), 'ERR_BOUNDS'],
            [() => m.arrayAllocator(numbers)(1n as never), 'ERR_BOUNDS'],
            [() => m.setShape(object.ref, nothing), 'ERR_WRONG_SHAPE'],
            [() => m.newString(nothing, 'x'), 'ERR_WRONG_SHAPE'],
            [() => m.getValue(object.ref, NaN), 'ERR_BOUNDS'],
            [() => m.getValue(object.ref, nothing), 'ERR_BOUNDS'],
            [() => m.getValue(1n as never, 1), 'ERR_BOUNDS'],
            [() => scope.new(nothing), 'ERR_WRONG_SHAPE'],
            [() => scope.new(node, null as never), 'ERR_BAD_VALUE'],
            [() => scope.new(node, 5 as never), 'ERR_BAD_VALUE'],
            [() => scope.newArray(numbers, nothing), 'ERR_BAD_VALUE'],
            [() => scope.newArray(numbers, {} as never), 'ERR_BAD_VALUE'],
            [() => scope.newArray(numbers, 3n as never), 'ERR_BAD_VALUE'],
            [() => scope.newArray(nothing, 1), 'ERR_WRONG_SHAPE'],
            [() => scope.keep(null as never), 'ERR_BAD_VALUE'],
            [() => scope.keep({} as never), 'ERR_BAD_VALUE'],
            [() => heap.global(null as never), 'ERR_BAD_VALUE'],
            [() => array.get(1n as never), 'ERR_BOUNDS'],
            [() => array.set(1n as never, 1), 'ERR_BOUNDS'],
            [() => array.get(Symbol('s') as never), 'ERR_BOUNDS'],
            [() => array.set(0, 1n as never), 'ERR_BAD_VALUE'],
            ...(['i', 'u', 's', 'b', 'f', 'v', 'next'] as const).map((slot): [() => unknown, string] => [
              () => object.set(slot, 1n as never),
              'ERR_BAD_VALUE',
            ]),
            [() => new (Heap as unknown as new () => Heap)(), 'ERR_BAD_VALUE'],
          ]
          for (const [action, code] of cases) expect(failure(action).code, String(action)).toBe(code)
          expect(object.is(undefined)).toBe(false)
          expect(scope.newArray(bytes, new Set([1, 2])).toArray()).toEqual([1, 2])
        })
      })
    })
  })

  it('checks the indices of arrays', () => {
    withHeap(configuration, {}, (heap) => {
      const numbers = heap.defineArray('Numbers', 'f64')
      heap.run((m) => {
        m.scoped((scope) => {
          const array = scope.newArray(numbers, [1, 2, 3])
          expect(array.toArray()).toEqual([1, 2, 3])
          for (const index of [-1, 3, 0.5, NaN]) {
            expect(failure(() => array.get(index))).toMatchObject({ code: 'ERR_BOUNDS' })
            expect(failure(() => array.set(index, 0)).message).toMatch(/of a 'Numbers' with 3 elements/)
          }
          for (const length of [-1, 1.5, NaN, 2 ** 30, '3' as never]) {
            expect(failure(() => m.allocArray(numbers, length)).code).toBe('ERR_BOUNDS')
          }
        })
      })
    })
  })

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

  it('does not store the object that took the slot of a dead handle', () => {
    withHeap(configuration, {}, (heap) => {
      const node = heap.defineShape('Node', { next: 'ref', v: 'value' })
      heap.run((m) => {
        const holder = m.scope().new(node)
        const dead = m.scoped((scope) => scope.new(node))
        m.scoped((scope) => {
          const taker = scope.new(node)
          expect(taker._slot).toBe(dead._slot)
          expect(failure(() => (holder.next = dead)).code).toBe('ERR_HANDLE_DEAD')
          expect(failure(() => (holder.v = dead)).code).toBe('ERR_HANDLE_DEAD')
          expect(failure(() => scope.new(node, { next: dead })).code).toBe('ERR_HANDLE_DEAD')
          expect(failure(() => scope.keep(dead)).code).toBe('ERR_HANDLE_DEAD')
          expect([holder.next, holder.v]).toEqual([null, 0])
        })
      })
    })
  })

  it('takes into a slot of numbers what fits into it, and nothing else', () => {
    withHeap(configuration, {}, (heap) => {
      const shape = heap.defineShape('Numbers', { i32: 'i32', u32: 'u32', u16: 'u16', u8: 'u8' })
      const ranges = {
        i32: [-(2 ** 31), 2 ** 31 - 1],
        u32: [0, 2 ** 32 - 1],
        u16: [0, 2 ** 16 - 1],
        u8: [0, 255],
      } as const
      heap.run((m) => {
        m.scoped((scope) => {
          const object = scope.new(shape)
          for (const kind of ['i32', 'u32', 'u16', 'u8'] as const) {
            const array = scope.newArray(heap.defineArray(kind, kind), 1)
            const [least, most] = ranges[kind]
            for (const fits of [least, most, 0, 1]) {
              object[kind] = fits
              array.set(0, fits)
              expect([object[kind], array.get(0)]).toEqual([fits, fits])
            }
            for (const bad of [least - 1, most + 1, 0.5, NaN, Infinity, '1', null, undefined, true] as never[]) {
              for (const store of [() => (object[kind] = bad), () => object.set(kind, bad), () => array.set(0, bad)]) {
                const { code, message } = failure(store)
                expect(code).toBe('ERR_BAD_VALUE')
                expect(message).toMatch(/takes a whole number that fits into \d+ bits \([iu]\d+\); got/)
              }
            }
            expect([object[kind], array.get(0)]).toEqual([1, 1])
          }
        })
      })
    })
  })

  it('tells handles of two heaps apart, also where their Refs are the same', () => {
    withHeap(configuration, {}, (heap) => {
      withHeap(configuration, {}, (other) => {
        heap.run((m) => {
          other.run((n) => {
            const a = m.scope().new(heap.defineShape('Node', { next: 'ref' }))
            const b = n.scope().new(other.defineShape('Node', { next: 'ref' }))
            expect(b.ref).toBe(a.ref)
            expect([a.is(b as never), b.is(a as never), a.is(a)]).toEqual([false, false, true])
          })
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

  it('refuses handles of another heap, and reads outside a scope or run', () => {
    withHeap(configuration, {}, (heap) => {
      using other = Heap.create({ maxBytes: '1m', collector: 'stop-the-world' })
      const node = heap.defineShape('Node', { next: 'ref', v: 'value' })
      const foreign = other.defineShape('Node', { next: 'ref', v: 'value' })
      heap.run((m) => {
        other.run((n) => {
          const a = m.scope().new(node)
          const b = n.scope().new(foreign)
          expect(failure(() => (a.next = b)).code).toBe('ERR_FOREIGN_HANDLE')
          expect(failure(() => (a.v = b)).code).toBe('ERR_FOREIGN_HANDLE')
          expect(failure(() => heap.global(b)).code).toBe('ERR_FOREIGN_HANDLE')
          expect(failure(() => m.alloc(foreign)).code).toBe('ERR_WRONG_SHAPE')
          expect(failure(() => a.as(heap.defineArray('A', 'ref'))).code).toBe('ERR_WRONG_SHAPE')
        })
      })
      const global = heap.run((m) => m.scoped((s) => heap.global(s.new(node, { next: s.new(node) }))))
      expect(failure(() => global.handle.next).code).toBe('ERR_NOT_RUNNING')
      heap.run((m) => {
        expect(failure(() => global.handle.next).code).toBe('ERR_NO_SCOPE')
        m.scoped(() => expect(global.handle.next?.as(node).next).toBe(null))
        global.release()
        global.release()
        expect(failure(() => global.handle.v).message).toMatch(/its global was released/)
      })
    })
  })

  it('releases globals and weak references outside run, inside parked, and by `using`', () => {
    withHeap(configuration, {}, (heap) => {
      const node = heap.defineShape('Node', { key: 'i32' })
      const make = () => heap.run((m) => m.scoped((s) => heap.global(s.new(node, { key: 2 }))))
      const weakOf = (global: ReturnType<typeof make>) => heap.run(() => heap.weak(global.handle))
      const first = make()
      const weak = weakOf(first)
      first.release()
      expect(first.open).toBe(false)
      heap.collectSync()
      heap.run((m) => m.scoped(() => expect(weak.get() === undefined).toBe(configuration.collects)))
      weak.release()
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

  it('gives slots whose names are members of Handle by get and set only', () => {
    withHeap(configuration, {}, (heap) => {
      const odd = heap.defineShape('Odd', { ref: 'i32', get: 'i32', fine: 'i32' })
      heap.run((m) => {
        const object = m.scope().new(odd, { ref: 1, get: 2, fine: 3 })
        expect([object.get('ref'), object.get('get'), object.fine]).toEqual([1, 2, 3])
        expect(object.ref).toBeGreaterThan(2)
      })
    })
  })

  it('gives slots whose names are members of every object as properties, but for constructor', () => {
    withHeap(configuration, {}, (heap) => {
      const odd = heap.defineShape('Odd', {
        toString: 'i32',
        valueOf: 'f64',
        hasOwnProperty: 'ref',
        constructor: 'i32',
      })
      heap.run((m) => {
        const object = m.scope().new(odd, { toString: 5, valueOf: 0.5, hasOwnProperty: null, constructor: 7 })
        expect([object.toString, object.valueOf, object.hasOwnProperty, object.get('constructor')]).toEqual([
          5,
          0.5,
          null,
          7,
        ])
        object.toString = 42
        expect(object.get('toString')).toBe(42)
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
