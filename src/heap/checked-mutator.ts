// The mutator of a checked heap: reads that first prove that they make sense. Stores and views: checked.ts.

import type { CheckedState } from './checked.js'
import { HeapError } from './errors.js'
import type { HeapCore } from './heap-core.js'
import { Mutator } from './mutator.js'
import type { RawValue, Ref } from './values.js'

export class CheckedMutator extends Mutator {
  readonly #checked: CheckedState

  constructor(core: HeapCore, index: number, checked: CheckedState) {
    super(core, index, checked)
    this.#checked = checked
  }

  override shapeOf(ref: Ref): number {
    return this.#checked.checkObject(ref, 'shapeOf').id
  }
  override lengthOf(array: Ref): number {
    const shape = this.#checked.checkObject(array, 'lengthOf')
    if (shape.array) return super.lengthOf(array)
    throw new HeapError('ERR_WRONG_SHAPE', `lengthOf is for arrays, and the object is a '${shape.name}', a fixed shape`)
  }
  override getRef(object: Ref, at: number): Ref {
    this.#checked.checkSlot(object, at, 'ref', 'getRef', 'reads')
    return super.getRef(object, at)
  }
  override getValue(object: Ref, at: number): RawValue {
    this.#checked.checkSlot(object, at, 'value', 'getValue', 'reads')
    return super.getValue(object, at)
  }
}
