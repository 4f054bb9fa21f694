// Identity hashes: 30 bits in word 1 of a fixed object, made at the first question and moved along with the object.

import { HeapError } from './errors.js'
import type { HeapCore } from './heap-core.js'
import { FLAG_BITS } from './layout.js'
import type { Ref } from './values.js'

let state = 0x9e3779b9

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
  core.checkRef(object, 'identityHash')
  const { i32 } = core.views
  if (core.shapes.byId(i32[object])?.array === true) {
    throw new HeapError('ERR_WRONG_SHAPE', 'identityHash is for fixed shapes: an array keeps its length in that word')
  }
  const known = i32[object + 1] >>> FLAG_BITS
  if (known !== 0) return known
  const hash = nextHash()
  i32[object + 1] |= hash << FLAG_BITS
  return hash
}
