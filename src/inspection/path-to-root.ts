// Why an object is alive: a shortest way from a root to it.

import { entryOf, weakElements } from '../gc/shape-reader.js'
import { rootSlotName } from '../gc/slot-names.js'
import { referenceIn } from '../gc/trace.js'
import { HeapError } from '../heap/errors.js'
import { checkHandle, Handle, refOf } from '../heap/handles.js'
import type { HeapCore } from '../heap/heap-core.js'
import type { Mutator } from '../heap/mutator.js'
import { ShapeKind, ShapeWord, WeakElements } from '../heap/layout.js'
import { Global, Weak } from '../heap/scopes.js'
import { ArrayShape, Shape, showShape, type AnyShape } from '../heap/shapes.js'
import { checkSynchronous } from '../heap/synchronous.js'
import type { Ref } from '../heap/values.js'
import { checkFunctions, known, Namer, type Labels } from './labels.js'
import { ROOTS, StrongWalk } from './strong-walk.js'

/** What `heap.pathTo` looks for. */
export type Target = Handle | Weak | Shape<unknown> | ArrayShape | ((ref: Ref, m: Mutator) => boolean)

export interface PathOptions extends Labels {
  /** No path leads on from an object for which this is true. */
  readonly without?: ((ref: Ref, m: Mutator) => boolean) | undefined
}

export function checkPathOptions(options: unknown): void {
  checkFunctions(options, 'heap.pathTo', ['className', 'slotName', 'without'])
}

/** Inside run, roots published; other mutators stopped by the caller. */
export function pathTo(core: HeapCore, m: Mutator, target: Target, options: PathOptions): string[] | null {
  const { without } = options
  const slot = target instanceof Handle || target instanceof Weak ? target._slot : -1
  const test = testOf(core, m, target)
  const walk = new StrongWalk(core, slot, without && ((ref) => !without(known(core, ref), m)))
  const found = walk.run(test)
  return found < 0 ? null : describe(core, walk, found, new Namer(core, m, options, 'heap.pathTo'))
}

/** How the walk came to object `k`. */
function describe(core: HeapCore, walk: StrongWalk, k: number, namer: Namer): string[] {
  const path: string[] = []
  while (k !== ROOTS) {
    const from = walk.from.at(k)
    const word = walk.through.at(k)
    if (from === ROOTS) {
      path.push(rootSlotName(core, word))
      break
    }
    const object = walk.objects.at(from)
    const slot = namer.slotAt(object, word)
    const key = keyOf(core, object, word)
    path.push(key === 0 ? slot : `value in ${slot}`)
    // What keeps the value of an ephemeron is its key, which was reached before it.
    k = key === 0 ? from : walk.numberOf(key)
  }
  return path.reverse()
}

/** The object that keeps what is in this slot of the object at `ref`; 0: that object does. */
function keyOf(core: HeapCore, ref: number, word: number): number {
  const { control, i32 } = core.views
  if (weakElements(control, i32[ref]) !== WeakElements.Keys) return 0
  const isValue = control[entryOf(i32[ref]) + ShapeWord.Kind] === ShapeKind.ArrayValue
  return referenceIn(i32, word - (isValue ? 2 : 1), isValue)
}

function testOf(core: HeapCore, m: Mutator, target: Target): (ref: number) => boolean {
  if (typeof target === 'function') {
    checkSynchronous(target, 'heap.pathTo')
    return (ref) => target(known(core, ref), m)
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
/** 0: the object was collected. */
function weakRefOf(core: HeapCore, weak: Weak): number {
  if (weak._core !== core) {
    throw new HeapError(
      'ERR_FOREIGN_HANDLE',
      'heap.pathTo got a weak handle of another heap: ask the heap that made it',
    )
  }
  if (weak._slot < 0) {
    throw new HeapError('ERR_HANDLE_DEAD', 'this weak handle was released, and refers to nothing: make another')
  }
  return core.views.rootsI32[weak._slot]
}
function shapeOfOurs(core: HeapCore, target: unknown): AnyShape {
  const isShape = target instanceof Shape || target instanceof ArrayShape
  if (isShape && core.shapes.byId(target.id) === (target as unknown as AnyShape)) return target as unknown as AnyShape
  throw new HeapError(
    'ERR_BAD_VALUE',
    `heap.pathTo takes a handle, a weak handle, a shape of this heap or a function; got ${showShape(target)}${remedyFor(target)}`,
  )
}

function remedyFor(target: unknown): string {
  if (target instanceof Global) return ': give its handle, global.handle'
  return typeof target === 'number' ? ': a Ref may be another after a safepoint; compare in a function' : ''
}
