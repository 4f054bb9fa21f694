// NaN-boxed values: how 64 bits of a `value` slot are read, and what is written there.
//
// A double is stored as itself with NaN canonical; everything else wears a tag whose high word, as int32, is at least
// Tag.First: arithmetic never makes such a word. Store order keeps a concurrent marker from chasing an integer that
// wears a reference's tag (x86-64 TSO): a reference writes payload then tag, any other tagged value tag then payload, a
// double is one f64 store, a copy of an unknown value one f64 load and one f64 store. Used by every tier.

import { HeapError, show } from './errors.js'
import { CARD_SHIFT, Tag, type UserTag } from './layout.js'

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
    /** 32 bits, read back with a sign; for `Tag.Ref` a raw Ref. */
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

/** What {@link encode} found last: of a number 0 and the number, of all else the tag and its 32 bits. */
export const encoded: { tag: number; payload: number } = { tag: 0, payload: 0 }

/**
 * What a slot takes of `value`. What it looks at may be code of the program's (a Proxy, a getter), which may collect, and end
 * what it likes: so it comes before the place of the slot is asked for, and looks once.
 */
export function encode(value: RawValue): void {
  let tag: number = Tag.Undefined
  let payload = 0
  switch (typeof value) {
    case 'number':
      tag = 0
      payload = value === value ? value : NaN
      break
    case 'boolean':
      tag = Tag.Boolean
      payload = value ? 1 : 0
      break
    case 'undefined':
      break
    default:
      if (value === null) {
        tag = Tag.Nil
        break
      }
      if (!(value instanceof Tagged)) {
        throw new HeapError(
          'ERR_BAD_VALUE',
          `a value slot holds a number, boolean, null, undefined, handle or Tagged; got ${show(value)}`,
        )
      }
      ;({ tag, payload } = value)
      if (tag !== Tag.Ref) checkUserTag(tag)
      else if (payload === 0) throw new HeapError('ERR_BAD_VALUE', 'a reference value is never 0: store null instead')
      checkPayload(payload)
  }
  encoded.tag = tag
  encoded.payload = payload
}

/**
 * Stores what {@link encode} found, in the store order of the file head, and marks the card of a reference where there are cards. Nothing
 * is called in here: a vm timeout may come with every call, and a marker must not miss the card of a store.
 */
export function writeEncoded(
  i32: Int32Array,
  f64: Float64Array,
  cards: Uint8Array | null,
  word: number,
  tag: number,
  payload: number,
): void {
  if (tag === 0) f64[word / 2] = payload
  else if (tag === Tag.Ref) {
    i32[word] = payload
    i32[word + 1] = tag
    if (cards !== null) cards[word >>> CARD_SHIFT] = 1
  } else {
    i32[word + 1] = tag
    i32[word] = payload
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
