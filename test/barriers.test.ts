// The order of a barrier's stores, as a marker beside the mutator sees it: another thread may read a slot between any two
// of them. So after each one the slot must read as no reference, or as one that the slot held, or shall hold. A race
// would show this now and then; views that look after every store show it always.
//
// Of both tiers: a checked heap has stores of its own, which first prove that they make sense.
import { Heap } from 'glissade'
import { describe, expect, it } from 'vitest'
import { generateBarriers, type Barriers } from '../dist/heap/barriers.js'
import { CheckedState } from '../dist/heap/checked.js'
import type { HeapCore } from '../dist/heap/heap-core.js'
import { AREA_BASE, AREA_WORDS, AreaKind, AreaWord, CARD_SHIFT, Tag, Word } from '../dist/heap/layout.js'
import type { Views } from '../dist/heap/memory.js'
import { encode, encoded, Tagged, writeEncoded, type RawValue, type Ref } from '../dist/heap/values.js'

/** The slot under test: a value slot of an object, with others around it. */
const OBJECT = 600 as Ref
const AT = 3
const WORD = OBJECT + 2 * AT
/** What the slot holds before, and the reference stored by those that store one. */
const OLD = 0x1234
const NEW = 1400 as Ref
/** Another object, whose value copies come from. */
const OTHER = 96 as Ref
const SOURCE = OTHER / 2 + 2
/** … and a root slot. */
const ROOT = 1
/** A plain payload that would be a Ref, if it wore the tag. */
const INTEGER = 0x4242

/** Where shapes are defined; nothing is allocated in it. */
const heap = Heap.create({ maxBytes: '1m', collector: 'none' })
const shape = heap.defineShape('Slots', { a: 'value', b: 'value', c: 'value', d: 'value', r: 'ref' })
const refs = heap.defineArray('Refs', 'ref')
const ARRAY = 700 as Ref

const TIERS = ['raw', 'checked'] as const
type Tier = (typeof TIERS)[number]

/** What a store does to views, in a heap of two pages that is none; in the checked tier it knows four objects. */
function barriersOf(tier: Tier, views: Views): Barriers {
  if (tier === 'raw') return generateBarriers(0, views)
  const core = { views, shapes: heap._core.shapes, checkRunning: () => undefined }
  const checked = new CheckedState(core as unknown as HeapCore, null)
  for (const ref of [OBJECT, OTHER, NEW, ARRAY]) checked.objectAt(ref)
  return checked.barriers
}
function memory() {
  const i32 = new Int32Array(2048)
  for (const ref of [OBJECT, OTHER, NEW]) i32[ref] = shape.id
  i32[ARRAY] = refs.id
  i32[ARRAY + 1] = 400 << 2
  const { buffer } = i32
  // One root area of two values.
  const roots = new ArrayBuffer(16)
  const control = new Int32Array(AREA_BASE + AREA_WORDS)
  control[Word.AreaCount] = 1
  control[AREA_BASE + AreaWord.Kind] = AreaKind.ValueStack
  control[AREA_BASE + AreaWord.Capacity] = control[AREA_BASE + AreaWord.Top] = 2
  const views = {
    i32,
    f64: new Float64Array(buffer),
    u32: new Uint32Array(buffer),
    u16: new Uint16Array(buffer),
    u8: new Uint8Array(buffer),
    rootsI32: new Int32Array(roots),
    rootsF64: new Float64Array(roots),
    control,
    cards: new Uint8Array(i32.length >>> CARD_SHIFT),
  }
  return views
}

class Recorder {
  readonly #memory = memory()
  readonly i32 = this.#memory.i32
  readonly cards = this.#memory.cards
  readonly seen: number[] = []
  /** The view that was stored into last. */
  last = ''
  readonly barriers: Barriers
  readonly watched: Views
  constructor(tier: Tier) {
    const { i32, f64, cards } = this.#memory
    const watched = { i32: this.#watch(i32, 'i32'), f64: this.#watch(f64, 'f64'), cards: this.#watch(cards, 'cards') }
    this.watched = { ...this.#memory, ...watched } as unknown as Views
    this.barriers = barriersOf(tier, this.watched)
  }
  /** What handles and root areas store with, at the slot under test. */
  write(value: RawValue): void {
    const { i32, f64, cards } = this.watched
    encode(value)
    writeEncoded(i32, f64, cards, WORD, encoded.tag, encoded.payload)
  }
  /** The array itself, with a look at the slot after each store. */
  #watch<T extends Int32Array | Float64Array | Uint8Array>(view: T, name: string): T {
    return new Proxy(view, {
      get: (target, key) => Reflect.get(target, key, target) as unknown,
      set: (target, key, value: number) => {
        target[key as unknown as number] = value
        this.last = name
        if (this.i32[WORD + 1] === Tag.Ref) this.seen.push(this.i32[WORD])
        return true
      },
    })
  }
  putRoot(high: number, low: number): void {
    this.#memory.rootsI32.set([low, high], 2 * ROOT)
  }
  /** Puts a value into a slot without being seen. */
  put(word: number, high: number, low: number): void {
    this.i32[word] = low
    this.i32[word + 1] = high
  }
}

const wildNaN = new Float64Array(new Uint32Array([INTEGER, Tag.Ref]).buffer)[0]

const CANONICAL: [number, number] = [0x7ff80000, 0]

/** What is stored: by name, how, and the slot's two words afterwards, tag (or the upper half of a number) first. */
const STORES: readonly [string, (barriers: Barriers, recorder: Recorder) => void, [number, number]][] = [
  ['setValueRef', (b) => b.setValueRef(OBJECT, AT, NEW), [Tag.Ref, NEW]],
  ['setValueNumber', (b) => b.setValueNumber(OBJECT, AT, 1.5), [0x3ff80000, 0]],
  ['setValueNumber of a NaN that looks like a reference', (b) => b.setValueNumber(OBJECT, AT, wildNaN), CANONICAL],
  ['setValueInt', (b) => b.setValueInt(OBJECT, AT, INTEGER), [Tag.Int, INTEGER]],
  ['setValueBool of true', (b) => b.setValueBool(OBJECT, AT, true), [Tag.Boolean, 1]],
  ['setValueBool of false', (b) => b.setValueBool(OBJECT, AT, false), [Tag.Boolean, 0]],
  ['setValueNil', (b) => b.setValueNil(OBJECT, AT), [Tag.Nil, 0]],
  ['setValueUndefined', (b) => b.setValueUndefined(OBJECT, AT), [Tag.Undefined, 0]],
  ['setValueTagged', (b) => b.setValueTagged(OBJECT, AT, Tag.User1, INTEGER), [Tag.User1, INTEGER]],
  [
    'copyValue of a reference',
    (b, recorder) => {
      recorder.put(2 * SOURCE, Tag.Ref, NEW)
      b.copyValue(OBJECT, AT, SOURCE)
    },
    [Tag.Ref, NEW],
  ],
  [
    'copyValue of an integer',
    (b, recorder) => {
      recorder.put(2 * SOURCE, Tag.Int, INTEGER)
      b.copyValue(OBJECT, AT, SOURCE)
    },
    [Tag.Int, INTEGER],
  ],
  [
    'copyRootValue of a reference',
    (b, recorder) => {
      recorder.putRoot(Tag.Ref, NEW)
      b.copyRootValue(OBJECT, AT, ROOT)
    },
    [Tag.Ref, NEW],
  ],
  [
    'copyRootValue of an integer',
    (b, recorder) => {
      recorder.putRoot(Tag.Int, INTEGER)
      b.copyRootValue(OBJECT, AT, ROOT)
    },
    [Tag.Int, INTEGER],
  ],
]
/** What handles and root areas store, in whatever tier. */
const WRITES: readonly [string, RawValue, [number, number]][] = [
  ['a reference', new Tagged(Tag.Ref, NEW), [Tag.Ref, NEW]],
  ['a boolean', true, [Tag.Boolean, 1]],
  ['nil', null, [Tag.Nil, 0]],
  ['undefined', undefined, [Tag.Undefined, 0]],
  ['a NaN that looks like a reference', wildNaN, CANONICAL],
  ['a tagged integer', new Tagged(Tag.User2, INTEGER), [Tag.User2, INTEGER]],
]

const BEFORE: readonly [string, number][] = [
  ['a reference', Tag.Ref],
  ['an integer', Tag.Int],
  ['nil', Tag.Nil],
  ['a number', 0x3ff80000],
]

/** Stores over each content that a slot may have, and looks at the slot after every step. */
function storesOver(tier: Tier, store: (recorder: Recorder) => void, [high, low]: [number, number]): Recorder[] {
  return BEFORE.map(([what, before]) => {
    const recorder = new Recorder(tier)
    recorder.put(WORD, before, OLD)
    store(recorder)
    const allowed = [...(high === Tag.Ref ? [low] : []), ...(before === Tag.Ref ? [OLD] : [])]
    const wrong = recorder.seen.filter((ref) => !allowed.includes(ref))
    expect(wrong, `over ${what}`).toEqual([])
    expect([recorder.i32[WORD + 1], recorder.i32[WORD]], `over ${what}`).toEqual([high, low])
    return recorder
  })
}

describe.each(TIERS)('the %s tier', (tier) => {
  it.each(STORES)('%s shows no reference that nobody stored, whatever was there', (_name, store, content) => {
    for (const recorder of storesOver(tier, (r) => store(r.barriers, r), content)) {
      if (content[0] !== Tag.Ref) continue
      // The card of a reference's slot is dirty, and was dirtied last.
      expect(recorder.cards[WORD >>> CARD_SHIFT]).toBe(1)
      expect(recorder.last).toBe('cards')
    }
  })

  it.each<[string, (barriers: Barriers, ref: Ref) => void, number]>([
    ['setRef', (b, ref) => b.setRef(OBJECT, shape.at.r, ref), OBJECT + shape.at.r],
    ['setElementRef', (b, ref) => b.setElementRef(ARRAY, 300, ref), ARRAY + 302],
  ])('%s dirties the card after the store', (_name, store, word) => {
    const order: string[] = []
    const watch = <T extends object>(view: T, name: string): T =>
      new Proxy(view, {
        get: (target, key) => Reflect.get(target, key, target) as unknown,
        set: (target, key, value) => {
          order.push(`${name}[${String(key)}]`)
          return Reflect.set(target, key, value, target)
        },
      })
    const plain = memory()
    const views = { ...plain, i32: watch(plain.i32, 'i32'), cards: watch(plain.cards, 'cards') }
    store(barriersOf(tier, views as unknown as Views), NEW)
    expect(order).toEqual([`i32[${word}]`, `cards[${word >>> CARD_SHIFT}]`])
  })
})

it.each(WRITES)(
  'writeEncoded of %s shows no reference that nobody stored, and marks the card of one',
  (_name, value, content) => {
    for (const recorder of storesOver('raw', (recorder) => recorder.write(value), content)) {
      if (content[0] === Tag.Ref) expect(recorder.last).toBe('cards')
    }
  },
)
