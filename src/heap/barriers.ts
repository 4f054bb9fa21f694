// Stores into heap objects, with the write barrier where a reference is stored. Generated once per heap.
//
// Invariant 8: the store first, then one unconditional byte store into the card table (a program that initialises an
// object may do without: docs/decisions/016). Only references need it: the marker works by incremental update, so what
// is overwritten does not matter. Store order of tagged values: values.ts.
// What is stored goes through `| 0`, which changes nothing: where the JIT knows no more of a value than that it was always a
// small integer (what a call returns, which is not inlined), a typed array would convert it by way of a double.
// Inside run only; nothing here checks that (checked.ts does), because the check would cost as much as the store.

import { CARD_SHIFT, Tag, type UserTag } from './layout.js'
import type { Views } from './memory.js'
import type { PlainNumber, Ref } from './values.js'

/** Stores of the raw tier. `at` is `shape.at.NAME`, or `arrayShape.elementsAt + index`. */
export interface Barriers {
  /** Stores `ref` (0 for null) into a `ref` slot. */
  setRef(object: Ref, at: number, ref: Ref | 0): void
  /** Stores `ref` (0 for null) into element `index` of an array of `ref`. */
  setElementRef(array: Ref, index: number, ref: Ref | 0): void
  /** Stores a reference (never 0: use setValueNil) into a `value` slot. */
  setValueRef(object: Ref, at: number, ref: Ref): void
  setValueNumber(object: Ref, at: number, value: PlainNumber): void
  /** Stores a 32-bit integer under Tag.Int. */
  setValueInt(object: Ref, at: number, value: PlainNumber): void
  setValueBool(object: Ref, at: number, value: boolean): void
  setValueNil(object: Ref, at: number): void
  setValueUndefined(object: Ref, at: number): void
  /** Stores 32 bits under one of the embedder's tags, Tag.User0 to Tag.User3. */
  setValueTagged(object: Ref, at: number, tag: UserTag, payload: number): void
  /** Copies the value at index `source` of `m.f64` into a `value` slot, whatever it is. */
  copyValue(object: Ref, at: number, source: number): void
  /** The same from slot `source` of a value root area: an index of `m.rootsF64`. */
  copyRootValue(object: Ref, at: number, source: number): void
}

export function generateBarriers(heapId: number, views: Views): Barriers {
  const make = new Function(
    'views',
    `"use strict"
  // heap ${heapId}
  const i32 = views.i32, f64 = views.f64, cards = views.cards, rootsF64 = views.rootsF64
  return {
    setRef(object, at, ref) {
      const slot = object + at
      i32[slot] = ref | 0
      cards[slot >>> ${CARD_SHIFT}] = 1
    },
    setElementRef(array, index, ref) {
      const slot = array + 2 + index
      i32[slot] = ref | 0
      cards[slot >>> ${CARD_SHIFT}] = 1
    },
    setValueRef(object, at, ref) {
      const word = object + (at << 1)
      i32[word] = ref | 0
      i32[word + 1] = ${Tag.Ref}
      cards[word >>> ${CARD_SHIFT}] = 1
    },
    setValueNumber(object, at, value) {
      f64[(object >>> 1) + at] = value === value ? value : NaN
    },
    setValueInt(object, at, value) {
      const word = object + (at << 1)
      i32[word + 1] = ${Tag.Int}
      i32[word] = value | 0
    },
    setValueBool(object, at, value) {
      const word = object + (at << 1)
      i32[word + 1] = ${Tag.Boolean}
      i32[word] = value ? 1 : 0
    },
    setValueNil(object, at) {
      const word = object + (at << 1)
      i32[word + 1] = ${Tag.Nil}
      i32[word] = 0
    },
    setValueUndefined(object, at) {
      const word = object + (at << 1)
      i32[word + 1] = ${Tag.Undefined}
      i32[word] = 0
    },
    setValueTagged(object, at, tag, payload) {
      const word = object + (at << 1)
      i32[word + 1] = tag
      i32[word] = payload | 0
    },
    copyValue(object, at, source) {
      const target = (object >>> 1) + at
      f64[target] = f64[source]
      cards[target >>> ${CARD_SHIFT - 1}] = 1
    },
    copyRootValue(object, at, source) {
      const target = (object >>> 1) + at
      f64[target] = rootsF64[source]
      cards[target >>> ${CARD_SHIFT - 1}] = 1
    },
  }`,
  ) as (views: Views) => Barriers
  return make(views)
}
