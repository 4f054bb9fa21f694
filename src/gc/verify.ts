// Verification: re-traces the heap from the roots and trusts nothing it reads, not even that shapes are what was defined.
//
// Independent of every collector's structures: only views and control words (and, from a collector that knows some, the
// ranges it calls free, which must read as zeros). The thread runs, all other mutators are stopped; like any safepoint it
// wants every live reference in a published root slot. A violation says what is wrong, where, and how a root reaches it.

import { HeapError, show } from '../heap/errors.js'
import type { HeapCore } from '../heap/heap-core.js'
import {
  AreaKind,
  AreaWord,
  FIRST_SHAPE,
  FLAG_BITS,
  LARGE_BYTES,
  PAGE_BYTES,
  Phase,
  SHAPE_BASE,
  SHAPE_WORDS,
  ShapeKind,
  ShapeWord,
  SLOT_MAP_BASE,
  Tag,
  WeakElements,
  Word,
  areaBlock,
  isWeakArea,
  slotWords,
} from '../heap/layout.js'
import { hasSlotMap, slotMapOf, weakWord } from '../heap/shapes.js'
import { PairsByKey } from './int-lists.js'
import { areaName, objectName, slotName } from './slot-names.js'

/** One broken rule. */
export interface Violation {
  /** What is wrong, as a sentence. */
  readonly what: string
  /** The slot, object or area at fault. */
  readonly where: string
  /** How a root reaches it: the root slot, then one step per object. Empty if it was not found by tracing. */
  readonly path: readonly string[]
}

export interface VerifyReport {
  readonly ok: boolean
  /** The first violations found, 100 at most. */
  readonly violations: readonly Violation[]
  /** Objects and bytes reachable from the roots. */
  readonly objects: number
  readonly bytes: number
}

export interface VerifyOptions {
  /** Also check that stacks read as zero above their tops, which holds right after a collection. */
  readonly afterCollection?: boolean
}

const MOST_VIOLATIONS = 100
const PAGE_WORDS = PAGE_BYTES / 4

export function verify(core: HeapCore, options: VerifyOptions = {}): VerifyReport {
  checkOptions(options)
  return new Verification(core, options).run()
}

function checkOptions(options: unknown): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw new HeapError('ERR_OPTION', `verify takes an object of options; got ${show(options)}`)
  }
  for (const [name, value] of Object.entries(options)) {
    if (name !== 'afterCollection') {
      throw new HeapError('ERR_OPTION', `unknown option '${name}' of verify: the only one is 'afterCollection'`)
    }
    if (value !== undefined && typeof value !== 'boolean') {
      throw new HeapError('ERR_OPTION', `option afterCollection of verify is true or false; got ${show(value)}`)
    }
  }
}

class Verification {
  readonly #core: HeapCore
  readonly #options: VerifyOptions
  readonly #violations: Violation[] = []
  /** A bit per granule that belongs to an object already reached: overlaps show here. */
  readonly #covered: Int32Array
  /** A bit per granule where a reached object begins. */
  readonly #starts: Int32Array
  /** Objects in the order reached, and for each the index of the one that reached it (−1 − n: root slot n). */
  #queue = new Int32Array(1024)
  #parents = new Int32Array(1024)
  #count = 0
  #bytes = 0
  readonly #rootNames: string[] = []
  /** By key: values of ephemerons whose keys have not been reached, as index of the array and word. */
  readonly #waiting = new PairsByKey()

  constructor(core: HeapCore, options: VerifyOptions) {
    const words = Math.ceil(core.views.f64.length / 32)
    this.#core = core
    this.#options = options
    this.#covered = new Int32Array(words)
    this.#starts = new Int32Array(words)
  }

  run(): VerifyReport {
    this.#verifyShapes()
    this.#verifyAreas()
    for (let k = 0; k < this.#count && this.#violations.length < MOST_VIOLATIONS; k++) {
      this.#verifyValuesOf(k)
      this.#verifyPayload(k)
    }
    this.#verifyFreeMemory()
    this.#verifyCards()
    return {
      ok: this.#violations.length === 0,
      violations: this.#violations,
      objects: this.#count,
      bytes: this.#bytes,
    }
  }

  /** Where a stepping cycle rests between trace and remark, the collector can say which cards must be dirty; elsewhere it reports nothing. */
  #verifyCards(): void {
    const violation = this.#core.collector.checkCards()
    if (violation === '') return
    const [, word, ref] = /^word (\d+) of the marked object at ref (\d+)/.exec(violation) ?? []
    this.#report(
      violation,
      ref === undefined ? 'card table' : `card table, ${slotName(this.#core, Number(ref), Number(word))}`,
    )
  }

  #report(what: string, where: string, path: readonly string[] = []): void {
    if (this.#violations.length < MOST_VIOLATIONS) this.#violations.push({ what, where, path })
  }

  // ---- shapes: the control words against what this isolate defined

  #verifyShapes(): void {
    const { control } = this.#core.views
    for (const shape of this.#core.shapes.all()) {
      const entry = SHAPE_BASE + shape.id * SHAPE_WORDS
      const where = `shape '${shape.name}' (id ${shape.id})`
      if (shape.id >= control[Word.ShapeCount]) this.#report('the shape count is below a defined id', where)
      const size = shape.array ? shape.shift : shape.granules
      if (control[entry + ShapeWord.Size] !== size) {
        this.#report(`its size word is ${control[entry + ShapeWord.Size]}, defined as ${size}`, where)
      }
      const isFixed = control[entry + ShapeWord.Kind] === ShapeKind.Fixed
      if (isFixed === shape.array) this.#report(`its kind word is ${control[entry + ShapeWord.Kind]}`, where)
      const map = shape.array ? [] : slotMapOf(shape)
      if (!hasSlotMap(control, shape.id, map, shape.array ? weakWord(shape.weak) : map.length)) {
        this.#report('its references are not where they were defined', where)
      }
    }
  }

  // ---- roots

  #verifyAreas(): void {
    const { control, rootsI32 } = this.#core.views
    for (let area = 0; area < control[Word.AreaCount]; area++) {
      const block = areaBlock(area)
      const kind = control[block + AreaWord.Kind]
      if (kind === AreaKind.Free) continue
      const name = areaName(this.#core, area)
      const start = control[block + AreaWord.Start]
      const capacity = control[block + AreaWord.Capacity]
      const top = control[block + AreaWord.Top]
      const step = slotWords(kind)
      if (
        kind < AreaKind.Free ||
        kind > AreaKind.GuardedTable ||
        start < 0 ||
        start + capacity * step > rootsI32.length
      ) {
        this.#report(`its description is damaged (kind ${kind}, start ${start}, capacity ${capacity})`, name)
        continue
      }
      if (top < 0 || top > capacity) {
        this.#report(`top is ${top}, outside its capacity of ${capacity}`, name)
        continue
      }
      const weak = isWeakArea(kind)
      if (weak && control[Word.Phase] !== Phase.Idle) continue
      for (let slot = 0; slot < top; slot++) {
        const word = start + slot * step
        const slotName = `${name}[${slot}]`
        const where = (): string => slotName
        const ref = step === 1 ? rootsI32[word] : this.#valueRef(rootsI32, word, where, () => [slotName])
        if (ref === 0) continue
        const root = -1 - (this.#rootNames.push(slotName) - 1)
        if (weak) this.#checkHeader(ref, where, () => [slotName])
        else this.#reach(ref, root, where)
      }
      const isStack = kind === AreaKind.RefStack || kind === AreaKind.ValueStack
      if (isStack && this.#options.afterCollection !== true) continue
      for (let word = start + top * step; word < start + capacity * step; word++) {
        if (rootsI32[word] === 0) continue
        const slot = Math.floor((word - start) / step)
        this.#report(`slot ${slot}, above top ${top}, is not zero`, name)
        break
      }
    }
  }

  /** The reference in a value, or 0; reports tags that no store makes. */
  #valueRef(words: Int32Array, word: number, where: () => string, path: () => string[]): number {
    const report = (what: string): void => this.#report(what, where(), path())
    const high = words[word + 1]
    const low = words[word]
    if (high < Tag.First) return 0
    if (high === Tag.Ref) {
      if (low === 0) report('a value has the tag of a reference and no payload (a torn store?)')
      return low
    }
    if (high > Tag.User3) report(`a value has the tag 0x${high.toString(16)}, which nothing stores`)
    else if ((high === Tag.Undefined || high === Tag.Nil) && low !== 0) {
      report(`nil or undefined has the payload ${low}`)
    } else if (high === Tag.Boolean && low >>> 0 > 1) report(`a boolean has the payload ${low}`)
    return 0
  }

  // ---- objects

  #reach(ref: number, parent: number, where: () => string): void {
    const path = (): string[] => (parent < 0 ? [where()] : [...this.#pathOf(parent), where()])
    if ((ref & 1) === 0 && this.#isSet(this.#starts, ref)) return
    const words = this.#checkHeader(ref, where, path)
    if (words === 0) return
    const granules = words / 2
    if (!this.#cover(ref >>> 1, granules)) {
      this.#report(`the object at ${ref} overlaps another object: a Ref points into the middle of one`, where(), path())
      return
    }
    this.#starts[ref >>> 6] |= 1 << ((ref >>> 1) & 31)
    this.#bytes += words * 4
    if (this.#count === this.#queue.length) {
      this.#queue = grown(this.#queue)
      this.#parents = grown(this.#parents)
    }
    this.#queue[this.#count] = ref
    this.#parents[this.#count++] = parent
  }

  /** Words of the object at `ref` after checking that one begins there; 0 when it does not. */
  #checkHeader(ref: number, where: () => string, path: () => string[]): number {
    const { i32, control } = this.#core.views
    const fail = (what: string): 0 => {
      this.#report(what, where(), path())
      return 0
    }
    if ((ref & 1) !== 0) return fail(`the Ref ${ref} is odd: objects begin at even word indices`)
    if (ref < PAGE_WORDS || ref >= i32.length)
      return fail(`the Ref ${ref} is outside the heap (${PAGE_WORDS} to ${i32.length})`)
    const id = i32[ref]
    if (id === 0) return fail(`the Ref ${ref} points to free memory`)
    if (id < FIRST_SHAPE || id >= control[Word.ShapeCount]) {
      return fail(`the header at ${ref} has the shape id ${id}: no shape has it, so no object begins there`)
    }
    const entry = SHAPE_BASE + id * SHAPE_WORDS
    const kind = control[entry + ShapeWord.Kind]
    const size = control[entry + ShapeWord.Size]
    const length = i32[ref + 1] >>> FLAG_BITS
    const granules = kind === ShapeKind.Fixed ? size : 1 + Math.ceil((length * 2 ** size) / 8)
    const words = granules * 2
    if (kind < ShapeKind.Fixed || kind > ShapeKind.ArrayU8 || granules <= 0) {
      return fail(`shape ${id} of the object at ${ref} has a damaged entry (kind ${kind}, size ${size})`)
    }
    if (ref + words > i32.length) {
      return fail(`the array at ${ref} has the length ${length}, which reaches past the end of the heap`)
    }
    if (words * 4 >= LARGE_BYTES && ref % PAGE_WORDS !== 0) {
      return fail(`the object at ${ref} is ${words * 4} bytes long and not page-aligned, as large objects are`)
    }
    return words
  }

  #verifyPayload(k: number): void {
    const { i32, u8, control } = this.#core.views
    const ref = this.#queue[k]
    const entry = SHAPE_BASE + i32[ref] * SHAPE_WORDS
    const kind = control[entry + ShapeWord.Kind]
    if (kind === ShapeKind.Fixed) {
      const start = SLOT_MAP_BASE + control[entry + ShapeWord.SlotStart]
      for (let i = start; i < start + control[entry + ShapeWord.SlotCount]; i++) {
        this.#verifySlot(k, ref + (control[i] >>> 3), (control[i] & 1) !== 0)
      }
      return
    }
    const length = i32[ref + 1] >>> FLAG_BITS
    const shift = control[entry + ShapeWord.Size]
    if (kind === ShapeKind.ArrayRef || kind === ShapeKind.ArrayValue) {
      const step = kind === ShapeKind.ArrayRef ? 1 : 2
      const weak = control[entry + ShapeWord.Weak]
      for (let e = 0; e < length; e++) {
        const word = ref + 2 + e * step
        if (weak === WeakElements.None) this.#verifySlot(k, word, step === 2)
        else if (weak === WeakElements.Elements || e % 2 === 0) this.#verifyWeakSlot(k, word, step === 2)
        else this.#verifyEphemeron(k, word - step, word, step === 2)
      }
    }
    const end = ref * 4 + 8 + length * 2 ** shift
    for (let byte = end; byte % 8 !== 0; byte++) {
      if (u8[byte] === 0) continue
      this.#report('the padding after its last element is not zero', objectName(this.#core, ref), this.#pathOf(k))
      break
    }
  }

  #verifySlot(k: number, word: number, isValue: boolean): void {
    const { i32 } = this.#core.views
    const tagged = isValue && i32[word + 1] >= Tag.First
    if (isValue ? !tagged : i32[word] === 0) return
    if (!isValue || i32[word + 1] === Tag.Ref) {
      if (i32[word] !== 0 && this.#isSet(this.#starts, i32[word]) && (i32[word] & 1) === 0) return
    }
    // The name of a slot is looked for among all of its shape: only where something is wrong.
    const where = (): string => slotName(this.#core, this.#queue[k], word)
    const ref = isValue ? this.#valueRef(i32, word, where, () => [...this.#pathOf(k), where()]) : i32[word]
    if (ref !== 0) this.#reach(ref, k, where)
  }

  #isValueArray(k: number): boolean {
    const { i32, control } = this.#core.views
    return control[SHAPE_BASE + i32[this.#queue[k]] * SHAPE_WORDS + ShapeWord.Kind] === ShapeKind.ArrayValue
  }

  /** What a weak slot refers to is an object as long as no collection is under way, and need not be reached. */
  #verifyWeakSlot(k: number, word: number, isValue: boolean): void {
    const { i32, control } = this.#core.views
    const where = (): string => slotName(this.#core, this.#queue[k], word)
    const path = (): string[] => [...this.#pathOf(k), where()]
    const ref = isValue ? this.#valueRef(i32, word, where, path) : i32[word]
    if (ref !== 0 && control[Word.Phase] === Phase.Idle) this.#checkHeader(ref, where, path)
  }

  /** The value is reached when the key is, if that is a reference. */
  #verifyEphemeron(k: number, keyWord: number, word: number, isValue: boolean): void {
    const { i32 } = this.#core.views
    const key = isValue && i32[keyWord + 1] !== Tag.Ref ? 0 : i32[keyWord]
    if (key === 0 || this.#isSet(this.#starts, key)) return this.#verifySlot(k, word, isValue)
    this.#verifyWeakSlot(k, word, isValue)
    this.#waiting.add(key, k, word)
  }

  /** Values that have waited for object `k` of the queue, their key. */
  #verifyValuesOf(k: number): void {
    this.#waiting.take(this.#queue[k], (array, word) => this.#verifySlot(array, word, this.#isValueArray(array)))
  }

  // ---- free memory

  #verifyFreeMemory(): void {
    const { i32 } = this.#core.views
    for (const { start, end } of this.#core.collector.freeRanges()) {
      for (let word = start; word < end; word++) {
        if (i32[word] === 0) continue
        this.#report(`free memory is not zero at word ${word}`, `free range ${start} to ${end}`)
        break
      }
    }
    for (let word = 0; word < PAGE_WORDS; word++) {
      if (i32[word] === 0) continue
      this.#report(`the reserved first page, where null points, is not zero at word ${word}`, 'the first page')
      break
    }
  }

  // ---- bits, names, paths

  #isSet(bits: Int32Array, ref: number): boolean {
    return (bits[ref >>> 6] & (1 << ((ref >>> 1) & 31))) !== 0
  }
  /** Marks granules as belonging to an object; false if one already did. */
  #cover(granule: number, count: number): boolean {
    const bits = this.#covered
    for (let g = granule; g < granule + count;) {
      if ((g & 31) === 0 && g + 32 <= granule + count) {
        if (bits[g >>> 5] !== 0) return false
        bits[g >>> 5] = -1
        g += 32
        continue
      }
      const bit = 1 << (g & 31)
      if ((bits[g >>> 5] & bit) !== 0) return false
      bits[g >>> 5] |= bit
      g++
    }
    return true
  }

  /** The root slot, then the slots that lead to object `k` of the queue (or the root slot −1 − n alone). */
  #pathOf(k: number): string[] {
    const { i32 } = this.#core.views
    const path: string[] = []
    let index = k
    while (index >= 0) {
      const ref = this.#queue[index]
      const parent = this.#parents[index]
      if (parent >= 0) {
        const from = this.#queue[parent]
        const last = from + (this.#wordsOf(from) || 2)
        let word = from + 2
        while (word < last && i32[word] !== ref) word++
        path.unshift(slotName(this.#core, from, word))
      }
      index = parent
    }
    return [this.#rootNames[-1 - index] ?? 'a root', ...path]
  }
  #wordsOf(ref: number): number {
    return this.#checkHeader(
      ref,
      () => '',
      () => [],
    )
  }
}

function grown(array: Int32Array<ArrayBuffer>): Int32Array<ArrayBuffer> {
  const twice = new Int32Array(array.length * 2)
  twice.set(array)
  return twice
}
