// Checked heaps name the mistake: stale, odd, foreign and wrong Refs, wrong slots, wrong bounds, wrong place.
import { Heap, Tag, Tagged, type HeapOptions, type Mutator, type Ref } from 'glissade'
import { graphHash } from 'glissade/testing'
import { describe, expect, it } from 'vitest'
import { configurations, failure } from './conformance/configurations.js'

const checkable = configurations.filter((c) => c.collects)

describe.each(checkable)('checked ($name)', ({ options }) => {
  function checked(use: (m: Mutator, heap: Heap) => void, more: HeapOptions = {}): void {
    using heap = Heap.create({ maxBytes: '8m', checked: true, ...more, ...options })
    heap.run((m) => use(m, heap))
  }

  it('finds every Ref kept across a collection, always', () => {
    checked((m, heap) => {
      const node = heap.defineShape('Node', { next: 'ref', key: 'i32', v: 'value' })
      const table = m.roots.table('ref', 8)
      for (let i = 0; i < 8; i++) table.set(i, m.alloc(node))
      for (let round = 0; round < 50; round++) {
        const stale = table.get(round & 7) as Ref
        m.i32[stale + node.at.key] = round
        heap.collectSync()
        for (const use of [
          () => m.setRef(stale, node.at.next, 0),
          () => m.setRef(table.get(0) as Ref, node.at.next, stale),
          () => m.setValueRef(table.get(0) as Ref, node.at.v, stale),
          () => m.i32[stale + node.at.key],
          () => (m.i32[stale + node.at.key] = 1),
          () => m.getValue(stale, node.at.v),
          () => table.set(0, stale),
          () => m.scope().handle(stale),
          () => m.identityHash(stale),
        ]) {
          expect(failure(use).code).toBe('ERR_STALE_REF')
        }
        expect(m.i32[(table.get(round & 7) as Ref) + node.at.key]).toBe(round)
      }
      expect(failure(() => m.setRef(4096 as Ref, node.at.next, 0)).message).toMatch(/no object begins at 4096/)
    })
  })

  it('checks fields as views of their own like the whole view', () => {
    checked((m, heap) => {
      const node = heap.defineShape('Node', { next: 'ref', key: 'f64' })
      const next = m.i32.subarray(node.at.next)
      const key = m.f64.subarray(node.at.key, m.f64.length - 1)
      const table = m.roots.table('ref', 2)
      table.set(0, m.alloc(node))
      table.set(1, m.alloc(node))
      const stale = table.get(0) as Ref
      heap.collectSync()
      const [first, second] = [0, 1].map((i) => table.get(i) as Ref)
      next[first] = second
      key[second >>> 1] = 0.5
      expect([m.getRef(first, node.at.next), m.f64[(second >>> 1) + node.at.key]]).toEqual([second, 0.5])
      expect([next[first], key[next[first] >>> 1]]).toEqual([second, 0.5])
      for (const use of [() => next[stale], () => key[stale >>> 1], () => (next[first] = stale)]) {
        expect(failure(use).code).toBe('ERR_STALE_REF')
      }
      const outside = /^index -2 of a subarray of a view, which has \d+ elements from 4 on$/
      expect(failure(() => next[-2]).message).toMatch(outside)
      expect(failure(() => (next[-2] = 0)).message).toMatch(outside)
      expect(failure(() => key[key.length]).code).toBe('ERR_BOUNDS')
      const last = key.subarray(-1)
      expect(failure(() => last[0]).code).toBe('ERR_BOUNDS')
      expect(failure(() => last[0.5]).code).toBe('ERR_BOUNDS')
    })
  })

  it('knows where objects are after whatever moved them, also when it fails', () => {
    const mine = new Error('mine')
    const moving: [name: string, action: (m: Mutator, heap: Heap) => unknown][] = [
      [
        'an allocation that does not fit',
        (m, heap) =>
          expect(failure(() => m.allocArray(heap.defineArray('Large', 'f64'), 2 ** 20)).code).toBe(
            'ERR_HEAP_EXHAUSTED',
          ),
      ],
      [
        'an allocation that does not fit, under stress',
        (m, heap) =>
          expect(failure(() => m.allocArray(heap.defineArray('Large', 'f64'), 2 ** 20)).code).toBe(
            'ERR_HEAP_EXHAUSTED',
          ),
      ],
      [
        'parked that throws',
        (m, heap) => {
          const throws = (): never => {
            heap.collectSync()
            throw mine
          }
          expect(() => m.parked(throws)).toThrow(mine)
        },
      ],
      ['verify', (_, heap) => duringCycles(heap, () => heap.verify())],
      ['assertValid', (_, heap) => duringCycles(heap, () => heap.assertValid())],
      ['graphHash', (_, heap) => duringCycles(heap, () => graphHash(heap))],
    ]
    // With a collection under way, which moves objects at one of the calls.
    const duringCycles = (heap: Heap, call: () => unknown): void => {
      for (let i = 0; i < 3; i++) {
        void heap.collect()
        const end = performance.now() + 10
        while (performance.now() < end);
        for (let k = 0; k < 5; k++) call()
      }
    }
    for (const [name, action] of moving) {
      checked(
        (m, heap) => {
          const node = heap.defineShape('Node', { next: 'ref' })
          const bytes = heap.defineArray('Bytes', 'u8')
          const table = m.roots.table('ref', 100)
          for (let i = 0; i < 100; i++) {
            table.set(i, m.alloc(node))
            m.allocArray(bytes, 3000)
          }
          const before = table.get(50) as Ref
          action(m, heap)
          const after = table.get(50) as Ref
          m.setRef(after, node.at.next, table.get(51) as Ref)
          expect(
            m.scoped((scope) => scope.handle(after, node).next?.ref),
            name,
          ).toBe(table.get(51))
          // What has moved is known to have moved.
          if (after !== before)
            expect(failure(() => m.setRef(before, node.at.next, 0)).code, name).toBe('ERR_STALE_REF')
        },
        name.endsWith('stress') ? { maxBytes: '2m', stress: { everySafepoint: true } } : { maxBytes: '2m' },
      )
    }
  })

  it('says that a stale Ref is stale, and what to do', () => {
    checked((m, heap) => {
      const node = heap.defineShape('Node', { next: 'ref' })
      const table = m.roots.table('ref', 1)
      const stale = m.alloc(node)
      table.set(0, stale)
      heap.collectSync()
      expect(failure(() => m.setRef(stale, node.at.next, 0)).message).toMatch(
        /^setRef: the Ref \d+ is stale: .* keep references in a root area, a handle or the heap, and read them again$/,
      )
    })
  })

  it('refuses what is no Ref at all', () => {
    checked((m, heap) => {
      const node = heap.defineShape('Node', { next: 'ref' })
      const ref = m.alloc(node)
      const message = (bad: number): string => failure(() => m.setRef(bad as Ref, node.at.next, 0)).message
      expect(message(0)).toMatch(/the Ref is 0, which is null/)
      expect(message(ref + 1)).toMatch(/is odd/)
      expect(message(ref + 2)).toMatch(/no object begins at/)
      expect(message(-2)).toMatch(/outside the heap's/)
      expect(message(2 ** 31 - 2)).toMatch(/outside the heap's/)
      expect(message(0.5)).toMatch(/whole number; got 0.5/)
      expect(message(undefined as never)).toMatch(/whole number; got undefined/)
      expect(failure(() => m.scope().handle(3 as Ref)).code).toBe('ERR_BAD_REF')
    })
  })

  it('refuses slots of another kind, another shape, out of bounds', () => {
    checked((m, heap) => {
      const node = heap.defineShape('Node', { next: 'ref', n: 'i32', v: 'value', f: 'f64' })
      const refs = heap.defineArray('Refs', 'ref')
      const array = m.allocArray(refs, 3)
      const object = m.alloc(node)
      expect(failure(() => m.setRef(object, node.at.n, object))).toEqual({
        code: 'ERR_WRONG_SHAPE',
        message: "setRef stores a ref, and 'Node' has i32 in slot 'n' there",
      })
      expect(failure(() => m.setValueNil(object, node.at.f)).code).toBe('ERR_WRONG_SHAPE')
      expect(failure(() => m.setRef(object, 50, object)).code).toBe('ERR_BOUNDS')
      expect(failure(() => m.setElementRef(array, 3, object)).message).toMatch(
        /'Refs' has no element 3: it has 3, counted from 0$/,
      )
      expect(failure(() => m.setElementRef(array, -1, object)).code).toBe('ERR_BOUNDS')
      expect(failure(() => m.setElementRef(object, 0, object)).code).toBe('ERR_WRONG_SHAPE')
      for (const bad of ['1', '', null, true, [], 1n, Symbol('slot')] as never[]) {
        expect(failure(() => m.setElementRef(array, bad, object)).message).toMatch(
          /^setElementRef: 'Refs' has no element .*/,
        )
        expect(failure(() => m.setRef(object, bad, object)).message).toMatch(/^setRef: no slot of 'Node' lies at/)
      }
      expect(failure(() => m.setRef(object, String(node.at.next) as never, object)).code).toBe('ERR_BOUNDS')
      expect(failure(() => m.setValueInt(object, node.at.v, 0.5)).code).toBe('ERR_BAD_VALUE')
      expect(failure(() => m.setValueTagged(object, node.at.v, Tag.Ref as never, 1)).code).toBe('ERR_BAD_VALUE')
      expect(failure(() => m.setValueRef(object, node.at.v, 0 as Ref)).message).toMatch(/null is setValueNil/)
      m.setElementRef(array, 2, object)
      m.setValueRef(object, node.at.v, array)
      m.setRef(object, node.at.next, object)
    })
  })

  it('refuses reads that make no sense', () => {
    checked((m, heap) => {
      const node = heap.defineShape('Node', { next: 'ref', v: 'value', f: 'f64' })
      const refs = heap.defineArray('Refs', 'ref')
      const bytes = heap.defineArray('Bytes', 'u8')
      const scope = m.scope()
      const fixed = scope.new(node)
      const array = scope.newArray(refs, 3)
      const text = scope.newArray(bytes, 9)
      const says = (action: () => unknown, code: string, message: RegExp): void => {
        const told = failure(action)
        expect(told.message).toMatch(message)
        expect(told.code).toBe(code)
      }
      says(() => m.lengthOf(fixed.ref), 'ERR_WRONG_SHAPE', /^lengthOf is for arrays, and the object is a 'Node'/)
      says(() => m.getRef(fixed.ref, node.at.f), 'ERR_WRONG_SHAPE', /^getRef reads a ref, and 'Node' has/)
      says(() => m.getRef(fixed.ref, 50), 'ERR_BOUNDS', /^getRef: no slot of 'Node' lies at 50/)
      says(
        () => m.getRef(array.ref, refs.elementsAt + 3),
        'ERR_BOUNDS',
        /^getRef: 'Refs' has no element 3: it has 3, counted from 0$/,
      )
      says(
        () => m.getValue(fixed.ref, node.at.f),
        'ERR_WRONG_SHAPE',
        /^getValue reads a value, and 'Node' has f64 in slot 'f'/,
      )
      says(
        () => m.getValue(text.ref, bytes.elementsAt),
        'ERR_WRONG_SHAPE',
        /^getValue reads a value, and 'Bytes' has u8/,
      )
      for (const bad of [0, fixed.ref + 2, fixed.ref + 1, -2, NaN, undefined] as Ref[]) {
        for (const read of [
          () => m.shapeOf(bad),
          () => m.lengthOf(bad),
          () => m.getRef(bad, 2),
          () => m.getValue(bad, 1),
        ]) {
          expect(failure(read).code, String(read)).toBe('ERR_BAD_REF')
        }
      }
      expect([m.shapeOf(fixed.ref), m.lengthOf(array.ref)]).toEqual([node.id, 3])
      expect([m.getRef(fixed.ref, node.at.next), m.getRef(array.ref, refs.elementsAt + 2)]).toEqual([0, 0])
      expect(m.getValue(fixed.ref, node.at.v)).toBe(0)
    })
  })

  it('refuses values that the setters would bend', () => {
    checked((m, heap) => {
      const node = heap.defineShape('Node', { v: 'value' })
      const object = m.alloc(node)
      const { v } = node.at
      for (const bad of ['no', 1, null, undefined, 1n] as never[]) {
        expect(failure(() => m.setValueBool(object, v, bad)).message).toMatch(/^setValueBool takes true or false; got/)
      }
      for (const bad of [1.5, 2 ** 32, NaN, 'x', undefined, 1n] as never[]) {
        expect(failure(() => m.setValueTagged(object, v, Tag.User0, bad)).message).toMatch(
          /payload of a tag is an integer/,
        )
        expect(failure(() => m.setValueInt(object, v, bad)).code).toBe('ERR_BAD_VALUE')
      }
      expect(m.getValue(object, v)).toBe(0)
      m.setValueTagged(object, v, Tag.User0, 0xffffffff)
      m.setValueTagged(object, v, Tag.User0, -1)
    })
  })

  it('refuses with every store what is no object, no slot of its kind, out of bounds', () => {
    checked((m, heap) => {
      const shape = heap.defineShape('Mixed', { v: 'value', f: 'f64', r: 'ref' })
      const values = heap.defineArray('Values', 'value')
      const table = m.roots.table('ref', 2)
      table.set(0, m.alloc(shape))
      table.set(1, m.allocArray(values, 3))
      const object = table.get(0) as Ref
      const array = table.get(1) as Ref
      const { v, f } = shape.at
      const source = (object >>> 1) + v
      const roots = m.roots.table('value', 1)
      const stores: [string, (to: Ref, at: number) => void][] = [
        ['setValueRef', (to, at) => m.setValueRef(to, at, object)],
        ['setValueNumber', (to, at) => m.setValueNumber(to, at, NaN)],
        ['setValueInt', (to, at) => m.setValueInt(to, at, -1)],
        ['setValueBool', (to, at) => m.setValueBool(to, at, true)],
        ['setValueNil', (to, at) => m.setValueNil(to, at)],
        ['setValueUndefined', (to, at) => m.setValueUndefined(to, at)],
        ['setValueTagged', (to, at) => m.setValueTagged(to, at, Tag.User3, -1)],
        ['copyValue', (to, at) => m.copyValue(to, at, source)],
        ['copyRootValue', (to, at) => m.copyRootValue(to, at, roots.base)],
      ]
      for (const [name, store] of stores) {
        const starts = expect.stringMatching(new RegExp(`^${name}\\b`)) as string
        const refused = (to: number, at: number, code: string): void =>
          expect(failure(() => store(to as Ref, at))).toEqual({ code, message: starts })
        store(object, v)
        store(array, values.elementsAt + 2)
        refused(object, f, 'ERR_WRONG_SHAPE')
        refused(object, 50, 'ERR_BOUNDS')
        refused(array, values.elementsAt + 3, 'ERR_BOUNDS')
        refused(array, values.elementsAt - 1, 'ERR_BOUNDS')
        refused(object + 2, v, 'ERR_BAD_REF')
        refused(0, v, 'ERR_BAD_REF')
      }
      expect(failure(() => m.setValueNumber(object, v, '1' as never)).code).toBe('ERR_BAD_VALUE')
      // Where a copy comes from has to be in an object, too.
      expect(failure(() => m.copyValue(object, v, 1000)).message).toMatch(
        /^copyValue \(the source\) belongs to no live/,
      )
      expect(failure(() => m.copyRootValue(table.get(0) as Ref, v, roots.base + 100_000)).message).toMatch(
        /^copyRootValue \(the source\) is in no root area/,
      )
      heap.collectSync()
      for (const [, store] of stores) expect(failure(() => store(object, v)).code).toBe('ERR_STALE_REF')
      // A Ref of before the collection is put into the root slot, behind the area's back.
      const { rootsI32 } = heap._core.views
      rootsI32[2 * roots.base] = object
      rootsI32[2 * roots.base + 1] = Tag.Ref
      expect(failure(() => m.copyRootValue(table.get(0) as Ref, v, roots.base))).toMatchObject({
        code: 'ERR_STALE_REF',
      })
      roots.free()
      expect(failure(() => m.copyValue(table.get(0) as Ref, v, source)).code).toBe('ERR_STALE_REF')
    })
  })

  it('stores what every kind of store stores, through collections', () => {
    checked((m, heap) => {
      const box = heap.defineShape('Box', { v: 'value', w: 'value' })
      const table = m.roots.table('ref', 1)
      table.set(0, m.alloc(box))
      const roots = m.roots.stack('value', 1)
      const self = (): Ref => table.get(0) as Ref
      const { v, w } = box.at
      const stores: [(to: Ref) => void, () => unknown][] = [
        [(to) => m.setValueNumber(to, v, 0.5), () => 0.5],
        [(to) => m.setValueNumber(to, v, NaN), () => NaN],
        [(to) => m.setValueInt(to, v, -7), () => -7],
        [(to) => m.setValueBool(to, v, true), () => true],
        [(to) => m.setValueBool(to, v, false), () => false],
        [(to) => m.setValueNil(to, v), () => null],
        [(to) => m.setValueUndefined(to, v), () => undefined],
        [(to) => m.setValueTagged(to, v, Tag.User0, 9), () => new Tagged(Tag.User0, 9)],
        [(to) => m.setValueRef(to, v, to), () => new Tagged(Tag.Ref, self())],
      ]
      for (const [store, stored] of stores) {
        store(self())
        m.copyValue(self(), w, (self() >>> 1) + v)
        heap.collectSync()
        expect([m.getValue(self(), v), m.getValue(self(), w)]).toEqual([stored(), stored()])
        m.rootsF64[roots.base] = m.f64[(self() >>> 1) + w]
        roots.top = 1
        m.setValueNil(self(), w)
        heap.collectSync()
        m.copyRootValue(self(), w, roots.base)
        expect(m.getValue(self(), w)).toEqual(stored())
      }
    })
  })

  it('knows large objects before and after a collection, and that dead ones are dead', () => {
    checked(
      (m, heap) => {
        const LENGTH = 20_000
        const node = heap.defineShape('Node', { key: 'i32' })
        const refs = heap.defineArray('Refs', 'ref')
        const bytes = heap.defineArray('Bytes', 'u8')
        const table = m.roots.table('ref', 2)
        const at = (slot: number): Ref => table.get(slot) as Ref
        table.set(0, m.allocArray(refs, LENGTH))
        table.set(1, m.allocArray(bytes, 4 * LENGTH))
        for (let i = 0; i < LENGTH; i += 1000) {
          const made = m.alloc(node)
          m.i32[made + node.at.key] = i
          m.setElementRef(at(0), i, made)
          m.u8[at(1) * 4 + 8 + 4 * i] = i / 1000
        }
        let stale = 0
        for (let round = 0; round < 3; round++) {
          stale = m.i32[at(0) + 2]
          heap.collectSync()
          for (let i = 0; i < LENGTH; i += 1000) {
            expect(m.i32[m.i32[at(0) + 2 + i] + node.at.key]).toBe(i)
            expect(m.u8[at(1) * 4 + 8 + 4 * i]).toBe(i / 1000)
          }
          expect(failure(() => m.setElementRef(at(0), 1, stale as Ref)).code).toBe('ERR_STALE_REF')
          expect(failure(() => m.setElementRef(at(0), LENGTH, 0)).code).toBe('ERR_BOUNDS')
          expect(failure(() => m.i32[at(0) + 2 + LENGTH]).code).toBe('ERR_BOUNDS')
          expect(failure(() => (m.u8[at(1) * 4 + 8 + 4 * LENGTH] = 1)).code).toBe('ERR_BOUNDS')
          m.setElementRef(at(0), LENGTH - 1, at(1))
        }
        const dead = [at(0), at(1)]
        table.set(0, 0)
        table.set(1, 0)
        heap.collectSync()
        for (const ref of dead) {
          expect(failure(() => m.i32[ref]).code).toBe('ERR_STALE_REF')
          expect(failure(() => table.set(0, ref)).code).toBe('ERR_STALE_REF')
        }
        expect(failure(() => m.copyIn(dead[1], Uint8Array.of(1))).code).toBe('ERR_STALE_REF')
        // Their place is given out again, and known as what it is now.
        table.set(0, m.allocArray(refs, LENGTH))
        table.set(1, m.allocArray(bytes, 4 * LENGTH))
        expect([m.i32[at(0) + 2], m.u8[at(1) * 4 + 8]]).toEqual([0, 0])
        heap.assertValid()
      },
      { maxBytes: '16m' },
    )
  })

  it('checks the views: past the end, into the header, into no object, into no area', () => {
    checked((m, heap) => {
      const node = heap.defineShape('Node', { next: 'ref', n: 'i32' })
      const bytes = heap.defineArray('Bytes', 'u8')
      const ref = m.alloc(node)
      m.i32[ref + node.at.n] = 3
      expect(m.i32[ref + node.at.n]).toBe(3)
      expect(m.i32[ref]).toBe(node.id)
      expect(failure(() => m.i32[ref + node.granules * 2]).code).toBe('ERR_BOUNDS')
      expect(failure(() => (m.i32[ref] = 5)).message).toMatch(/overwrites the header of a 'Node'/)
      expect(failure(() => (m.i32[ref + node.at.next] = ref + 2)).code).toBe('ERR_BAD_REF')
      expect(failure(() => m.i32[2000]).code).toBe('ERR_BOUNDS')
      expect(failure(() => m.i32[-1]).code).toBe('ERR_BOUNDS')
      expect(failure(() => m.u8[NaN]).code).toBe('ERR_BOUNDS')
      const array = m.allocArray(bytes, 40_000)
      m.u8[array * 4 + 8 + 39_999] = 1
      expect(m.u8[array * 4 + 8 + 39_999]).toBe(1)
      expect(failure(() => m.u8[array * 4 + 8 + 40_000]).code).toBe('ERR_BOUNDS')
      const table = m.roots.table('ref', 4)
      expect(m.rootsI32[table.base]).toBe(0)
      expect(failure(() => m.rootsI32[table.base + 100_000]).message).toMatch(/is in no root area: add area.base/)
    })
  })

  it('refuses a stale Ref where a view stores it into a root slot, or into a slot for values', () => {
    checked((m, heap) => {
      const node = heap.defineShape('Node', { next: 'ref', v: 'value' })
      const boxes = heap.defineArray('Boxes', 'value')
      const refs = m.roots.stack('ref', 4)
      const values = m.roots.stack('value', 4)
      const table = m.roots.table('ref', 2)
      table.set(0, m.alloc(node))
      const stale = table.get(0) as Ref
      heap.collectSync()
      table.set(1, m.allocArray(boxes, 2))
      const [object, array] = [0, 1].map((i) => table.get(i) as Ref)
      const word = (ref: Ref): number => new Float64Array(new Int32Array([ref, Tag.Ref]).buffer)[0]
      const rootWord = 2 * (values.base + 1)
      const box = array + 2 * boxes.elementsAt
      const pair = (view: Int32Array, at: number, ref: Ref): void => {
        view[at] = ref // before the tag: a collector that looks in between must find no other number tagged as a reference
        view[at + 1] = Tag.Ref
      }
      const stores: ((ref: Ref) => void)[] = [
        (ref) => (m.rootsI32[refs.base] = ref),
        (ref) => pair(m.rootsI32, rootWord, ref),
        (ref) => (m.rootsF64[values.base + 1] = word(ref)),
        (ref) => pair(m.i32, object + 2 * node.at.v, ref),
        (ref) => (m.f64[(array >>> 1) + boxes.elementsAt] = word(ref)),
        (ref) => pair(m.i32, box, ref),
      ]
      for (const store of stores) {
        expect(failure(() => store(stale))).toMatchObject({
          code: 'ERR_STALE_REF',
          message: expect.stringMatching(/^m\.\w+\[\d+\] = .* \(the stored Ref\): the Ref \d+ is stale/),
        })
        store(object)
        // Another kind of value: its tag goes first.
        m.rootsI32[rootWord + 1] = m.i32[box + 1] = m.i32[object + 2 * node.at.v + 1] = Tag.Int
        m.rootsI32[rootWord] = m.i32[box] = m.i32[object + 2 * node.at.v] = 3
      }
      expect(failure(() => pair(m.rootsI32, rootWord, (object + 1) as Ref)).code).toBe('ERR_BAD_REF')
      m.rootsI32[refs.base] = 0
      m.rootsF64[values.base] = 0.5
    })
  })

  it('says what the mistake was: null, a slot of another kind, a place inside parked, an index that is none', () => {
    checked((m, heap) => {
      const node = heap.defineShape('Node', { next: 'ref', key: 'f64', v: 'value' })
      const ref = m.alloc(node)
      expect(failure(() => m.i32[0 + node.at.next])).toMatchObject({
        code: 'ERR_BAD_REF',
        message: expect.stringMatching(/the Ref was 0, which is null/),
      })
      expect(failure(() => m.setRef(ref, node.at.v, ref)).message).toBe(
        `setRef stores a ref, and 'Node' has value in slot 'v' there`,
      )
      expect(failure(() => m.setRef(ref, node.at.key, ref)).message).toMatch(/has f64 in slot 'key' there/)
      expect(failure(() => m.i32[undefined as never])).toMatchObject({ code: 'ERR_BOUNDS' })
      expect(failure(() => m.parked(() => m.alloc(node)))).toMatchObject({
        code: 'ERR_NOT_RUNNING',
        message: expect.stringMatching(/inside m\.parked\(\)/),
      })
    })
  })

  it('refuses to store into what is no slot of a handle: a property of the handle alone would be lost with it', () => {
    checked((m, heap) => {
      const node = heap.defineShape('Node', { next: 'ref', count: 'i32' })
      const names = heap.defineArray('Names', 'ref')
      m.scoped((scope) => {
        const handle = scope.new(node, { count: 1 })
        const array = scope.newArray(names, [handle])
        const plain = (of: unknown): Record<string, unknown> => of as Record<string, unknown>
        expect(failure(() => (plain(handle)['cuont'] = 2)).message).toBe(
          `'Node' has no slot "cuont": did you mean 'count'?`,
        )
        expect(failure(() => (plain(array)['0'] = null))).toMatchObject({
          code: 'ERR_BOUNDS',
          message: `'Names' has no slot "0": elements are read by get(index) and written by set(index, value)`,
        })
        expect(failure(() => (plain(handle)['ref'] = 0)).message).toBe(
          `'ref' is a member of every handle, which cannot be set`,
        )
        handle.count = 3
        handle.next = array
        expect([handle.count, handle.next, array.get(0)!.is(handle), Object.keys(handle)]).toEqual([
          3,
          expect.objectContaining({ shape: names }),
          true,
          ['_slot', '_owner'],
        ])
      })
    })
  })

  it('checks uses outside run, of views and stores too', () => {
    using heap = Heap.create({ maxBytes: '8m', checked: true, ...options })
    const node = heap.defineShape('Node', { next: 'ref' })
    const { m, ref } = heap.run((m) => ({ m, ref: m.alloc(node) }))
    expect(failure(() => m.i32[ref]).code).toBe('ERR_NOT_RUNNING')
    expect(failure(() => m.setRef(ref, node.at.next, 0)).code).toBe('ERR_NOT_RUNNING')
    expect(failure(() => m.rootsI32[0]).code).toBe('ERR_NOT_RUNNING')
  })

  it('runs a right program under every kind of stress', () => {
    for (const stress of [{ everyAllocations: 3 }, { everySite: true }, { everySafepoint: true }]) {
      checked(
        (m, heap) => {
          const node = heap.defineShape('Node', { next: 'ref', key: 'i32' })
          const table = m.roots.table('ref', 1)
          for (let i = 0; i < 60; i++) {
            const ref = m.alloc(node)
            m.i32[ref + node.at.key] = i
            m.setRef(ref, node.at.next, table.get(0) as Ref)
            table.set(0, ref)
            if (m.mustPoll()) m.poll()
          }
          let expected = 60
          for (let ref = table.get(0) as Ref; ref !== 0; ref = m.getRef(ref, node.at.next)) {
            expect(m.i32[ref + node.at.key]).toBe(--expected)
          }
          expect(expected).toBe(0)
          expect(heap.stats().collections).toBeGreaterThan(0)
          heap.assertValid()
        },
        { stress },
      )
    }
  })
})

describe('stress', () => {
  const collections = (stress: HeapOptions['stress'], program: (m: Mutator, heap: Heap) => void): number => {
    using heap = Heap.create({ maxBytes: '8m', collector: 'stop-the-world', stress })
    heap.run((m) => program(m, heap))
    return heap.stats().collections
  }
  it('collects at every n-th allocation', () => {
    const program = (m: Mutator, heap: Heap): void => {
      const node = heap.defineShape('Node', { a: 'i32' })
      for (let i = 0; i < 100; i++) m.alloc(node)
    }
    expect(collections({}, program)).toBe(0)
    expect(collections({ everyAllocations: 10 }, program)).toBe(10)
    expect(collections({ everySafepoint: true }, program)).toBeGreaterThanOrEqual(100)
  })
  it('collects once for each site that allocates', () => {
    const count = collections({ everySite: true }, (m, heap) => {
      const node = heap.defineShape('Node', { a: 'i32' })
      for (let i = 0; i < 50; i++) {
        m.alloc(node)
        m.alloc(node)
      }
    })
    expect(count).toBe(2)
  })
  it('finds a missing root with everySafepoint', () => {
    using heap = Heap.create({
      maxBytes: '8m',
      collector: 'stop-the-world',
      checked: true,
      stress: { everySafepoint: true },
    })
    const node = heap.defineShape('Node', { next: 'ref' })
    heap.run((m) => {
      const a = m.alloc(node)
      const b = m.alloc(node)
      expect(failure(() => m.setRef(b, node.at.next, a)).code).toBe('ERR_STALE_REF')
    })
  })
})
