// Weak slots in a portable collection, those of weak arrays and of weak root tables: marking does not follow them, ephemerons it
// does as soon as the key is marked. What is dead when marking is complete gets cleared, but what a guarded table alone refers to
// is handed over. The same rules as native/core/marking/weak-slots.h, in the plainest form.
//
// A value that waits for its key is found by the key, so that marking takes time in proportion to what it marks, however
// ephemerons hang on each other.

import {
  AreaKind,
  AreaWord,
  FLAG_BITS,
  ShapeKind,
  ShapeWord,
  Tag,
  WeakElements,
  Word,
  areaBlock,
  isWeakArea,
  liveSlots,
} from '../../heap/layout.js'
import type { Views } from '../../heap/memory.js'
import { IntList, PairsByKey } from '../int-lists.js'
import { entryOf, weakElements } from '../shape-reader.js'

/** The marks of the collection under way. */
export interface Marks {
  isMarked(ref: number): boolean
  mark(ref: number): void
}

export class WeakSlots {
  readonly #views: Views
  readonly #marks: Marks
  /** Weak arrays that were marked, and not yet looked at by `findDead`. */
  readonly #arrays = new IntList()
  /** Words to be cleared. */
  readonly #deadRefs = new IntList()
  readonly #deadValues = new IntList()
  readonly #deadRoots = new IntList()
  /** Objects to be handed over, and the control block of the table that guards each. */
  readonly #due: { readonly block: number; readonly ref: number }[] = []
  /** Slots among the words that lose their object; an ephemeron is one. */
  #found = 0
  #rootsSeen = false
  /** By key: values that wait for it. */
  readonly #waiting = new PairsByKey()

  readonly #markValue: (value: number) => void

  constructor(views: Views, marks: Marks) {
    this.#views = views
    this.#marks = marks
    this.#markValue = (value) => marks.mark(value)
  }

  /** Nothing is known of any: a mark begins, or was cut off. */
  forget(): void {
    for (const list of [this.#arrays, this.#deadRefs, this.#deadValues, this.#deadRoots]) list.clear()
    this.#due.length = 0
    this.#waiting.clear()
    this.#found = 0
    this.#rootsSeen = false
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
      this.#waiting.add(key, value, 0)
    })
  }

  /** The object at `ref` has been marked, some time ago: values that wait for it are alive. (No recursion that way.) */
  markValuesOf(ref: number): void {
    this.#waiting.take(ref, this.#markValue)
  }

  /**
   * Marking is complete: finds the slots of dead objects, which `clearDead` will clear, and returns the objects that are due.
   * They are to be marked; then it is called again, for the weak arrays among what they lead to.
   */
  findDead(): number[] {
    for (let i = 0; i < this.#arrays.length; i++) {
      const array = this.#arrays.at(i)
      const dead = this.#isValue(array) ? this.#deadValues : this.#deadRefs
      this.#forEachWeakSlot(array, (word, valueWord) => {
        const ref = this.#referent(array, word)
        if (ref === 0 || this.#marks.isMarked(ref)) return
        dead.push(word)
        this.#found++
        if (valueWord >= 0) dead.push(valueWord)
      })
    }
    this.#arrays.clear()
    this.#waiting.clear()
    return this.#rootsSeen ? [] : this.#findDeadRoots()
  }

  #findDeadRoots(): number[] {
    const { control, rootsI32 } = this.#views
    this.#rootsSeen = true
    for (let area = 0; area < control[Word.AreaCount]; area++) {
      const block = areaBlock(area)
      const kind = control[block + AreaWord.Kind]
      if (!isWeakArea(kind)) continue
      const start = control[block + AreaWord.Start]
      for (let word = start; word < start + liveSlots(control, area); word++) {
        const ref = rootsI32[word]
        if (ref === 0 || this.#marks.isMarked(ref)) continue
        this.#deadRoots.push(word)
        if (kind === AreaKind.GuardedTable) this.#due.push({ block, ref })
        else this.#found++
      }
    }
    return this.#due.map(({ ref }) => ref)
  }

  /** Clears what was found dead, ephemerons whole, and hands over what is due. How many slots lost their object, and how many were due. */
  clearDead(): { cleared: number; due: number } {
    const { i32, rootsI32, control } = this.#views
    for (let i = 0; i < this.#deadRefs.length; i++) i32[this.#deadRefs.at(i)] = 0
    for (let i = 0; i < this.#deadValues.length; i++) {
      const word = this.#deadValues.at(i)
      i32[word] = 0
      i32[word + 1] = Tag.Undefined
    }
    for (let i = 0; i < this.#deadRoots.length; i++) rootsI32[this.#deadRoots.at(i)] = 0
    for (const { block, ref } of this.#due) {
      const ring = areaBlock(control[block + AreaWord.DueArea])
      const slot = (control[block + AreaWord.Due]++ >>> 0) % control[ring + AreaWord.Capacity]
      rootsI32[control[ring + AreaWord.Start] + slot] = ref
    }
    const counts = { cleared: this.#found, due: this.#due.length }
    this.forget()
    return counts
  }

  /** Calls back with the word of each weak slot, and of the value that goes with it (−1: none). */
  #forEachWeakSlot(array: number, visit: (word: number, valueWord: number) => void): void {
    const { i32, control } = this.#views
    const size = this.#isValue(array) ? 2 : 1
    const pairs = weakElements(control, i32[array]) === WeakElements.Keys
    const end = array + 2 + size * (i32[array + 1] >>> FLAG_BITS)
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
}
