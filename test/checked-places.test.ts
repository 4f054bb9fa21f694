// Checked heaps refuse places that are none, and views that are not a slot's: what typed arrays take in silence.
import { Heap, Tag, type Mutator, type Ref } from 'glissade'
import { step } from 'glissade/testing'
import { describe, expect, it } from 'vitest'
import { concurrent, configurations, failure, overAll } from './conformance/configurations.js'

describe.each(configurations.filter((c) => c.collects))('a checked heap ($name)', ({ options }) => {
  function checked(use: (m: Mutator, heap: Heap) => void): void {
    using heap = Heap.create({ maxBytes: '8m', checked: true, ...options })
    heap.run((m) => use(m, heap))
  }

  it('refuses an index that is no whole number, of every view, read or stored', () => {
    checked((m, heap) => {
      const node = heap.defineShape('Node', { f: 'f64', v: 'value', i: 'i32' })
      const values = m.roots.table('value', 4)
      const refs = m.roots.table('ref', 4)
      const ref = m.alloc(node)
      for (const [view, index] of [
        [m.i32, ref + node.at.i],
        [m.u32, ref + node.at.i],
        [m.f64, (ref >>> 1) + node.at.f],
        [m.u16, (ref + node.at.i) * 2],
        [m.u8, (ref + node.at.i) * 4],
        [m.rootsI32, refs.base],
        [m.rootsF64, values.base],
      ] as const) {
        view[index] = 0
        for (const wrong of [index + 0.5, NaN, Infinity, -Infinity, 1e-7]) {
          expect(failure(() => view[wrong]).code).toBe('ERR_BOUNDS')
          expect(failure(() => (view[wrong] = 0)).code).toBe('ERR_BOUNDS')
        }
      }
      expect(failure(() => (m.f64[(ref >>> 1) + node.at.f + 0.5] = 7)).message).toMatch(
        /^m\.f64 takes a whole number for an index; got \d+\.5$/,
      )
    })
  })

  it('refuses the top of a root area that is none, at the next safepoint', () => {
    checked((m, heap) => {
      const node = heap.defineShape('Node', { i: 'i32' })
      const stack = m.roots.stack('ref', 10, { name: 'operands' })
      for (const top of [11, -1]) {
        m.control[stack.topIndex] = top
        for (const safepoint of [
          () => m.alloc(node),
          () => m.reserve(8),
          () => m.parked(() => 0),
          () => heap.collectSync(),
        ]) {
          expect(failure(safepoint)).toEqual({
            code: 'ERR_BOUNDS',
            message: expect.stringMatching(
              `the top of operands is ${top}, and it lies between 0 and the capacity, 10: `,
            ) as string,
          })
        }
        m.control[stack.topIndex] = 10
        m.alloc(node)
      }
    })
  })

  it('refuses a source of a copy that is no whole number: it would copy NaN', () => {
    checked((m, heap) => {
      const node = heap.defineShape('Node', { v: 'value', w: 'value' })
      const stack = m.roots.stack('value', 2)
      const ref = m.alloc(node)
      const { v, w } = node.at
      for (const copy of [
        () => m.copyValue(ref, v, (ref >>> 1) + w + 0.5),
        () => m.copyValue(ref, v, undefined as never),
        () => m.copyValue(ref, v, String((ref >>> 1) + w) as never),
        () => m.copyRootValue(ref, v, stack.base + 0.5),
        () => m.copyRootValue(ref, v, NaN),
      ]) {
        expect(failure(copy)).toMatchObject({
          code: 'ERR_BOUNDS',
          message: expect.stringMatching(/^copy(Root)?Value \(the source\) takes a whole number for an index; got /),
        })
      }
      expect(m.getValue(ref, v)).toBe(0)
    })
  })

  it('refuses stores of another width over a ref or a value', () => {
    checked((m, heap) => {
      const node = heap.defineShape('Node', { v: 'value', i: 'i32', r: 'ref', s: 'ref', t: 'ref' })
      const refs = m.allocArray(heap.defineArray('Refs', 'ref'), 4)
      const values = m.allocArray(heap.defineArray('Values', 'value'), 4)
      const table = m.roots.table('ref', 4)
      const object = m.alloc(node)
      const { v, i, r, s } = node.at
      for (const store of [
        () => (m.f64[(object + s) / 2] = 0.5),
        // The other half of it is an integer's.
        () => (m.f64[(object + i) / 2] = 0.5),
        () => (m.u16[(object + r) * 2] = 1),
        () => (m.u8[(object + r) * 4 + 3] = 1),
        () => (m.u16[(object + 2 * v) * 2 + 3] = 1),
        () => (m.u8[(object + 2 * v) * 4 + 7] = 1),
        () => (m.f64[refs / 2 + 1] = 0.5),
        () => (m.u8[refs * 4 + 8] = 1),
        () => (m.u16[values * 2 + 4] = 1),
        () => (m.rootsF64[table.base / 2] = 1.5),
      ]) {
        expect(failure(store).code).toBe('ERR_WRONG_SHAPE')
      }
      expect(failure(() => (m.u8[(object + r) * 4] = 1)).message).toMatch(
        /^m\.u8\[\d+\] = 1: 'Node' has a ref there, which m\.u8 does not store$/,
      )
      // A value's two words, and all of it, are stored as ever.
      m.f64[(object >>> 1) + v] = 0.5
      m.i32[object + 2 * v + 1] = Tag.Int
      m.i32[object + 2 * v] = 5
      m.u32[object + r] = m.i32[object + s] = object
      expect([m.getValue(object, v), m.getRef(object, r), m.i32[object + i]]).toEqual([5, object, 0])
    })
  })

  it('knows a stale Ref in whichever view of words it is stored', () => {
    checked((m, heap) => {
      const node = heap.defineShape('Node', { r: 'ref', v: 'value' })
      const table = m.roots.table('ref', 1)
      table.set(0, m.alloc(node))
      const stale = table.get(0) as Ref
      heap.collectSync()
      const object = table.get(0) as Ref
      m.u32[object + 2 * node.at.v] = stale
      for (const store of [
        () => (m.i32[object + node.at.r] = stale),
        () => (m.u32[object + node.at.r] = stale),
        () => (m.u32[object + 2 * node.at.v + 1] = Tag.Ref >>> 0),
      ]) {
        expect(failure(store).code).toBe('ERR_STALE_REF')
      }
      expect(m.getRef(object, node.at.r)).toBe(0)
    })
  })

  it('refuses to set a member of a handle, also where a slot is called so', () => {
    checked((m, heap) => {
      const odd = heap.defineShape('Odd', {
        is: 'i32',
        as: 'i32',
        get: 'i32',
        set: 'i32',
        constructor: 'i32',
        ref: 'i32',
      })
      const bytes = heap.defineArray('Bytes', 'u8')
      m.scoped((scope) => {
        const handle = scope.new(odd, { is: 1, as: 2, get: 3, set: 4, constructor: 5, ref: 6 })
        const array = scope.newArray(bytes, 3)
        const plain = (of: unknown): Record<string, unknown> => of as Record<string, unknown>
        for (const name of Object.keys(odd.slots) as (keyof typeof odd.slots)[]) {
          expect(failure(() => (plain(handle)[name] = 7))).toEqual({
            code: 'ERR_BOUNDS',
            message: `'${name}' is a member of every handle, which cannot be set: the slot is stored by set('${name}', value)`,
          })
          handle.set(name, 8)
          expect(handle.get(name)).toBe(8)
        }
        for (const name of ['is', 'get', 'toArray', 'copyElements', 'toString', 'alive']) {
          expect(failure(() => (plain(array)[name] = 7)).code).toBe('ERR_BOUNDS')
        }
        expect([Object.keys(handle), Object.keys(array)]).toEqual([
          ['_slot', '_owner'],
          ['_slot', '_owner'],
        ])
        expect([handle.is(handle), handle.as(odd) === handle, array.toArray()]).toEqual([true, true, [0, 0, 0]])
      })
    })
  })
})

overAll(
  'a checked concurrent heap',
  ({ options }) => {
    it.each(['u8', 'i32', 'ref'] as const)(
      'knows an array of %s that lies over what was freed before the flip',
      (kind) => {
        using heap = Heap.create({ ...options, maxBytes: '8m', checked: true, stepping: true })
        const array = heap.defineArray('Array', kind)
        const node = heap.defineShape('Node', { next: 'ref' })
        const inWord = kind === 'u8' ? 4 : 1 // elements in a word
        heap.run((m) => {
          const table = m.roots.table('ref', 2)
          table.set(1, m.alloc(node))
          const dead = Array.from({ length: 8 }, () => m.allocArray(array, 20_000 * inWord))
          const inMidst = dead[4]
          m[kind === 'u8' ? 'u8' : 'i32'][inMidst * inWord + array.elementsAt] = 0 // looked up, and remembered
          for (let phase = step(heap); phase !== 'prepare'; phase = step(heap)) expect(phase).not.toBe('idle')
          const long = m.allocArray(array, 150_000 * inWord)
          table.set(0, long)
          expect(inMidst).toBeGreaterThan(long)
          for (let i = 0; i < 150_000 * inWord; i += 997) {
            if (kind === 'ref') m.setElementRef(long, i, table.get(1) as Ref)
            else if (kind === 'u8') m.u8[long * 4 + array.elementsAt + i] = 1
            else m.i32[long + array.elementsAt + i] = 1
          }
          expect(failure(() => m.lengthOf(inMidst)).code).toBe('ERR_STALE_REF')
          while (step(heap) !== 'idle');
        })
        heap.assertValid()
      },
    )
  },
  concurrent,
)
