// Identity hashes: 30 bits in word 1 of a fixed object, made at the first question and moved along with the object.
//
// Several threads may ask first: the one that exchanges the word decides, and the others take its answer.

import { threadId } from 'node:worker_threads'
import { HeapError } from './errors.js'
import type { HeapCore } from './heap-core.js'
import { FIRST_SHAPE, FLAG_BITS, SHAPE_BASE, SHAPE_WORDS, ShapeKind, ShapeWord } from './layout.js'
import { noObjectAt } from './objects.js'
import type { Ref } from './values.js'

// Threads begin far from each other in the sequence.
let state = (0x9e3779b9 + Math.imul(threadId, 0x85ebca6b)) | 0

/** A 30-bit number that is not 0; a plain linear sequence through a mixing function. */
function nextHash(): number {
  state = (state + 0x9e3779b9) | 0
  let z = state
  z = Math.imul(z ^ (z >>> 16), 0x85ebca6b)
  z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35)
  z = (z ^ (z >>> 16)) & 0x3fffffff
  return z === 0 ? 1 : z
}

export function identityHash(core: HeapCore, object: Ref): number {
  core.checkRunning('identityHash')
  core.checked?.checkObject(object, 'identityHash')
  const { i32, control } = core.views
  // By the control words: another thread may have defined the shape.
  const shape = i32[object]
  const kind = shape >= FIRST_SHAPE ? control[SHAPE_BASE + shape * SHAPE_WORDS + ShapeWord.Kind] : 0
  if (kind !== ShapeKind.Fixed) refuse(object, kind)
  const word = i32[object + 1]
  if (word >>> FLAG_BITS !== 0) return word >>> FLAG_BITS
  const hash = nextHash()
  const found = Atomics.compareExchange(i32, object + 1, word, word | (hash << FLAG_BITS))
  return found === word ? hash : found >>> FLAG_BITS
}

function refuse(object: Ref, kind: number): never {
  if (object !== 0 && kind > ShapeKind.Fixed && kind <= ShapeKind.ArrayU8) {
    throw new HeapError('ERR_WRONG_SHAPE', 'identityHash is for fixed shapes: an array keeps its length in that word')
  }
  throw noObjectAt(object, 'identityHash')
}
