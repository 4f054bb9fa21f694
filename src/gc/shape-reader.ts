// Shapes as a collector or a verifier reads them: from the control words, by id.

import { FLAG_BITS, SHAPE_BASE, SHAPE_WORDS, ShapeKind, ShapeWord, WeakElements } from '../heap/layout.js'

export const entryOf = (shapeId: number): number => SHAPE_BASE + shapeId * SHAPE_WORDS

/** True if no object of the shape holds a reference. */
export function isPointerFree(control: Int32Array, shapeId: number): boolean {
  const entry = entryOf(shapeId)
  const kind = control[entry + ShapeWord.Kind]
  if (kind === ShapeKind.Fixed) return control[entry + ShapeWord.SlotCount] === 0
  return kind !== ShapeKind.ArrayRef && kind !== ShapeKind.ArrayValue
}

/** Which elements of the shape's objects are weak: a {@link WeakElements}. */
export function weakElements(control: Int32Array, shapeId: number): number {
  const entry = entryOf(shapeId)
  return control[entry + ShapeWord.Kind] === ShapeKind.Fixed ? WeakElements.None : control[entry + ShapeWord.Weak]
}

/** Granules of the object at `ref`, header included; for arrays from their length. */
export function granulesAt(control: Int32Array, i32: Int32Array, ref: number): number {
  const entry = entryOf(i32[ref])
  const size = control[entry + ShapeWord.Size]
  if (control[entry + ShapeWord.Kind] === ShapeKind.Fixed) return size
  return 1 + Math.ceil(((i32[ref + 1] >>> FLAG_BITS) * 2 ** size) / 8)
}
