// Why an object is alive: a shortest way from a root to it.

import { rootSlotName, slotName } from '../gc/slot-names.js'
import { HeapError } from '../heap/errors.js'
import { checkHandle, Handle, refOf } from '../heap/handles.js'
import type { HeapCore } from '../heap/heap-core.js'
import type { Mutator } from '../heap/mutator.js'
import { Weak } from '../heap/scopes.js'
import { ArrayShape, Shape, showShape, type AnyShape } from '../heap/shapes.js'
import { checkSynchronous } from '../heap/synchronous.js'
import type { Ref } from '../heap/values.js'
import { ROOTS, StrongWalk } from './strong-walk.js'

/** What `heap.pathTo` looks for. */
export type Target = Handle | Weak | Shape<unknown> | ArrayShape | ((ref: Ref, m: Mutator) => boolean)

/** Inside run, roots published; other mutators stopped by the caller. */
export function pathTo(core: HeapCore, m: Mutator, target: Target): string[] | null {
  const slot = target instanceof Handle || target instanceof Weak ? target._slot : -1
  const walk = new StrongWalk(core, slot)
  let k = walk.run(testOf(core, m, target))
  if (k < 0) return null
  const path: string[] = []
  for (; k !== ROOTS; k = walk.from.at(k)) {
    const from = walk.from.at(k)
    const word = walk.through.at(k)
    path.push(from === ROOTS ? rootSlotName(core, word) : slotName(core, walk.objects.at(from), word))
  }
  return path.reverse()
}

function testOf(core: HeapCore, m: Mutator, target: Target): (ref: number) => boolean {
  if (typeof target === 'function') {
    checkSynchronous(target, 'heap.pathTo')
    return (ref) => {
      core.checked?.reach(ref as Ref)
      return target(ref as Ref, m)
    }
  }
  if (target instanceof Handle || target instanceof Weak) {
    const ref = target instanceof Weak ? weakRefOf(core, target) : refOfOurs(core, target)
    return (found) => found === ref
  }
  const { id } = shapeOfOurs(core, target)
  const { i32 } = core.views
  return (ref) => i32[ref] === id
}

function refOfOurs(core: HeapCore, handle: Handle): number {
  checkHandle(core, handle, 'heap.pathTo')
  return refOf(handle)
}
/** 0: the object was collected, or the weak handle released. */
function weakRefOf(core: HeapCore, weak: Weak): number {
  if (weak._core !== core) {
    throw new HeapError(
      'ERR_FOREIGN_HANDLE',
      'heap.pathTo got a weak handle of another heap: ask the heap that made it',
    )
  }
  return weak._slot < 0 ? 0 : core.views.rootsI32[weak._slot]
}
function shapeOfOurs(core: HeapCore, target: unknown): AnyShape {
  const isShape = target instanceof Shape || target instanceof ArrayShape
  if (isShape && core.shapes.byId(target.id) === (target as unknown as AnyShape)) return target as unknown as AnyShape
  throw new HeapError(
    'ERR_BAD_VALUE',
    `heap.pathTo takes a handle, a weak handle, a shape of this heap or a function; got ${showShape(target)}`,
  )
}
