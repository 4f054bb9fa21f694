// Many elements at once: what arrives, what is refused, and that the collector sees it.
import { Heap, type ArrayHandle, type Ref, type SlotKind } from 'glissade'
import { Random, seedFromEnvironment, stepCycle } from 'glissade/testing'
import { createContext, runInContext } from 'node:vm'
import { describe, expect, it } from 'vitest'
import { copyElements } from '../../dist/heap/elements.js'
import type { HeapCore } from '../../dist/heap/heap-core.js'
import { CARD_SHIFT } from '../../dist/heap/layout.js'
import { concurrent, failure, overAll, withHeap } from './configurations.js'

const KINDS: readonly SlotKind[] = ['ref', 'value', 'f64', 'i32', 'u32', 'u16', 'u8']
const LENGTH = 3000

overAll('copied elements', (configuration) => {
  it.each(KINDS)('of kind %s arrive as those of an array of JavaScript do, between arrays and within one', (kind) => {
    const seed = seedFromEnvironment()
    const random = new Random(seed)
    withHeap(configuration, {}, (heap) => {
      const shape = heap.defineArray('Elements', kind)
      const box = heap.defineShape('Box', { number: 'i32' })
      heap.run((m) => {
        using scope = m.scope()
        const arrays = [scope.newArray(shape, LENGTH), scope.newArray(shape, LENGTH)]
        const models = [new Array<number>(LENGTH).fill(0), new Array<number>(LENGTH).fill(0)]
        const number = (array: ArrayHandle<SlotKind>, i: number): unknown => {
          if (kind !== 'ref' && kind !== 'value') return array.get(i)
          const handle = array.get(i) as ReturnType<ArrayHandle<'ref'>['get']> | 0
          return handle ? handle.as(box).number : 0
        }
        for (let i = 0; i < LENGTH; i++) {
          const value = 1 + (i % 200)
          m.scoped((inner) => {
            arrays[0].set(i, kind === 'ref' || kind === 'value' ? inner.new(box, { number: value }) : value)
          })
          models[0][i] = value
        }
        for (let round = 0; round < 60; round++) {
          const [from, to] = [random.below(2), random.below(2)]
          const count = random.below(round % 3 === 0 ? 20 : LENGTH)
          const [start, at] = [random.below(LENGTH - count), random.below(LENGTH - count)]
          arrays[to].copyElements(at, arrays[from], start, count)
          models[to].splice(at, count, ...models[from].slice(start, start + count))
          if (round % 10 === 0) heap.collectSync()
        }
        for (const [which, array] of arrays.entries()) {
          m.scoped(() => {
            const found = Array.from({ length: LENGTH }, (_, i) => number(array, i))
            expect(found, `array ${which}, GLISSADE_SEED=${seed}`).toEqual(models[which])
          })
        }
      })
    })
  })

  it('are refused whole where they do not fit, and the error says which, of what, and what would', () => {
    withHeap(configuration, {}, (heap) => {
      const refs = heap.defineArray('Refs', 'ref')
      const bytes = heap.defineArray('Bytes', 'u8')
      const one = heap.defineShape('One', { r: 'ref' })
      heap.run((m) => {
        using scope = m.scope()
        const [target, source, text] = [scope.newArray(refs, 5), scope.newArray(refs, 4), scope.newArray(bytes, 9)]
        for (let i = 0; i < 4; i++) source.set(i, source)
        const bad: readonly [at: unknown, from: unknown, count: unknown, message: RegExp][] = [
          [2, 0, 4, /^copyElements of 4 elements to index 2 of a 'Refs' with 5: whole numbers from 0 on/],
          [0, 1, 4, /^copyElements of 4 elements from index 1 of a 'Refs' with 4: /],
          [-1, 0, 1, /to index -1 of/],
          [0, 0.5, 1, /from index 0.5 of/],
          [0, 0, -1, /of -1 elements/],
          [0, 0, NaN, /of NaN elements/],
          [2 ** 32, 0, 1, /to index 4294967296 of/],
          ['1', 0, 1, /to index "1" of/],
          [undefined, 0, 1, /to index undefined of/],
          [0, 0, 1n, /of 1n elements/],
          [6, 0, 0, /to index 6 of/],
        ]
        for (const [at, from, count, message] of bad) {
          const told = { code: 'ERR_BOUNDS', message: expect.stringMatching(message) as string }
          expect(failure(() => target.copyElements(at as number, source, from as number, count as number))).toEqual(
            told,
          )
          expect(
            failure(() => m.copyElements(target.ref, at as number, source.ref, from as number, count as number)),
          ).toEqual(told)
        }
        expect(target.toArray()).toEqual([null, null, null, null, null])
        target.copyElements(5, source, 4, 0) // nothing, at the ends

        expect(failure(() => target.copyElements(0, text as never, 0, 1))).toEqual({
          code: 'ERR_WRONG_SHAPE',
          message: "copyElements from a 'Bytes' (u8) to a 'Refs' (ref): elements are copied between arrays of one kind",
        })
        expect(failure(() => m.copyElements(scope.new(one).ref, 0, source.ref, 0, 1)).message).toMatch(
          /^copyElements \(the target\): elements are of arrays, and the object is a 'One'/,
        )
        expect(failure(() => target.copyElements(0, source.ref as never, 0, 1)).code).toBe('ERR_BAD_VALUE')
        expect(failure(() => m.copyElements(target.ref, 0, 0 as Ref, 0, 1))).toMatchObject({ code: 'ERR_BAD_REF' })
      })
      expect(failure(() => heap.run((m) => m).copyElements(2 as Ref, 0, 2 as Ref, 0, 0)).code).toBe('ERR_NOT_RUNNING')
    })
  })
})

describe.each(['ref', 'value'] as const)('copied elements of kind %s', (kind) => {
  it('dirty the cards of what was stored into, and no others', () => {
    using heap = Heap.create({ maxBytes: '1m', collector: 'none' })
    const shape = heap.defineArray('Elements', kind)
    heap.run((m) => {
      using scope = m.scope()
      const array = scope.newArray(shape, 2048)
      const words = kind === 'value' ? 2 : 1
      const cardOf = (i: number): number => (array.ref + words * (shape.elementsAt + i)) >>> CARD_SHIFT
      for (let at = 0; at < 600; at++) {
        for (const count of [1, 2, 255, 256, 257, 700]) {
          m.cards.fill(0)
          m.copyElements(array.ref, at, array.ref, 1300, count)
          const dirty = [...m.cards.keys()].filter((card) => m.cards[card] !== 0)
          const wanted = Array.from({ length: cardOf(at + count - 1) - cardOf(at) + 1 }, (_, i) => cardOf(at) + i)
          expect(dirty, `${count} at ${at}`).toEqual(wanted)
        }
      }
    })
  })

  it('have their cards when a vm timeout cuts the copy off', () => {
    using heap = Heap.create({ maxBytes: '64m', collector: 'none' })
    const shape = heap.defineArray('Elements', kind)
    const box = heap.defineShape('Box', { number: 'i32' })
    const LONG = 2_000_000
    const roots = heap.run((m) => {
      const roots = m.roots.table('ref', 3)
      roots.set(2, m.alloc(box))
      for (const slot of [0, 1]) roots.set(slot, m.allocArray(shape, LONG))
      const [source, held] = [roots.get(0) as Ref, roots.get(2) as Ref]
      for (let i = 0; i < LONG; i++) {
        if (kind === 'ref') m.setElementRef(source, i, held)
        else m.setValueRef(source, shape.elementsAt + i, held)
      }
      return roots
    })
    let cutOff = 0
    for (let round = 0; round < 12; round++) {
      heap.run((m) => {
        const [source, target] = [roots.get(0) as Ref, roots.get(1) as Ref]
        const words = kind === 'value' ? 2 : 1
        const first = target + words * shape.elementsAt
        m.i32.fill(0, first, first + words * LONG)
        m.cards.fill(0)
        // Forwards, and, within one array, backwards.
        const backwards = round % 2 === 1
        const work = (): void =>
          backwards ? m.copyElements(source, 1, source, 0, LONG - 1) : m.copyElements(target, 0, source, 0, LONG)
        try {
          runInContext('work()', createContext({ work }), { timeout: 1 })
        } catch (error) {
          expect(error).toMatchObject({ code: 'ERR_SCRIPT_EXECUTION_TIMEOUT' })
          cutOff++
        }
        if (backwards) return // of what was stored nothing tells; the order of the stores is the same
        for (let i = 0; i < LONG; i++) {
          const word = first + words * i
          if (m.i32[word] !== 0 && m.cards[word >>> CARD_SHIFT] === 0) throw new Error(`element ${i} has no card`)
        }
      })
    }
    expect(cutOff).toBeGreaterThan(0)
  })

  it('are stored before their cards are dirtied', () => {
    using heap = Heap.create({ maxBytes: '1m', collector: 'none' })
    const shape = heap.defineArray('Elements', kind)
    const order: string[] = []
    const watch = <T extends object>(view: T, name: string): T =>
      new Proxy(view, {
        get: (target, key) => Reflect.get(target, key, target) as unknown,
        set(target, key, value) {
          order.push(name)
          return Reflect.set(target, key, value, target)
        },
      })
    const i32 = new Int32Array(2048)
    i32.set([shape.id, 500 << 2], 600)
    const views = {
      i32: watch(i32, 'slot'),
      f64: watch(new Float64Array(i32.buffer), 'slot'),
      control: heap._core.views.control,
      cards: watch(new Uint8Array(8), 'card'),
    }
    const core = { views, shapes: heap._core.shapes, checkRunning: () => undefined, checked: null }
    copyElements(core as unknown as HeapCore, 600 as Ref, 100, 600 as Ref, 0, 9)
    expect(order.filter((name) => name === 'slot')).toHaveLength(9)
    expect([order[0], order.at(-1)]).toEqual(['slot', 'card'])
  })
})

describe.each(concurrent)('copied elements ($name)', ({ options }) => {
  it.each(['ref', 'value'] as const)('of kind %s keep what they refer to, where a marker has been already', (kind) => {
    using heap = Heap.create({ maxBytes: '8m', verify: 4, ...options, stepping: true })
    const shape = heap.defineArray('Elements', kind)
    const box = heap.defineShape('Box', { number: 'i32' })
    heap.run((m) => {
      using scope = m.scope()
      const [kept, old] = [scope.newArray(shape, 2000), scope.newArray(shape, 500)]
      const cycle = stepCycle(heap)
      cycle.to('preclean') // both arrays are scanned
      for (let i = 0; i < 500; i++) m.scoped((inner) => old.set(i, inner.new(box, { number: i })))
      kept.copyElements(1000, old, 0, 500)
      for (let i = 0; i < 500; i++) old.set(i, null)
      cycle.finish()
      heap.collectSync()
      for (let i = 0; i < 500; i++) {
        m.scoped(() => expect((kept.get(1000 + i) as ReturnType<typeof scope.new>).as(box).number).toBe(i))
      }
    })
    heap.assertValid()
  })
})
