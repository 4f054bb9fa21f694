// Allocation fast paths: generated text, one function per mutator and shape, so that the JIT sees constants.
//
// The bump of the TLAB's top and the header store stand in one function with no call or loop between them (a stack
// overflow in between would leave an object without a header). The limit word is 0 while the mutator is parked or a
// stop is requested, so the one compare is also the check for "inside run" and the safepoint poll. Memory of a TLAB is
// zero, so word 1 of a fixed object needs no store. Rules that measurements gave: views bound as
// consts of the enclosing function, slow calls end in `| 0`, and the text carries a mutator number, because V8 shares
// the code of identical texts and then stops folding their constants.

import type { AllocatorEnvironment } from './environment.js'
import { HeapError, show } from './errors.js'
import {
  FLAG_BITS,
  HEADER_WORDS,
  LARGE_BYTES,
  MAX_ARRAY_LENGTH,
  MAX_RESERVED_BYTES,
  MutatorWord,
  mutatorBlock,
} from './layout.js'
import type { AnyShape, ArrayShape, Shape, SlotTable } from './shapes.js'
import type { Ref } from './values.js'

export type FixedAllocator = () => Ref
export type ArrayAllocator = (length: number) => Ref

/** What makes objects of any shape: the mutator, for those who are below it. */
export interface Allocation {
  alloc<S>(shape: Shape<S>): Ref
  allocArray(shape: ArrayShape, length: number): Ref
}

const wordOf = (mutator: number, word: number): number => mutatorBlock(mutator) + word

/** The allocator of a fixed shape for one mutator. */
export function generateAllocator(env: AllocatorEnvironment, shape: Shape<SlotTable>): FixedAllocator {
  const { mutator } = env
  const words = shape.granules * 2
  const body = env.everyAllocationSlow
    ? `return slow(${shape.id}, 0, ${shape.granules}) | 0`
    : `const top = control[${wordOf(mutator, MutatorWord.TlabTop)}]
    const next = top + ${words}
    if (next <= control[${wordOf(mutator, MutatorWord.TlabLimit)}]) {
      control[${wordOf(mutator, MutatorWord.TlabTop)}] = next
      i32[top] = ${shape.id}
      return top
    }
    return slow(${shape.id}, 0, ${shape.granules}) | 0`
  const make = new Function(
    'environment',
    `"use strict"
  // heap ${env.heapId}, mutator ${mutator}, shape ${shape.id}
  const control = environment.control, i32 = environment.i32, slow = environment.slow
  return function allocate_${env.heapId}_${shape.id}() {
    ${body}
  }`,
  ) as (environment: AllocatorEnvironment) => FixedAllocator
  return make(env)
}

/** `m.reserve` of one mutator. */
export function generateReserve(env: AllocatorEnvironment): (bytes: number) => void {
  const { mutator } = env
  // Not for 0 bytes, which fit where there is no TLAB, also outside run.
  const fast = `if (typeof bytes === 'number' && bytes === (bytes >>> 0) && bytes > 0 && bytes <= ${MAX_RESERVED_BYTES}) {
      const end = control[${wordOf(mutator, MutatorWord.TlabTop)}] + ((bytes + 7) >>> 3 << 1)
      if (end <= control[${wordOf(mutator, MutatorWord.TlabLimit)}]) {
        control[${wordOf(mutator, MutatorWord.ReservedEnd)}] = end
        return
      }
    }`
  const make = new Function(
    'environment',
    `"use strict"
  // heap ${env.heapId}, mutator ${mutator}
  const control = environment.control, reserveSlowly = environment.reserveSlowly
  return function reserve_${env.heapId}(bytes) {
    ${env.everyAllocationSlow ? '' : fast}
    reserveSlowly(bytes)
  }`,
  ) as (environment: AllocatorEnvironment) => (bytes: number) => void
  return make(env)
}

/** The allocator of an array shape for one mutator. */
export function generateArrayAllocator(env: AllocatorEnvironment, shape: ArrayShape): ArrayAllocator {
  const { mutator } = env
  // Longest array that is not a large object.
  const maxFast = (LARGE_BYTES - 8 - 8) >>> shape.shift
  const fast = `if (typeof length === 'number' && length === (length >>> 0) && length <= ${maxFast}) {
      const top = control[${wordOf(mutator, MutatorWord.TlabTop)}]
      const next = top + ${HEADER_WORDS} + (((length << ${shape.shift}) + 7) >>> 3 << 1)
      if (next <= control[${wordOf(mutator, MutatorWord.TlabLimit)}]) {
        control[${wordOf(mutator, MutatorWord.TlabTop)}] = next
        i32[top + 1] = length << ${FLAG_BITS}
        i32[top] = ${shape.id}
        return top
      }
    }`
  const make = new Function(
    'environment',
    'slowArray',
    `"use strict"
  // heap ${env.heapId}, mutator ${mutator}, array shape ${shape.id}
  const control = environment.control, i32 = environment.i32
  return function allocateArray_${env.heapId}_${shape.id}(length) {
    ${env.everyAllocationSlow ? '' : fast}
    return slowArray(length) | 0
  }`,
  ) as (environment: AllocatorEnvironment, slowArray: (length: number) => number) => ArrayAllocator
  return make(env, (length) => {
    checkLength(shape, length)
    return env.slow(shape.id, length << FLAG_BITS, arrayGranules(shape, length))
  })
}

function checkLength(shape: AnyShape, length: unknown): void {
  if (typeof length === 'number' && Number.isInteger(length) && length >= 0 && length <= MAX_ARRAY_LENGTH) return
  throw new HeapError(
    'ERR_BOUNDS',
    `the length of an array (here of '${shape.name}') is a whole number from 0 to ${MAX_ARRAY_LENGTH}; got ${show(length)}`,
  )
}

/** Granules of an array, header included. */
function arrayGranules(shape: ArrayShape, length: number): number {
  return 1 + Math.ceil((length * 2 ** shape.shift) / 8)
}
