// NaN-boxed values: how 64 bits of a `value` slot are read and written.
//
// A double is stored as itself with NaN canonical; everything else wears a tag whose high word, as int32, is at least
// Tag.First: arithmetic never makes such a word. Store order keeps a concurrent marker from chasing an integer that
// wears a reference's tag (x86-64 TSO): a reference writes payload then tag, any other tagged value tag then payload, a
// double is one f64 store, a copy of an unknown value one f64 load and one f64 store. Used by every tier; no state.

import { HeapError, show } from './errors.js'
import { Tag, type UserTag } from './layout.js'

declare const refBrand: unique symbol
/**
 * The index of an object's header in the heap's 32-bit view: even, 0 is null. A raw Ref is dead after the next safepoint
 * (an allocation, a poll, leaving `run`): across one, references live in a root area, a handle, or the heap.
 */
export type Ref = number & { readonly [refBrand]: true }
/** A number that is no Ref: stored into a value slot as one, a Ref would keep nothing alive and not be updated. */
export type PlainNumber = number & { readonly [refBrand]?: never }

/** A tagged word that is no plain JavaScript value: a reference, or one of the embedder's own tags. */
export class Tagged {
  /** Throws ERR_BAD_VALUE for other tags, and for what is no integer of 32 bits, with or without a sign. */
  constructor(
    /** One of `Tag.User0` … `Tag.User3`, or `Tag.Ref`. */
    readonly tag: UserTag | typeof Tag.Ref,
    /** 32 bits; for `Tag.Ref` a raw Ref. */
    readonly payload: number,
  ) {
    if (tag !== Tag.Ref) checkUserTag(tag)
    checkPayload(payload)
  }
}

/** What a value slot reads as on the slow generic path, and what may be stored there: a reference is a Tagged with Tag.Ref. */
export type RawValue = PlainNumber | boolean | null | undefined | Tagged

/** Decodes the value at f64 index `index` of a pair of views over the same memory. */
export function readValue(i32: Int32Array, f64: Float64Array, index: number): RawValue {
  const high = i32[2 * index + 1]
  if (high < Tag.First) return f64[index]
  const low = i32[2 * index]
  switch (high) {
    case Tag.Undefined:
      return undefined
    case Tag.Nil:
      return null
    case Tag.Boolean:
      return low !== 0
    case Tag.Int:
      return low
    case Tag.User0:
    case Tag.User1:
    case Tag.User2:
    case Tag.User3:
    case Tag.Ref:
      return new Tagged(high, low)
    default:
      throw new HeapError(
        'ERR_INVALID_HEAP',
        `a value slot has the tag 0x${high.toString(16)}, which no setter stores: the heap is damaged there`,
      )
  }
}

/** Encodes `value` at f64 index `index`, in the store order of the file head. The caller marks the card for a reference. */
export function writeValue(i32: Int32Array, f64: Float64Array, index: number, value: RawValue): void {
  const word = 2 * index
  switch (typeof value) {
    case 'number':
      f64[index] = value === value ? value : NaN
      return
    case 'boolean':
      i32[word + 1] = Tag.Boolean
      i32[word] = value ? 1 : 0
      return
    case 'undefined':
      i32[word + 1] = Tag.Undefined
      i32[word] = 0
      return
    default:
      if (value === null) {
        i32[word + 1] = Tag.Nil
        i32[word] = 0
        return
      }
      if (!(value instanceof Tagged)) {
        throw new HeapError(
          'ERR_BAD_VALUE',
          `a value slot holds a number, boolean, null, undefined, handle or Tagged; got ${show(value)}`,
        )
      }
      if (value.tag === Tag.Ref) {
        if (value.payload === 0)
          throw new HeapError('ERR_BAD_VALUE', 'a reference value is never 0: store null instead')
        i32[word] = value.payload
        i32[word + 1] = Tag.Ref
        return
      }
      checkUserTag(value.tag)
      i32[word + 1] = value.tag
      i32[word] = value.payload
  }
}

export function checkUserTag(tag: number): void {
  if (Number.isInteger(tag) && tag >= Tag.User0 && tag <= Tag.User3) return
  throw new HeapError(
    'ERR_BAD_VALUE',
    `${show(tag)} is not one of the embedder's tags, Tag.User0 to Tag.User3: other tags have their own setters`,
  )
}

export const isInt32 = (value: unknown): boolean => typeof value === 'number' && value === (value | 0)

export function checkPayload(payload: number): void {
  if (isInt32(payload) || (typeof payload === 'number' && payload === payload >>> 0)) return
  throw new HeapError('ERR_BAD_VALUE', `the payload of a tag is an integer of 32 bits; got ${show(payload)}`)
}
