// The objects that are alive for as long as the program keeps its roots, nearest first.
//
// A breadth-first walk from the strong root slots, through strong slots and the values of ephemerons whose keys it has reached, so
// that the way it came to an object is a shortest one where no ephemeron is on it. Weak references lead nowhere: what only they refer
// to may be gone after the next collection. For each object the walk keeps its Ref and the slot through which it was reached first:
// of an ephemeron, whose key was reached before. Only views and control words are read; the thread is inside run, the others are
// stopped, and there is no safepoint until the end. A damaged heap is told as such where an object has no shape,
// or where something is longer than can be.

import { IntList, PairsByKey } from '../gc/int-lists.js'
import { entryOf, granulesAt, weakElements } from '../gc/shape-reader.js'
import { areaName } from '../gc/slot-names.js'
import { forEachReferenceSlot, forEachRootSlot, referenceIn } from '../gc/trace.js'
import type { HeapCore } from '../heap/heap-core.js'
import { HeapError } from '../heap/errors.js'
import { AreaKind, AreaWord, FIRST_SHAPE, ShapeKind, ShapeWord, WeakElements, Word, areaBlock } from '../heap/layout.js'

/** The object that a root slot belongs to. */
export const ROOTS = -1

export class StrongWalk {
  /** Refs, in the order reached. */
  readonly objects = new IntList()
  /** Of each, the number of the object it was reached from, or ROOTS. */
  readonly from = new IntList()
  /** … and the word of the slot there. */
  readonly through = new IntList()
  /** A bit per granule: a reached object begins here. */
  readonly reached: Int32Array
  /** Of the bits before each word of them, once the walk is complete. */
  #ranks: Int32Array | null = null
  readonly #core: HeapCore
  /** By key: values of ephemerons whose keys have not been reached, as number of the array and word. */
  readonly #waiting = new PairsByKey()

  readonly #past: (ref: number) => boolean

  /** `without`: a root slot, by its word, that does not count. Objects that `past` is false for lead nowhere. */
  constructor(core: HeapCore, without = -1, past: (ref: number) => boolean = () => true) {
    this.#core = core
    this.#past = past
    this.reached = new Int32Array(Math.ceil(core.views.f64.length / 32))
    const { rootsI32 } = core.views
    this.#checkTops()
    forEachRootSlot(core, (_area, _slot, word, isValue) => {
      if (word !== without) this.#follow(rootsI32, word, isValue, ROOTS)
    })
  }

  /** Walks until `found` is true of an object, and returns its number; −1: all have been reached. Once. */
  run(found?: (ref: number) => boolean): number {
    const { i32 } = this.#core.views
    for (let k = 0; k < this.objects.length; k++) {
      const ref = this.objects.at(k)
      this.#checkShape(ref)
      if (found?.(ref)) return k
      if (!this.#past(ref)) continue
      this.#waiting.take(ref, (array, word) => this.#follow(i32, word, this.#isValueArray(array), array))
      this.#followSlots(k, ref)
    }
    return -1
  }

  /** Calls back with the Refs of those that have been reached, lowest address first. */
  forEachByAddress(visit: (ref: number) => void): void {
    for (let word = 0; word < this.reached.length; word++) {
      for (let bits = this.reached[word]; bits !== 0; bits &= bits - 1) {
        visit((word * 32 + (31 - Math.clz32(bits & -bits))) * 2)
      }
    }
  }

  /** How many of them lie below `ref`. */
  rankOf(ref: number): number {
    this.#ranks ??= ranksOf(this.reached)
    const granule = ref >>> 1
    return this.#ranks[granule >>> 5] + ones(this.reached[granule >>> 5] & ((1 << (granule & 31)) - 1))
  }

  /** The number of an object that has been reached. Looks through all of them. */
  numberOf(ref: number): number {
    let k = 0
    while (this.objects.at(k) !== ref) k++
    return k
  }

  has(ref: number): boolean {
    return (this.reached[ref >>> 6] & (1 << ((ref >>> 1) & 31))) !== 0
  }

  #followSlots(k: number, ref: number): void {
    const { i32, control } = this.#core.views
    const weak = weakElements(control, i32[ref])
    if (weak === WeakElements.Elements) return
    let key = 0
    let isKey = weak === WeakElements.Keys
    forEachReferenceSlot(this.#core, ref, (word, isValue) => {
      if (weak === WeakElements.None) return this.#follow(i32, word, isValue, k)
      if (isKey) key = referenceIn(i32, word, isValue)
      else if (key === 0 || (this.has(key) && this.#past(key))) this.#follow(i32, word, isValue, k)
      else this.#waiting.add(key, k, word)
      isKey = !isKey
    })
  }

  #checkShape(ref: number): void {
    const { i32, control } = this.#core.views
    const id = i32[ref]
    if (!(id >= FIRST_SHAPE && id < control[Word.ShapeCount])) {
      this.#damaged(`a reference leads to ${ref}, where no object begins`)
    }
    // A length that was stored over is a walk through all numbers up to 2³⁰.
    if (ref + 2 * granulesAt(control, i32, ref) > i32.length) {
      this.#damaged(`the object that begins at ${ref} ends outside the heap`)
    }
  }

  /** The tops of stacks are stored by generated code. */
  #checkTops(): void {
    const { control } = this.#core.views
    for (let area = 0; area < control[Word.AreaCount]; area++) {
      const block = areaBlock(area)
      const [top, capacity] = [control[block + AreaWord.Top], control[block + AreaWord.Capacity]]
      if (control[block + AreaWord.Kind] === AreaKind.Free || (top >= 0 && top <= capacity)) continue
      this.#damaged(`the top of ${areaName(this.#core, area)}, of ${capacity} slots, is ${top}`)
    }
  }

  #damaged(how: string): never {
    this.#core.checkOpen() // its owner has closed it meanwhile
    throw new HeapError('ERR_INVALID_HEAP', `the heap is damaged: ${how}. heap.verify() says where it is`)
  }

  #isValueArray(k: number): boolean {
    const { i32, control } = this.#core.views
    return control[entryOf(i32[this.objects.at(k)]) + ShapeWord.Kind] === ShapeKind.ArrayValue
  }

  #follow(words: Int32Array, word: number, isValue: boolean, from: number): void {
    const ref = referenceIn(words, word, isValue)
    if (ref === 0 || this.has(ref)) return
    this.reached[ref >>> 6] |= 1 << ((ref >>> 1) & 31)
    this.objects.push(ref)
    this.from.push(from)
    this.through.push(word)
  }
}

/** How many bits are set before each word. */
function ranksOf(bits: Int32Array): Int32Array {
  const ranks = new Int32Array(bits.length)
  for (let word = 1; word < bits.length; word++) ranks[word] = ranks[word - 1] + ones(bits[word - 1])
  return ranks
}

/** How many bits of a word are set. */
function ones(word: number): number {
  word -= (word >>> 1) & 0x55555555
  word = (word & 0x33333333) + ((word >>> 2) & 0x33333333)
  return Math.imul((word + (word >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24
}
