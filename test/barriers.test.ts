// The order of a barrier's stores, as a marker beside the mutator sees it: another thread may read a slot between any two
// of them. So after each one the slot must read as no reference, or as one that the slot held, or shall hold. A race
// would show this now and then; views that look after every store show it always.
import { describe, expect, it } from 'vitest'
import { generateBarriers, type Barriers } from '../dist/heap/barriers.js'
import { CARD_SHIFT, Tag } from '../dist/heap/layout.js'
import type { Views } from '../dist/heap/memory.js'
import { Tagged, writeValue, type RawValue, type Ref } from '../dist/heap/values.js'

/** The slot under test: a value slot of an object, with others around it. */
const OBJECT = 600 as Ref
const AT = 3
const WORD = OBJECT + 2 * AT
/** What the slot holds before, and the reference stored by those that store one. */
const OLD = 0x1234
const NEW = 0x5678 as Ref
/** A plain payload that would be a Ref, if it wore the tag. */
const INTEGER = 0x4242

class Recorder {
  readonly i32 = new Int32Array(2048)
  readonly f64 = new Float64Array(this.i32.buffer)
  readonly cards = new Uint8Array(this.i32.length >>> CARD_SHIFT)
  readonly seen: number[] = []
  readonly barriers: Barriers
  readonly watched: Views
  constructor() {
    const views = { i32: this.#watch(this.i32), f64: this.#watch(this.f64), cards: this.#watch(this.cards) }
    this.watched = views as unknown as Views
    this.barriers = generateBarriers(0, this.watched)
  }
  /** What handles and root areas store with, at the slot under test. The card is theirs to mark. */
  write(value: RawValue): void {
    writeValue(this.watched.i32, this.watched.f64, WORD / 2, value)
  }
  /** The array itself, with a look at the slot after each store. */
  #watch<T extends Int32Array | Float64Array | Uint8Array>(view: T): T {
    return new Proxy(view, {
      set: (target, key, value: number) => {
        target[key as unknown as number] = value
        if (this.i32[WORD + 1] === Tag.Ref) this.seen.push(this.i32[WORD])
        return true
      },
    })
  }
  /** Puts a value into a slot without being seen. */
  put(word: number, high: number, low: number): void {
    this.i32[word] = low
    this.i32[word + 1] = high
  }
}

const wildNaN = new Float64Array(new Uint32Array([INTEGER, Tag.Ref]).buffer)[0]

const STORES: readonly [string, (barriers: Barriers, recorder: Recorder) => void, number[]][] = [
  ['setValueRef', (b) => b.setValueRef(OBJECT, AT, NEW), [NEW]],
  ['setValueNumber', (b) => b.setValueNumber(OBJECT, AT, 1.5), []],
  ['setValueNumber of a NaN that looks like a reference', (b) => b.setValueNumber(OBJECT, AT, wildNaN), []],
  ['setValueInt', (b) => b.setValueInt(OBJECT, AT, INTEGER), []],
  ['setValueBool', (b) => b.setValueBool(OBJECT, AT, true), []],
  ['setValueNil', (b) => b.setValueNil(OBJECT, AT), []],
  ['setValueUndefined', (b) => b.setValueUndefined(OBJECT, AT), []],
  ['setValueTagged', (b) => b.setValueTagged(OBJECT, AT, Tag.User1, INTEGER), []],
  [
    'copyValue of a reference',
    (b, recorder) => {
      recorder.put(100, Tag.Ref, NEW)
      b.copyValue(OBJECT, AT, 50)
    },
    [NEW],
  ],
  [
    'copyValue of an integer',
    (b, recorder) => {
      recorder.put(100, Tag.Int, INTEGER)
      b.copyValue(OBJECT, AT, 50)
    },
    [],
  ],
  ['writeValue of a reference', (_b, recorder) => recorder.write(new Tagged(Tag.Ref, NEW)), [NEW]],
  ['writeValue of a boolean', (_b, recorder) => recorder.write(true), []],
  ['writeValue of nil', (_b, recorder) => recorder.write(null), []],
  ['writeValue of undefined', (_b, recorder) => recorder.write(undefined), []],
  ['writeValue of a NaN that looks like a reference', (_b, recorder) => recorder.write(wildNaN), []],
  ['writeValue of a tagged integer', (_b, recorder) => recorder.write(new Tagged(Tag.User2, INTEGER)), []],
]

const BEFORE: readonly [string, number][] = [
  ['a reference', Tag.Ref],
  ['an integer', Tag.Int],
  ['nil', Tag.Nil],
  ['a number', 0x3ff80000],
]

describe.each(STORES)('%s', (name, store, stored) => {
  it.each(BEFORE)('over %s shows no reference that nobody stored', (_before, high) => {
    const recorder = new Recorder()
    recorder.put(WORD, high, OLD)
    store(recorder.barriers, recorder)
    const allowed = [...stored, ...(high === Tag.Ref ? [OLD] : [])]
    expect(recorder.seen.filter((ref) => !allowed.includes(ref))).toEqual([])
    // What stays is what was stored, and a barrier has dirtied the card of a reference's slot, after the reference.
    const held = recorder.i32[WORD + 1] === Tag.Ref ? [recorder.i32[WORD]] : []
    expect(held).toEqual(stored)
    if (stored.length > 0 && !name.startsWith('writeValue')) {
      expect(recorder.cards[WORD >>> CARD_SHIFT]).toBe(1)
      expect(recorder.seen.at(-1)).toBe(NEW)
    }
  })
})

describe('the card of a reference', () => {
  it.each<[string, (barriers: Barriers, ref: Ref) => void, number]>([
    ['setRef', (b, ref) => b.setRef(OBJECT, 5, ref), OBJECT + 5],
    ['setElementRef', (b, ref) => b.setElementRef(OBJECT, 300, ref), OBJECT + 302],
  ])('%s dirties it after the store', (_name, store, word) => {
    const order: string[] = []
    const watch = <T extends object>(view: T, name: string): T =>
      new Proxy(view, {
        set: (target, key, value) => {
          order.push(`${name}[${String(key)}]`)
          return Reflect.set(target, key, value)
        },
      })
    const views = { i32: watch(new Int32Array(2048), 'i32'), cards: watch(new Uint8Array(8), 'cards') }
    store(generateBarriers(0, views as unknown as Views), NEW)
    expect(order).toEqual([`i32[${word}]`, `cards[${word >>> CARD_SHIFT}]`])
  })
})
