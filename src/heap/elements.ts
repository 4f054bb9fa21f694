// Many elements of an array at once: what growing a list, inserting into it or slicing it is made of.
//
// Everything is checked first, so that a refused copy has stored nothing; then there is no safepoint until all is copied,
// so the Refs of both arrays hold. Cards are dirtied after their slots, some slots at a time (invariant 8).
// References and values go word by word: memmove may store a word in parts, and the marker reads beside it. Of numbers
// it reads none. Inside run only.

import { HeapError, show } from './errors.js'
import type { HeapCore } from './heap-core.js'
import { CARD_SHIFT, FLAG_BITS } from './layout.js'
import type { Views } from './memory.js'
import { shapeAt } from './objects.js'
import { SLOT_BYTES, type ArrayShape } from './shapes.js'
import type { Ref } from './values.js'

/** `m.copyElements`. */
export function copyElements(core: HeapCore, target: Ref, at: number, source: Ref, from: number, count: number): void {
  core.checkRunning('copyElements')
  const shape = arrayAt(core, target, 'copyElements (the target)')
  const sourceShape = arrayAt(core, source, 'copyElements (the source)')
  if (sourceShape.kind !== shape.kind) {
    throw new HeapError(
      'ERR_WRONG_SHAPE',
      `copyElements from a '${sourceShape.name}' (${sourceShape.kind}) to a '${shape.name}' (${shape.kind}): elements are copied between arrays of one kind`,
    )
  }
  checkRange(core, shape, target, at, count, 'to')
  checkRange(core, sourceShape, source, from, count, 'from')
  if (count === 0) return

  const { views } = core
  const bytes = SLOT_BYTES[shape.kind]
  const first = (target * 4) / bytes + shape.elementsAt + at
  const start = (source * 4) / bytes + sourceShape.elementsAt + from
  if (shape.kind === 'ref') copyRefs(views, first, start, count)
  else if (shape.kind === 'value') copyValues(views, first, start, count)
  else views.u8.copyWithin(first * bytes, start * bytes, (start + count) * bytes)
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

// Two functions, for a view that is now of integers, now of doubles would make an object of each element on its way. Between a
// store and its card there is no call and no end of a loop, where a vm timeout or worker.terminate() may cut this off:
// what was stored by then has its cards. Four at a time are twice as fast as each with its card.
function copyRefs({ i32, cards }: Views, to: number, from: number, count: number): void {
  if (to <= from) {
    let i = 0
    for (; i + 4 <= count; i += 4) {
      i32[to + i] = i32[from + i]
      i32[to + i + 1] = i32[from + i + 1]
      i32[to + i + 2] = i32[from + i + 2]
      i32[to + i + 3] = i32[from + i + 3]
      cards[(to + i) >>> CARD_SHIFT] = 1
      cards[(to + i + 3) >>> CARD_SHIFT] = 1
    }
    for (; i < count; i++) {
      i32[to + i] = i32[from + i]
      cards[(to + i) >>> CARD_SHIFT] = 1
    }
    return
  }
  let i = count
  for (; i >= 4; i -= 4) {
    i32[to + i - 1] = i32[from + i - 1]
    i32[to + i - 2] = i32[from + i - 2]
    i32[to + i - 3] = i32[from + i - 3]
    i32[to + i - 4] = i32[from + i - 4]
    cards[(to + i - 1) >>> CARD_SHIFT] = 1
    cards[(to + i - 4) >>> CARD_SHIFT] = 1
  }
  while (--i >= 0) {
    i32[to + i] = i32[from + i]
    cards[(to + i) >>> CARD_SHIFT] = 1
  }
}
function copyValues({ f64, cards }: Views, to: number, from: number, count: number): void {
  const shift = CARD_SHIFT - 1
  if (to <= from) {
    for (let i = 0; i < count; i++) {
      f64[to + i] = f64[from + i]
      cards[(to + i) >>> shift] = 1
    }
    return
  }
  for (let i = count - 1; i >= 0; i--) {
    f64[to + i] = f64[from + i]
    cards[(to + i) >>> shift] = 1
  }
}
