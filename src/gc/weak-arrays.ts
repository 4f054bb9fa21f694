// Weak arrays in a portable collection: their slots are not followed by marking, ephemerons are as soon as the key is marked,
// and what is dead when marking is complete gets cleared. The same rules as native/core/weak-slots.h, in the plainest form.
//
// A value that waits for its key is found by the key, so that marking takes time in proportion to what it marks, however
// ephemerons hang on each other.

import { ShapeKind, ShapeWord, Tag, WeakElements } from '../heap/layout.js'
import type { Views } from '../heap/memory.js'
import { entryOf, weakElements } from './shape-reader.js'

/** The marks of the collection under way. */
export interface Marks {
  isMarked(ref: number): boolean
  mark(ref: number): void
}

export class WeakArrays {
  readonly #views: Views
  readonly #marks: Marks
  /** Marked ones. */
  readonly #arrays: number[] = []
  /** By key: values that wait for it. */
  readonly #waiting = new Map<number, number[]>()

  constructor(views: Views, marks: Marks) {
    this.#views = views
    this.#marks = marks
  }

  /** Nothing is known of any: a mark begins, or was cut off. */
  forget(): void {
    this.#arrays.length = 0
    this.#waiting.clear()
  }

  /** True if the marked object at `ref` is a weak array: then its slots are looked after here. */
  takes(ref: number): boolean {
    const weak = weakElements(this.#views.control, this.#views.i32[ref])
    if (weak === WeakElements.None) return false
    this.#arrays.push(ref)
    if (weak === WeakElements.Keys) this.#followPairs(ref)
    return true
  }

  #followPairs(array: number): void {
    const marks = this.#marks
    this.#forEachWeakSlot(array, (word, valueWord) => {
      if (valueWord < 0) return
      const value = this.#referent(array, valueWord)
      if (value === 0) return
      const key = this.#referent(array, word)
      if (key === 0 || marks.isMarked(key)) return marks.mark(value)
      const others = this.#waiting.get(key)
      if (others === undefined) this.#waiting.set(key, [value])
      else others.push(value)
    })
  }

  /** The object at `ref` has been marked, some time ago: values that wait for it are alive. (No recursion that way.) */
  markValuesOf(ref: number): void {
    if (this.#waiting.size === 0) return
    const values = this.#waiting.get(ref)
    if (values === undefined) return
    this.#waiting.delete(ref)
    for (const value of values) this.#marks.mark(value)
  }

  /** Marking is complete: clears the slots of dead objects, and ephemerons whole. How many (an ephemeron is one). */
  clearDead(): number {
    let cleared = 0
    for (const array of this.#arrays) {
      this.#forEachWeakSlot(array, (word, valueWord) => {
        const ref = this.#referent(array, word)
        if (ref === 0 || this.#marks.isMarked(ref)) return
        this.#clear(array, word)
        if (valueWord >= 0) this.#clear(array, valueWord)
        cleared++
      })
    }
    this.forget()
    return cleared
  }

  /** Calls back with the word of each weak slot, and of the value that goes with it (−1: none). */
  #forEachWeakSlot(array: number, visit: (word: number, valueWord: number) => void): void {
    const { i32, control } = this.#views
    const size = this.#isValue(array) ? 2 : 1
    const pairs = weakElements(control, i32[array]) === WeakElements.Keys
    const end = array + 2 + size * (i32[array + 1] >>> 2)
    for (let word = array + 2; word < end; word += pairs ? 2 * size : size) {
      visit(word, pairs && word + size < end ? word + size : -1)
    }
  }
  #isValue(array: number): boolean {
    const { i32, control } = this.#views
    return control[entryOf(i32[array]) + ShapeWord.Kind] === ShapeKind.ArrayValue
  }
  #referent(array: number, word: number): number {
    const { i32 } = this.#views
    return this.#isValue(array) && i32[word + 1] !== Tag.Ref ? 0 : i32[word]
  }
  #clear(array: number, word: number): void {
    const { i32 } = this.#views
    i32[word] = 0
    if (this.#isValue(array)) i32[word + 1] = Tag.Undefined
  }
}
