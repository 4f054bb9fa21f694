// Handles: typed properties, values of every kind, and errors that name the mistake.
import { inspect } from 'node:util'
import { Heap, Tag, Tagged, type Handle, type Ref } from 'glissade'
import { expect, it } from 'vitest'
import { failure, overAll, withHeap } from './configurations.js'

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
            expect(failure(() => array.set(index, 0)).message).toMatch(
              /^'Numbers' has no element .*: it has 3, counted from 0$/,
            )
          }
          for (const length of [-1, 1.5, NaN, 2 ** 30, '3' as never]) {
            expect(failure(() => m.allocArray(numbers, length)).code).toBe('ERR_BOUNDS')
          }
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

  it('are shown by console.log as their objects are', () => {
    withHeap(configuration, {}, (heap) => {
      const node = heap.defineShape('Node', { next: 'ref', key: 'f64', v: 'value', n: 'u16', b: 'u8' })
      const refs = heap.defineArray('Refs', 'ref')
      const bytes = heap.defineArray('Bytes', 'u8')
      const kept = heap.run((m) =>
        m.scoped((scope) => {
          const first = scope.new(node, { key: 0.5, v: true, n: 65535, b: 255 })
          const second = scope.new(node, { next: first, v: first })
          expect(inspect(first)).toBe('Node { next: null, key: 0.5, v: true, n: 65535, b: 255 }')
          expect(inspect(second)).toBe('Node { next: <Node>, key: 0, v: <Node>, n: 0, b: 0 }')
          expect(inspect(scope.newArray(refs, [first, null]))).toBe('Refs(2) [ <Node>, null ]')
          expect(inspect(scope.newArray(bytes, 1000))).toMatch(/^Bytes\(1000\) \[[\s0,]*… 900 more\s*\]$/)
          const global = heap.global(second)
          expect(inspect([global.handle], { compact: 3 })).toMatch(/^\[\s+Node \{/)
          return { global, dead: first }
        }),
      )
      expect(inspect(kept.global.handle)).toBe('[Node, seen from outside run]')
      expect(inspect(kept.dead)).toBe('[Node, a dead handle]')
      expect(inspect(heap)).toMatch(/^Heap \{ collector: '[\w-]+', maxBytes: 16777216, closed: false \}$/)
      kept.global.release()
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

  it('stores a value where the object is once the value was looked at, which may be to collect', () => {
    withHeap(configuration, { checked: configuration.collects }, (heap) => {
      const shape = heap.defineShape('Box', { v: 'value', next: 'ref' })
      const values = heap.defineArray('Values', 'value')
      heap.run((m) => {
        m.scoped((scope) => {
          const collect = (): void => void (m.alloc(shape), heap.collectSync())
          const other = scope.new(shape)
          const collecting = (seen: object): object =>
            new Proxy(seen, {
              get(target, name) {
                collect()
                return Reflect.get(target, name, target) as unknown
              },
              getPrototypeOf(target) {
                collect()
                return Reflect.getPrototypeOf(target)
              },
            })
          const tagged = Object.create(Tagged.prototype, {
            tag: { get: () => (collect(), Tag.User1) },
            payload: { get: () => (collect(), 7) },
          }) as Tagged
          const table = m.roots.table('value', 1)
          for (const [value, stored] of [
            [collecting(other), other],
            [collecting(new Tagged(Tag.User1, 7)), new Tagged(Tag.User1, 7)],
            [tagged, new Tagged(Tag.User1, 7)],
          ] as const) {
            const object = scope.new(shape, { next: other })
            const array = scope.newArray(values, 3)
            object.v = value as Tagged
            array.set(1, value as Tagged)
            for (const found of [object.v, array.get(1)]) {
              if (stored instanceof Tagged) expect(found).toEqual(stored)
              else expect((found as Handle).is(stored)).toBe(true)
            }
            expect(array.get(0)).toBe(0)
            if (!(stored instanceof Tagged)) continue
            table.set(0, value as Tagged)
            expect(table.get(0)).toEqual(stored)
          }
          expect([other.v, other.next]).toEqual([0, null])
        })
      })
    })
  })

  it('looks once at a value: one that is another each time is stored as the one that was checked', () => {
    withHeap(configuration, {}, (heap) => {
      const shape = heap.defineShape('Box', { v: 'value' })
      heap.run((m) => {
        m.scoped((scope) => {
          const object = scope.new(shape)
          const table = m.roots.table('value', 1)
          let looks = 0
          const changing = Object.create(Tagged.prototype, {
            tag: { get: () => (looks++ === 0 ? Tag.User0 : Tag.Ref) },
            payload: { get: () => (looks++ === 1 ? 5 : 2 ** 30 + 2) },
          }) as Tagged
          for (const store of [() => (object.v = changing), () => table.set(0, changing)]) {
            looks = 0
            store()
            expect(looks).toBe(2)
          }
          expect([object.v, table.get(0)]).toEqual([new Tagged(Tag.User0, 5), new Tagged(Tag.User0, 5)])
        })
      })
    })
  })
})
