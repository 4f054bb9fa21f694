// Shapes: what an object is made of, told to the collector in control words and to the embedder as numbers.
//
// A shape is defined once and never changes; the entry and its slot-map range are written before the shape count that
// publishes the id, so a collector that reads the count sees whole entries. Several isolates may define shapes of one
// heap: the collector lets one at a time. Names are local to an isolate (a token carries them to another).
//
// A definition may be cut off anywhere, by a vm timeout or worker.terminate(), and no `finally` runs then: the next one's
// turn comes all the same (`Collector.defining`). All is as it was before the definition, or after it: only the count
// publishes, and entries of the slot map that no shape names are lost and nothing else.

import { HeapError, show, suggest } from './errors.js'
import {
  FIRST_SHAPE,
  GRANULE_BYTES,
  MAX_FIXED_BYTES,
  MAX_SHAPES,
  MAX_SLOT_MAP,
  SHAPE_BASE,
  SHAPE_WORDS,
  SLOT_MAP_BASE,
  ShapeKind,
  ShapeWord,
  WeakElements,
  Word,
} from './layout.js'

/** What a slot or an array element can hold. */
export type SlotKind = 'ref' | 'value' | 'f64' | 'i32' | 'u32' | 'u16' | 'u8'
/** The slots of a fixed shape by name. */
export interface SlotTable {
  readonly [name: string]: SlotKind
}

/** Size in bytes of each kind of slot. */
export const SLOT_BYTES: { readonly [K in SlotKind]: 1 | 2 | 4 | 8 } = {
  value: 8,
  f64: 8,
  ref: 4,
  i32: 4,
  u32: 4,
  u16: 2,
  u8: 1,
}
export const SLOT_KINDS = Object.keys(SLOT_BYTES) as SlotKind[]

const ARRAY_KINDS: { readonly [K in SlotKind]: number } = {
  ref: ShapeKind.ArrayRef,
  value: ShapeKind.ArrayValue,
  f64: ShapeKind.ArrayF64,
  i32: ShapeKind.ArrayI32,
  u32: ShapeKind.ArrayU32,
  u16: ShapeKind.ArrayU16,
  u8: ShapeKind.ArrayU8,
}

/**
 * Which elements of an array do not keep what they refer to. `'elements'`: none does, and the collection that finds an object
 * dead clears the elements that refer to it. `'keys'`: elements `2i` and `2i + 1` are a key and its value, an *ephemeron*
 * (Hayes, OOPSLA 1997): the key is weak, the value is kept as long as the key is, also if it refers to the key itself, and both
 * are cleared together. A key that is no reference (or null) keeps its value. A cleared `ref` is 0 (null), a cleared `value` undefined.
 */
export type WeakArray = 'elements' | 'keys'
/** How an array shape differs from a plain one. */
export interface ArrayOptions {
  /** For arrays of `ref` and `value`. Without it all elements are strong. */
  readonly weak?: WeakArray | undefined
}
const WEAK_WORDS: { readonly [W in WeakArray]: number } = { elements: WeakElements.Elements, keys: WeakElements.Keys }
/** What the collector is told of an array shape's weak elements. */
export const weakWord = (weak: WeakArray | null): number => (weak === null ? WeakElements.None : WEAK_WORDS[weak])

declare const slotTypes: unique symbol

/** A fixed shape: objects of a known length with named slots. Made by `heap.defineShape`. */
export class Shape<S = SlotTable> {
  declare readonly [slotTypes]?: S
  readonly array = false as const
  constructor(
    /** The word at `i32[ref]` of every object of this shape. */
    readonly id: number,
    readonly name: string,
    /** Length in granules (8 bytes), header included. */
    readonly granules: number,
    readonly slots: Readonly<S>,
    /**
     * Where each slot lies, in units of its own view: `f64[(ref >>> 1) + at]` for `f64` and `value`, `i32[ref + at]` for
     * `ref`, `i32` and `u32`, `u16[ref * 2 + at]`, `u8[ref * 4 + at]` (no shifts: they overflow in large heaps).
     */
    readonly at: { readonly [K in keyof S]: number },
  ) {}
}

/** A shape of arrays. Made by `heap.defineArray`. */
export class ArrayShape<K extends SlotKind = SlotKind> {
  readonly array = true as const
  /** log2 of the element size in bytes. */
  readonly shift: number
  /** Index of element 0 in units of the element view, from the object: 8 bytes into it. */
  readonly elementsAt: number
  constructor(
    /** The word at `i32[ref]` of every array of this shape. */
    readonly id: number,
    readonly name: string,
    readonly kind: K,
    /** Which elements are weak; null: none. */
    readonly weak: WeakArray | null = null,
  ) {
    this.shift = Math.log2(SLOT_BYTES[kind])
    this.elementsAt = GRANULE_BYTES >>> this.shift
  }
}

export type AnyShape = Shape<SlotTable> | ArrayShape

/** A shape as data, for another isolate. */
export interface ShapeDescription {
  readonly id: number
  readonly name: string
  readonly slots: SlotTable | SlotKind
  readonly weak?: WeakArray
}

interface FixedLayout {
  readonly granules: number
  readonly at: { [name: string]: number }
  /** One entry per reference-bearing slot: byte offset << 1 | (1 for value). */
  readonly map: number[]
}

/** The shapes of one heap in this isolate. */
export class ShapeTable {
  readonly #control: Int32Array
  readonly #defining: <T>(register: () => T) => T
  readonly #byName = new Map<string, AnyShape>()
  readonly #byId: (AnyShape | undefined)[] = []

  /** `defining` calls what it is given, for one isolate at a time. */
  constructor(control: Int32Array, defining: <T>(register: () => T) => T) {
    this.#control = control
    this.#defining = defining
  }

  byId(id: number): AnyShape | undefined {
    return this.#byId[id]
  }
  all(): AnyShape[] {
    return this.#byId.filter((shape) => shape !== undefined)
  }

  defineFixed<S extends SlotTable>(name: string, given: S): Shape<S> {
    checkName(name)
    const slots = readSlots(name, given)
    const known = this.#byName.get(name)
    if (known) {
      if (!known.array && sameSlots(known.slots, slots)) return known as unknown as Shape<S>
      throw conflict(known, describe(slots))
    }
    const layout = layOut(name, slots)
    const id = this.#register(name, ShapeKind.Fixed, layout.granules, layout.map, layout.map.length)
    return this.#add(fixedShape(id, name, slots, layout))
  }

  defineArray<K extends SlotKind>(name: string, kind: K, options: ArrayOptions = {}): ArrayShape<K> {
    checkName(name)
    checkKind(`array shape '${name}'`, kind)
    const weak = checkArrayOptions(name, kind, options)
    const known = this.#byName.get(name)
    if (known) {
      if (known.array && known.kind === kind && known.weak === weak) return known as ArrayShape<K>
      throw conflict(known, describeArray(kind, weak))
    }
    const id = this.#register(name, ARRAY_KINDS[kind], Math.log2(SLOT_BYTES[kind]), [], weakWord(weak))
    return this.#add(Object.freeze(new ArrayShape(id, name, kind, weak)))
  }

  /** Shapes that another isolate defined. Their control words exist already, and must say the same. */
  adopt(descriptions: readonly ShapeDescription[]): void {
    for (const { id, name, slots, weak } of descriptions.map(
      (description) => Object(description) as ShapeDescription,
    )) {
      checkName(name)
      if (typeof slots === 'string') {
        checkKind(`array shape '${name}'`, slots)
        const elements = checkArrayOptions(name, slots, { weak })
        this.#checkDefined(id, name, ARRAY_KINDS[slots], Math.log2(SLOT_BYTES[slots]), [], weakWord(elements))
        this.#add(Object.freeze(new ArrayShape(id, name, slots, elements)))
      } else {
        const table = readSlots(name, slots)
        const layout = layOut(name, table)
        this.#checkDefined(id, name, ShapeKind.Fixed, layout.granules, layout.map, layout.map.length)
        this.#add(fixedShape(id, name, table, layout))
      }
    }
  }
  #checkDefined(id: number, name: string, kind: number, size: number, map: readonly number[], last: number): void {
    const control = this.#control
    const entry = SHAPE_BASE + id * SHAPE_WORDS
    const known = Number.isInteger(id) && id >= FIRST_SHAPE && id < control[Word.ShapeCount]
    const same = known && control[entry + ShapeWord.Kind] === kind && control[entry + ShapeWord.Size] === size
    // A reference where the collector sees none would be lost, and a number where it sees one followed.
    if (same && hasSlotMap(control, id, map, last)) return
    throw new HeapError('ERR_BAD_SHAPE', `shape '${name}' of the token is not shape ${show(id)} of the heap`)
  }
  describeAll(): ShapeDescription[] {
    return this.all().map((shape) => {
      const { id, name } = shape
      if (!shape.array) return { id, name, slots: { ...shape.slots } }
      return shape.weak === null ? { id, name, slots: shape.kind } : { id, name, slots: shape.kind, weak: shape.weak }
    })
  }

  #add<T extends { readonly id: number; readonly name: string }>(shape: T): T {
    const any = shape as unknown as AnyShape
    this.#byName.set(any.name, any)
    this.#byId[any.id] = any
    return shape
  }

  /** `last` is the entry's last word: what the map's length is, or which elements of an array are weak. */
  #register(name: string, kind: number, size: number, map: readonly number[], last: number): number {
    const control = this.#control
    return this.#defining(() => {
      const id = control[Word.ShapeCount]
      const mapStart = control[Word.SlotMapLength]
      if (id >= MAX_SHAPES) {
        throw new HeapError(
          'ERR_BAD_SHAPE',
          `shape '${name}': a heap has at most ${MAX_SHAPES - FIRST_SHAPE} shapes; let objects with the same slots share one`,
        )
      }
      if (mapStart + map.length > MAX_SLOT_MAP) {
        throw new HeapError(
          'ERR_BAD_SHAPE',
          `shape '${name}': all shapes of a heap together have at most ${MAX_SLOT_MAP} ref and value slots`,
        )
      }
      for (let i = 0; i < map.length; i++) control[SLOT_MAP_BASE + mapStart + i] = map[i]
      const entry = SHAPE_BASE + id * SHAPE_WORDS
      control[entry + ShapeWord.Kind] = kind
      control[entry + ShapeWord.Size] = size
      control[entry + ShapeWord.SlotStart] = mapStart
      control[entry + ShapeWord.SlotCount] = last
      control[Word.SlotMapLength] = mapStart + map.length
      Atomics.store(control, Word.ShapeCount, id + 1)
      return id
    })
  }
}

function fixedShape<S extends SlotTable>(id: number, name: string, slots: S, layout: FixedLayout): Shape<S> {
  // A copy by assignment has fast properties: `layout.at` has no prototype, which makes it a dictionary, and generated
  // loops read `shape.at.NAME`.
  const at = Object.freeze(Object.assign({}, layout.at)) as { readonly [K in keyof S]: number }
  return Object.freeze(new Shape<S>(id, name, layout.granules, Object.freeze({ ...slots }), at))
}

/** Slots by decreasing size, in declaration order within a size. */
function layOut(name: string, slots: SlotTable): FixedLayout {
  const at = Object.create(null) as { [name: string]: number }
  const map: number[] = []
  let offset = GRANULE_BYTES
  for (const size of [8, 4, 2, 1]) {
    for (const [slot, kind] of Object.entries(slots)) {
      if (SLOT_BYTES[kind] !== size) continue
      at[slot] = offset / size
      if (kind === 'ref') map.push(offset << 1)
      if (kind === 'value') map.push((offset << 1) | 1)
      offset += size
    }
  }
  const granules = Math.ceil(offset / GRANULE_BYTES)
  if (granules * GRANULE_BYTES > MAX_FIXED_BYTES) {
    throw new HeapError(
      'ERR_BAD_SHAPE',
      `shape '${name}' is ${granules * GRANULE_BYTES} bytes long; a fixed shape has at most ${MAX_FIXED_BYTES}: use an array`,
    )
  }
  return { granules, at, map }
}

/** Whether the collector is told of these entries for shape `id`, and this last word: the same references in the same places. */
export function hasSlotMap(control: Int32Array, id: number, map: readonly number[], last: number): boolean {
  const entry = SHAPE_BASE + id * SHAPE_WORDS
  const start = SLOT_MAP_BASE + control[entry + ShapeWord.SlotStart]
  return control[entry + ShapeWord.SlotCount] === last && map.every((slot, i) => control[start + i] === slot)
}

/** What {@link layOut} said of a shape's references. */
export function slotMapOf({ slots, at }: Shape<SlotTable>): number[] {
  return Object.entries(slots)
    .filter(([, kind]) => kind === 'ref' || kind === 'value')
    .map(([slot, kind]) => ((at[slot] * SLOT_BYTES[kind]) << 1) | (kind === 'value' ? 1 : 0))
    .sort((a, b) => a - b)
}

function checkName(name: string): void {
  if (typeof name !== 'string' || name === '') {
    throw new HeapError('ERR_BAD_SHAPE', `a shape has a name, a string that is not empty; got ${show(name)}`)
  }
}

/** The slots as they are told to all: read once, for a getter may say something else the next time. */
function readSlots<S extends SlotTable>(name: string, given: S): S {
  // Also no Map, whose entries are no slots.
  if (Object.prototype.toString.call(given) !== '[object Object]') {
    throw new HeapError(
      'ERR_BAD_SHAPE',
      `shape '${name}': slots are an object like { next: 'ref' }; got ${show(given)}`,
    )
  }
  const slots = { ...given }
  for (const [slot, kind] of Object.entries(slots)) {
    if (!/^[A-Za-z_$][\w$]*$/.test(slot) || slot === '__proto__') {
      throw new HeapError(
        'ERR_BAD_SHAPE',
        `shape '${name}': slot name ${show(slot)} is not an identifier of ASCII letters, digits, _ and $`,
      )
    }
    checkKind(`slot '${slot}' of shape '${name}'`, kind)
  }
  return slots
}

function checkKind(what: string, kind: unknown): void {
  if (typeof kind === 'string' && SLOT_KINDS.includes(kind as SlotKind)) return
  const near = typeof kind === 'string' ? suggest(kind, SLOT_KINDS) : undefined
  throw new HeapError(
    'ERR_BAD_SHAPE',
    `${what}: unknown slot kind ${show(kind)}${near ? `, did you mean '${near}'?` : ''}; kinds are ${SLOT_KINDS.join(', ')}`,
  )
}

function checkArrayOptions(name: string, kind: SlotKind, options: unknown): WeakArray | null {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw new HeapError(
      'ERR_OPTION',
      `array shape '${name}': options are an object like { weak: 'elements' }; got ${show(options)}`,
    )
  }
  const unknown = Object.keys(options).find((option) => option !== 'weak')
  if (unknown !== undefined) {
    throw new HeapError('ERR_OPTION', `array shape '${name}': unknown option '${unknown}'; the only one is 'weak'`)
  }
  const { weak } = options as { weak?: unknown }
  if (weak === undefined) return null
  if (typeof weak !== 'string' || !Object.hasOwn(WEAK_WORDS, weak)) {
    throw new HeapError('ERR_OPTION', `array shape '${name}': weak is 'elements' or 'keys'; got ${show(weak)}`)
  }
  if (kind !== 'ref' && kind !== 'value') {
    throw new HeapError(
      'ERR_OPTION',
      `array shape '${name}': only arrays of 'ref' and 'value' can be weak; this one is of '${kind}'`,
    )
  }
  return weak as WeakArray
}

/** An array of `length` elements was asked for one that it does not have. */
export function noElement(shape: AnyShape, index: unknown, length: number, where = ''): HeapError {
  const has = length === 0 ? 'it has none' : `it has ${length}, counted from 0`
  return new HeapError('ERR_BOUNDS', `${where}'${shape.name}' has no element ${show(index)}: ${has}`)
}

function describeArray(kind: SlotKind, weak: WeakArray | null): string {
  return `array of ${kind}${weak === null ? '' : ` with weak ${weak}`}`
}

function sameSlots(a: SlotTable, b: SlotTable): boolean {
  // Order counts: it decides the layout.
  return describe(a) === describe(b)
}
function describe(slots: SlotTable): string {
  return `{ ${Object.entries(slots)
    .map(([slot, kind]) => `${slot}: ${kind}`)
    .join(', ')} }`
}
const shorten = (text: string): string => (text.length > 160 ? `${text.slice(0, 156)} … }` : text)
function conflict(known: AnyShape, wanted: string): HeapError {
  const was = known.array ? describeArray(known.kind, known.weak) : shorten(describe(known.slots))
  return new HeapError(
    'ERR_SHAPE_CONFLICT',
    `shape '${known.name}' is already defined as ${was}; got ${shorten(wanted)}. A shape never changes: use another name`,
  )
}

/** Whether an object of one shape may become one of the other: equal length, references in the same places. */
export function interchangeable(from: AnyShape, to: AnyShape | undefined): boolean {
  if (to === undefined || from.array || to.array || from.granules !== to.granules) return false
  return references(from) === references(to)
}
function references(shape: Shape<SlotTable>): string {
  return Object.entries(shape.slots)
    .filter(([, kind]) => kind === 'ref' || kind === 'value')
    .map(([slot, kind]) => `${kind}@${shape.at[slot]}`)
    .sort()
    .join()
}

/** How a received shape appears in a message. */
export function showShape(shape: unknown): string {
  if (shape instanceof Shape) return `the shape '${shape.name}', which is not one of those`
  return shape instanceof ArrayShape ? `the array shape '${shape.name}', which is not one of those` : show(shape)
}
