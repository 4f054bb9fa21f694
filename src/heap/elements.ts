// Many elements of an array at once: what growing a list, inserting into it or slicing it is made of.
//
// Everything is checked first, so that a refused copy has stored nothing; then there is no safepoint until all is copied,
// so the Refs of both arrays hold, and no collector looks at a card before its slots are stored (invariant 8).
// References and values go word by word: memmove may store a word in parts, and the marker reads beside it. Of numbers
// it reads none. Inside run only.

import { HeapError, show } from './errors.js'
import type { HeapCore } from './heap-core.js'
import { CARD_SHIFT, FLAG_BITS } from './layout.js'
import { shapeAt } from './objects.js'
import { SLOT_BYTES, type ArrayShape } from './shapes.js'
import type { Ref } from './values.js'

/** `m.copyElements`. */
export function copyElements(core: HeapCore, target: Ref, at: number, source: Ref, from: number, count: number): void {
  core.checkRunning('copyElements')
  const shape = arrayAt(core, target, 'copyElements (the target)')
  const of = arrayAt(core, source, 'copyElements (the source)')
  if (of.kind !== shape.kind) {
    throw new HeapError(
      'ERR_WRONG_SHAPE',
      `copyElements from a '${of.name}' (${of.kind}) to a '${shape.name}' (${shape.kind}): elements are copied between arrays of one kind`,
    )
  }
  checkRange(core, shape, target, at, count, 'to')
  checkRange(core, of, source, from, count, 'from')
  if (count === 0) return

  const { i32, f64, u8, cards } = core.views
  const bytes = SLOT_BYTES[shape.kind]
  const first = (target * 4) / bytes + shape.elementsAt + at
  const start = (source * 4) / bytes + of.elementsAt + from
  if (shape.kind === 'ref') copyWords(i32, first, start, count)
  else if (shape.kind === 'value') copyDoubles(f64, first, start, count)
  else {
    u8.copyWithin(first * bytes, start * bytes, (start + count) * bytes)
    return
  }
  const words = bytes / 4
  const last = ((first + count) * words - 1) >>> CARD_SHIFT
  for (let card = (first * words) >>> CARD_SHIFT; card <= last; card++) cards[card] = 1 // fill costs more than a short copy
}

function arrayAt(core: HeapCore, ref: Ref, what: string): ArrayShape {
  const shape = shapeAt(core, ref, what)
  if (shape.array) return shape
  throw new HeapError(
    'ERR_WRONG_SHAPE',
    `${what}: elements are of arrays, and the object is a '${shape.name}', a fixed shape`,
  )
}

function checkRange(core: HeapCore, shape: ArrayShape, array: Ref, first: number, count: number, verb: string): void {
  const length = core.views.i32[array + 1] >>> FLAG_BITS
  if (Number.isInteger(first) && Number.isInteger(count) && first >= 0 && count >= 0 && first + count <= length) return
  throw new HeapError(
    'ERR_BOUNDS',
    `copyElements of ${show(count)} elements ${verb} index ${show(first)} of a '${shape.name}' with ${length}: ` +
      'whole numbers from 0 on, and no element past the end',
  )
}

// Two functions, for a view that is now of integers, now of doubles would make an object of each element on its way.
function copyWords(i32: Int32Array, to: number, from: number, count: number): void {
  if (to <= from) for (let i = 0; i < count; i++) i32[to + i] = i32[from + i]
  else for (let i = count - 1; i >= 0; i--) i32[to + i] = i32[from + i]
}
function copyDoubles(f64: Float64Array, to: number, from: number, count: number): void {
  if (to <= from) for (let i = 0; i < count; i++) f64[to + i] = f64[from + i]
  else for (let i = count - 1; i >= 0; i--) f64[to + i] = f64[from + i]
}
