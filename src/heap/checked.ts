// The checked tier (`checked: true`): the same operations, each of which first proves that it makes sense.
//
// A side table knows every object start: allocation adds, a collection starts it afresh (portable collectors tell where
// objects are; the concurrent one is re-traced when the epoch has changed). Every collection of a checked heap moves its
// objects to addresses not used lately, so a Ref kept across one finds no object there and is told as stale. Nothing here
// is on the unchecked paths: checked heaps get other classes, and Proxy views (100–300 ns an access).

import type { Barriers } from './barriers.js'
import { HeapError, show } from './errors.js'
import type { HeapCore } from './heap-core.js'
import {
  AreaKind,
  AreaWord,
  CARD_SHIFT,
  FLAG_BITS,
  MAX_FIXED_BYTES,
  PAGE_BYTES,
  Tag,
  Word,
  areaBlock,
  slotWords,
} from './layout.js'
import type { Views } from './memory.js'
import { ObjectStarts } from './object-starts.js'
import { interchangeable, noElement, SLOT_BYTES, type AnyShape, type SlotKind } from './shapes.js'
import { checkPayload, checkUserTag, isInt32, type Ref } from './values.js'

type Retrace = (visit: (ref: number) => boolean, from?: Ref) => void

export class CheckedState {
  readonly views: Views
  readonly barriers: Barriers
  readonly #core: HeapCore
  readonly #starts: ObjectStarts
  #epoch = 0
  /** Finds all objects from the roots: for collectors that do not tell. */
  readonly #retrace: Retrace | null

  constructor(core: HeapCore, retrace: Retrace | null) {
    this.#core = core
    this.#starts = new ObjectStarts(core.views.f64.length)
    this.#retrace = retrace
    this.views = this.#proxyViews(core.views)
    this.barriers = this.#checkedBarriers()
  }

  // ---- the table of object starts

  forgetObjects(): void {
    this.#starts.forget()
  }
  objectAt(ref: number): void {
    this.#starts.add(ref)
  }
  allocated(ref: number, granules: number): void {
    this.#starts.addNew(ref, granules)
  }

  /** Whether objects have moved since the table was made, and nobody has told where to. */
  get behind(): boolean {
    return this.#retrace !== null && this.#core.views.control[Word.Epoch] !== this.#epoch
  }

  /**
   * Brings the table up to the current epoch, for collectors that do not tell where objects went. At the end of every
   * safepoint, when roots are published: later, an object may be held by a local alone. It stops the other threads, and
   * while it waits for its turn to do so, they may stop this one: so it is a safepoint itself, where it does anything.
   * The end of the stack, or a vm timeout, may cut it off: then the next check does it, before it calls anything stale.
   */
  sync(): void {
    if (this.#retrace === null || !this.behind || this.#core.closed) return
    this.forgetObjects()
    this.#retrace((ref) => {
      this.objectAt(ref)
      return true
    })
    this.#epoch = this.#core.views.control[Word.Epoch]
  }

  /**
   * What guardians hand out no root led to between the pause that found it due and its handing over: a table that was made
   * then knows nothing of it. Nobody else knows it either, so that no thread need be stopped.
   */
  reach(ref: Ref): void {
    if (this.#retrace === null || this.#starts.has(ref)) return
    // Cut off half way, the table would know an object and not what it leads to: until the end it counts as behind.
    const epoch = this.#epoch
    this.#epoch = -1
    this.#retrace((found) => {
      if (this.#starts.has(found)) return false
      this.objectAt(found)
      return true
    }, ref)
    this.#epoch = epoch
  }

  /** What the table does not know of in a shared heap, for messages. */
  get #orElsewhere(): string {
    return this.#core.shared ? ', or another thread allocated it since the last collection' : ''
  }

  // ---- checks

  /** Throws unless a live object begins at `ref`. */
  checkObject(ref: Ref | number, what: string): AnyShape {
    this.#core.checkRunning(what)
    if (typeof ref !== 'number' || !Number.isInteger(ref)) {
      throw new HeapError('ERR_BAD_REF', `${what}: a Ref is a whole number; got ${show(ref)}`)
    }
    if (ref === 0) throw new HeapError('ERR_BAD_REF', `${what}: the Ref is 0, which is null: test for it first`)
    if ((ref & 1) !== 0)
      throw new HeapError('ERR_BAD_REF', `${what}: ${ref} is odd, and objects begin at even word indices`)
    if (ref < 0 || ref >= this.#core.views.i32.length) {
      throw new HeapError('ERR_BAD_REF', `${what}: ${ref} is outside the heap's ${this.#core.views.i32.length} words`)
    }
    this.sync()
    if (!this.#starts.has(ref)) {
      if (this.#starts.had(ref)) {
        throw new HeapError(
          'ERR_STALE_REF',
          `${what}: the Ref ${ref} is stale: its object has moved or died. Every allocation and poll is a safepoint; ` +
            'across one keep references in a root area, a handle or the heap, and read them again',
        )
      }
      throw new HeapError('ERR_BAD_REF', `${what}: no object begins at ${ref}${this.#orElsewhere}`)
    }
    const shape = this.#core.shapes.byId(this.#core.views.i32[ref])
    if (shape === undefined) {
      const id = this.#core.views.i32[ref]
      throw new HeapError(
        'ERR_BAD_REF',
        id === 0
          ? `${what}: the object at ${ref} is gone, though something refers to it: a store without its card, or a Ref that was kept too long`
          : `${what}: the header at ${ref} was overwritten (shape id ${id})`,
      )
    }
    return shape
  }

  /** Throws unless a slot of this kind lies at `at` of the object, in units of the kind's view. */
  checkSlot(object: Ref | number, at: number, kind: SlotKind, what: string, verb = 'stores'): void {
    const shape = this.checkObject(object, what)
    if (shape.array) {
      if (shape.kind !== kind) throw this.#wrongKind(shape, shape.kind, kind, `${what} ${verb}`)
      const index = typeof at === 'number' ? at - shape.elementsAt : at // text would be added as text
      const length = this.#core.views.i32[object + 1] >>> FLAG_BITS
      if (!Number.isInteger(index) || index < 0 || index >= length) {
        throw noElement(shape, index, length, `${what}: `)
      }
      return
    }
    const slots = Object.entries(shape.slots)
    if (slots.some(([name, slotKind]) => slotKind === kind && shape.at[name] === at)) return
    // What the caller meant, most likely: `at` counts in units of the slot's own kind.
    const [name, has] = slots.find(([name]) => shape.at[name] === at) ?? []
    if (name !== undefined) throw this.#wrongKind(shape, `${has} in slot '${name}'`, kind, `${what} ${verb}`)
    throw new HeapError(
      'ERR_BOUNDS',
      `${what}: no slot of '${shape.name}' lies at ${show(at)}: use shape.at.NAME of its own shape`,
    )
  }
  /** A store that a slot's own view does not make: of a part of the slot, or of more than it. */
  #wrongView(what: string, shape: AnyShape, view: string, has: string): HeapError {
    return new HeapError('ERR_WRONG_SHAPE', `${what}: '${shape.name}' has ${has} there, which m.${view} does not store`)
  }
  #wrongKind(shape: AnyShape, has: string, kind: string, what: string): HeapError {
    return new HeapError('ERR_WRONG_SHAPE', `${what} a ${kind}, and '${shape.name}' has ${has} there`)
  }

  // ---- stores

  #checkedBarriers(): Barriers {
    const { i32, f64, cards, rootsI32, rootsF64 } = this.#core.views
    // Between a store and its card nothing is called: a vm timeout may come with every call.
    const storeRef = (object: Ref, at: number, ref: Ref | 0, what: string): void => {
      this.checkSlot(object, at, 'ref', what)
      if (ref !== 0) this.checkObject(ref, `${what} (the stored Ref)`)
      const slot = object + at
      i32[slot] = ref
      cards[slot >>> CARD_SHIFT] = 1
    }
    const storeTagged = (object: Ref, at: number, tag: number, payload: number, what: string): void => {
      this.checkSlot(object, at, 'value', what)
      const word = object + 2 * at
      i32[word + 1] = tag
      i32[word] = payload
    }
    return {
      setRef: (object, at, ref) => storeRef(object, at, ref, 'setRef'),
      setElementRef: (array, index, ref) =>
        storeRef(array, typeof index === 'number' ? 2 + index : index, ref, 'setElementRef'),
      setValueRef: (object, at, ref) => {
        this.checkSlot(object, at, 'value', 'setValueRef')
        this.checkObject(ref, 'setValueRef (the stored Ref; null is setValueNil)')
        const word = object + 2 * at
        i32[word] = ref
        i32[word + 1] = Tag.Ref
        cards[word >>> CARD_SHIFT] = 1
      },
      setValueNumber: (object, at, value) => {
        this.checkSlot(object, at, 'value', 'setValueNumber')
        if (typeof value !== 'number')
          throw new HeapError('ERR_BAD_VALUE', `setValueNumber takes a number; got ${show(value)}`)
        f64[(object >>> 1) + at] = value === value ? value : NaN
      },
      setValueInt: (object, at, value) => {
        if (!isInt32(value))
          throw new HeapError('ERR_BAD_VALUE', `setValueInt takes a 32-bit integer; got ${show(value)}`)
        storeTagged(object, at, Tag.Int, value, 'setValueInt')
      },
      setValueBool: (object, at, value) => {
        if (typeof value !== 'boolean')
          throw new HeapError('ERR_BAD_VALUE', `setValueBool takes true or false; got ${show(value)}`)
        storeTagged(object, at, Tag.Boolean, value ? 1 : 0, 'setValueBool')
      },
      setValueNil: (object, at) => storeTagged(object, at, Tag.Nil, 0, 'setValueNil'),
      setValueUndefined: (object, at) => storeTagged(object, at, Tag.Undefined, 0, 'setValueUndefined'),
      setValueTagged: (object, at, tag, payload) => {
        checkUserTag(tag)
        checkPayload(payload)
        storeTagged(object, at, tag, payload, 'setValueTagged')
      },
      copyValue: (object, at, source) => {
        this.checkSlot(object, at, 'value', 'copyValue')
        this.#locate(wholeIndex(source, 'copyValue (the source)') * 2, 'copyValue (the source)')
        const target = (object >>> 1) + at
        f64[target] = f64[source]
        cards[target >>> (CARD_SHIFT - 1)] = 1
      },
      copyRootValue: (object, at, source) => {
        this.checkSlot(object, at, 'value', 'copyRootValue')
        this.#checkRootWord(wholeIndex(source, 'copyRootValue (the source)') * 2, 'copyRootValue (the source)')
        if (rootsI32[source * 2 + 1] === Tag.Ref)
          this.checkObject(rootsI32[source * 2], 'copyRootValue (the copied Ref)')
        const target = (object >>> 1) + at
        f64[target] = rootsF64[source]
        cards[target >>> (CARD_SHIFT - 1)] = 1
      },
    }
  }

  // ---- views

  #proxyViews(views: Views): Views {
    const heap = <T extends View>(view: T, name: string): T => {
      const bytes = view.BYTES_PER_ELEMENT
      return guard(
        view,
        (index) => void this.#locate(Math.floor((wholeIndex(index, `m.${name}`) * bytes) / 4), `m.${name}[${index}]`),
        (index, value) =>
          this.#checkStore(Math.floor((wholeIndex(index, `m.${name}`) * bytes) / 4), name, index, value),
      )
    }
    const root = <T extends View>(view: T, name: string): T => {
      const words = view.BYTES_PER_ELEMENT / 4
      return guard(
        view,
        (index) => void this.#checkRootWord(wholeIndex(index, `m.${name}`) * words, `m.${name}[${index}]`),
        (index, value) => this.#checkRootStore(wholeIndex(index, `m.${name}`) * words, name, index, value),
      )
    }
    return {
      ...views,
      i32: heap(views.i32, 'i32'),
      u32: heap(views.u32, 'u32'),
      f64: heap(views.f64, 'f64'),
      u16: heap(views.u16, 'u16'),
      u8: heap(views.u8, 'u8'),
      rootsI32: root(views.rootsI32, 'rootsI32'),
      rootsF64: root(views.rootsF64, 'rootsF64'),
    }
  }

  /** The object that covers a word of the heap buffer, or an error. */
  #locate(word: number, what: string): number {
    this.#core.checkRunning(what)
    this.sync()
    if (word < 0 || word >= this.#core.views.i32.length) {
      throw new HeapError('ERR_BOUNDS', `${what} is outside the heap's ${this.#core.views.i32.length} words`)
    }
    const object = this.#starts.covering(word, (ref) => this.#wordsOf(ref))
    if (object >= 0) return object
    if (word < PAGE_BYTES / 4) {
      throw new HeapError(
        'ERR_BAD_REF',
        `${what} belongs to no object, there are none so low: the Ref was 0, which is null: test for it first`,
      )
    }
    const past = this.#starts.pastBefore(word)
    if (past >= 0 && word - past < MAX_FIXED_BYTES / 4) {
      throw new HeapError(
        'ERR_STALE_REF',
        `${what} belongs to no live object; one began at ${past} before a collection, so a stale Ref was used. ` +
          'Read references again after every safepoint',
      )
    }
    throw new HeapError(
      'ERR_BOUNDS',
      `${what} belongs to no live object: the index is past the object's end, the Ref is no Ref, or it was made by no ` +
        `allocator of m${this.#orElsewhere}`,
    )
  }

  #checkStore(word: number, name: string, index: number, value: unknown): void {
    const what = `m.${name}[${index}] = ${show(value)}`
    const object = this.#locate(word, what)
    const shape = this.checkObject(object, what)
    // An embedder's hidden layouts: word 0 may become another shape of the same size with references in the same places.
    if (word === object && name === 'i32' && interchangeable(shape, this.#core.shapes.byId(value as number))) return
    if (word < object + 2) {
      throw new HeapError(
        'ERR_BOUNDS',
        `${what} overwrites the header of a '${shape.name}': payload begins two words after the Ref`,
      )
    }
    const kind = kindAt(shape, word - object)
    const wide = name === 'f64'
    const narrow = name === 'u16' || name === 'u8'
    if (kind === 'ref' || (wide && kindAt(shape, word + 1 - object) === 'ref')) {
      if (wide || narrow) throw this.#wrongView(what, shape, name, 'a ref')
      if (value !== 0) this.checkObject(value as number, `${what} (the stored Ref)`)
    } else if (kind === 'value') {
      if (narrow) throw this.#wrongView(what, shape, name, 'a value')
      const ref = refStored(this.#core.views.i32, word, wide, value)
      if (ref !== 0) this.checkObject(ref, `${what} (the stored Ref)`)
    }
  }

  /** Length of the object at `ref`, in words. */
  #wordsOf(ref: number): number {
    const shape = this.checkObject(ref, 'a view')
    if (!shape.array) return shape.granules * 2
    const length = this.#core.views.i32[ref + 1] >>> FLAG_BITS
    return 2 + Math.ceil((length * SLOT_BYTES[shape.kind]) / 8) * 2
  }

  /** A collection follows what a root slot holds, wherever it leads. */
  #checkRootStore(word: number, name: string, index: number, value: unknown): void {
    const what = `m.${name}[${index}] = ${show(value)}`
    const step = this.#checkRootWord(word, what)
    const wide = name === 'rootsF64'
    if (step === 2) {
      const ref = refStored(this.#core.views.rootsI32, word, wide, value)
      if (ref !== 0) this.checkObject(ref, `${what} (the stored Ref)`)
    } else if (wide) {
      throw new HeapError('ERR_WRONG_SHAPE', `${what}: a root area of refs lies there, whose view is m.rootsI32`)
    } else if (value !== 0) {
      this.checkObject(value as number, `${what} (the stored Ref)`)
    }
  }

  /** Generated code stores tops as it likes. Those of other threads are theirs to tell. */
  checkTops(what: string): void {
    const { control } = this.#core.views
    for (let area = 0; area < control[Word.AreaCount]; area++) {
      const block = areaBlock(area)
      const top = control[block + AreaWord.Top]
      const capacity = control[block + AreaWord.Capacity]
      if (top >= 0 && top <= capacity) continue
      const owner = control[block + AreaWord.Owner]
      if (control[block + AreaWord.Kind] === AreaKind.Free || (owner >= 0 && owner !== this.#core.mutatorIndex))
        continue
      throw new HeapError(
        'ERR_BOUNDS',
        `${what}: the top of ${this.#core.nameOfArea(area) ?? `root area ${area}`} is ${top}, and it lies between 0 and the capacity, ` +
          `${capacity}: m.control[area.topIndex] takes a number of slots, not of words or bytes, and no index of m.rootsI32`,
      )
    }
  }

  /** The words of a slot of its area. */
  #checkRootWord(word: number, what: string): number {
    this.#core.checkRunning(what)
    const { control } = this.#core.views
    for (let area = 0; area < control[Word.AreaCount]; area++) {
      const block = areaBlock(area)
      const kind = control[block + AreaWord.Kind]
      if (kind === AreaKind.Free) continue
      const start = control[block + AreaWord.Start]
      if (word >= start && word < start + control[block + AreaWord.Capacity] * slotWords(kind)) return slotWords(kind)
    }
    throw new HeapError('ERR_BOUNDS', `${what} is in no root area: add area.base to the slot's index`)
  }
}

/** Of the slot that covers a word of an object, by its distance from the header. */
function kindAt(shape: AnyShape, word: number): SlotKind | undefined {
  if (shape.array) return shape.kind
  const byte = word * 4
  const [, kind] =
    Object.entries(shape.slots).find(([name, slotKind]) => {
      const at = shape.at[name] * SLOT_BYTES[slotKind]
      return byte >= at && byte < at + SLOT_BYTES[slotKind]
    }) ?? []
  return kind
}

const bits = new Float64Array(1)
const bitWords = new Int32Array(bits.buffer)

/**
 * The reference that a value slot holds after a store, 0: none. A collector that looks between the stores of the two words sees it, too:
 * so a reference's payload is stored before its tag, and any other tag before its payload.
 */
function refStored(words: Int32Array, word: number, wide: boolean, value: unknown): number {
  if (wide) bits[0] = value as number
  else {
    bitWords.set(words.subarray(word & ~1, (word & ~1) + 2))
    bitWords[word & 1] = value as number
  }
  return bitWords[1] === Tag.Ref ? bitWords[0] : 0
}

type View = Int32Array | Uint32Array | Float64Array | Uint16Array | Uint8Array

/** A view whose indexed reads and writes are checked first, also those of its subarrays. Other methods work on the view itself. */
function guard<T extends View>(
  view: T,
  read: (index: number) => void,
  write: (index: number, value: unknown) => void,
): T {
  return new Proxy(view, {
    get(target, property) {
      if (typeof property === 'string' && isIndex(property)) {
        const index = Number(property)
        read(index)
        return target[index]
      }
      if (property === 'subarray') {
        return (...range: number[]) => guardPart(target.subarray(...range) as T, target, read, write)
      }
      if (property === 'undefined' || property === 'null') {
        throw new HeapError('ERR_BOUNDS', `a view has no element ${property}`)
      }
      const member = Reflect.get(target, property, target) as unknown
      return typeof member === 'function' ? member.bind(target) : member
    },
    set(target, property, value) {
      if (typeof property !== 'string' || !isIndex(property)) {
        throw new HeapError('ERR_BOUNDS', `a view has no element ${String(property)}`)
      }
      write(Number(property), value)
      return Reflect.set(target, property, value, target)
    },
  })
}

/** `part`, a subarray of `whole`, whose checks are given. */
function guardPart<T extends View>(
  part: T,
  whole: T,
  read: (index: number) => void,
  write: (index: number, value: unknown) => void,
): T {
  const offset = (part.byteOffset - whole.byteOffset) / whole.BYTES_PER_ELEMENT
  const inWhole = (index: number): number => {
    if (Number.isInteger(index) && index >= 0 && index < part.length) return index + offset
    throw new HeapError(
      'ERR_BOUNDS',
      `index ${index} of a subarray of a view, which has ${part.length} elements from ${offset} on`,
    )
  }
  return guard(
    part,
    (index) => read(inWhole(index)),
    (index, value) => write(inWhole(index), value),
  )
}

const isIndex = (property: string): boolean => /^-?(\d|NaN|Infinity)/.test(property)

/** The index, as views count: what is no whole number reads as undefined there, and a store to it is lost. */
function wholeIndex(index: number, what: string): number {
  if (Number.isInteger(index)) return index
  throw new HeapError('ERR_BOUNDS', `${what} takes a whole number for an index; got ${show(index)}`)
}
