// An object's shape: which it has, and making it another.
//
// Word 0 of an object is its shape's id, which the collector reads at any time: it may change only to a shape in which the collector
// sees the same. Inside run.

import { HeapError, show } from './errors.js'
import type { HeapCore } from './heap-core.js'
import { FIRST_SHAPE, Word } from './layout.js'
import { interchangeable, Shape, showShape, type AnyShape, type SlotTable } from './shapes.js'
import type { Ref } from './values.js'

/** The shape of the object at `ref`, if one begins there. */
export function shapeAt(core: HeapCore, ref: Ref, what: string): AnyShape {
  core.checked?.checkObject(ref, what)
  const { i32, control } = core.views
  const id = Number.isInteger(ref) && ref > 0 && (ref & 1) === 0 ? i32[ref] : 0
  const shape = core.shapes.byId(id)
  if (shape !== undefined) return shape
  if (id >= FIRST_SHAPE && id < control[Word.ShapeCount]) {
    throw new HeapError(
      'ERR_WRONG_SHAPE',
      `${what}: another thread defined the shape of the object at ${ref}: define shapes before heap.share()`,
    )
  }
  throw noObjectAt(ref, what)
}

/** For what takes a Ref and got this. */
export function noObjectAt(ref: unknown, what: string): HeapError {
  if (typeof ref !== 'number' || !Number.isInteger(ref)) {
    return new HeapError('ERR_BAD_REF', `${what}: a Ref is a whole number; got ${show(ref)}`)
  }
  const why = ref === 0 ? ', which is null: test for it first' : ': was the Ref kept across a safepoint?'
  return new HeapError('ERR_BAD_REF', `${what}: no object begins at ${ref}${why}`)
}

/** `m.setShape`: one store of word 0, after the check that the collector's view of the object does not change. */
export function setShape(core: HeapCore, object: Ref, shape: Shape<SlotTable>): void {
  core.checkRunning('setShape')
  const from = shapeAt(core, object, 'setShape')
  if (!(shape instanceof Shape) || core.shapes.byId(shape.id) !== shape) {
    throw new HeapError(
      'ERR_WRONG_SHAPE',
      `setShape takes a shape that heap.defineShape of this heap returned; got ${showShape(shape)}`,
    )
  }
  if (!interchangeable(from, shape)) {
    throw new HeapError(
      'ERR_WRONG_SHAPE',
      `a '${from.name}' cannot become a '${shape.name}': both must be fixed shapes of this heap, equally long, with references in the same places`,
    )
  }
  core.views.i32[object] = shape.id
}
