// Planted damage, one kind for each rule that verification checks: how its tests know that it would be seen.
//
// Each function breaks one word of a heap that is otherwise in order. Inside run; afterwards the heap is good for
// nothing but `verify`.

import type { Heap } from '../glissade.js'
import { HeapError, remedyFor, show } from '../heap/errors.js'
import { AreaWord, FLAG_BITS, SHAPE_BASE, SHAPE_WORDS, ShapeWord, Tag, areaBlock } from '../heap/layout.js'
import type { Ref } from '../heap/values.js'

const KINDS = {
  /** The shape id in the header names no shape. */
  badShapeId: (heap: Heap, ref: Ref) => void (heap._core.views.i32[ref] = 60000),
  /** The header is zero, as free memory is. */
  freedObject: (heap: Heap, ref: Ref) => void (heap._core.views.i32[ref] = 0),
  /** An array's length reaches past the heap. */
  hugeLength: (heap: Heap, ref: Ref) => void (heap._core.views.i32[ref + 1] = -1 << FLAG_BITS),
  /** Payload word 0 as a ref slot: odd. */
  oddRef: (heap: Heap, ref: Ref, word: number) => void (heap._core.views.i32[ref + word] = ref + 1),
  /** A ref slot that points outside the heap. */
  wildRef: (heap: Heap, ref: Ref, word: number) => void (heap._core.views.i32[ref + word] = 0x7ffffff0),
  /** A ref slot that points into the middle of its own object. */
  interiorRef(heap: Heap, ref: Ref, word: number): void {
    const { i32 } = heap._core.views
    i32[ref + word] = ref + 2
  },
  /** A value with the tag of a reference and no payload: a store torn in the wrong order. */
  tornValue(heap: Heap, ref: Ref, word: number): void {
    const { i32 } = heap._core.views
    i32[ref + word] = 0
    i32[ref + word + 1] = Tag.Ref
  },
  /** A value with a tag that nothing stores. */
  badTag: (heap: Heap, ref: Ref, word: number) => void (heap._core.views.i32[ref + word + 1] = Tag.User3 + 1),
  /** A boolean that is 7. */
  badBoolean(heap: Heap, ref: Ref, word: number): void {
    const { i32 } = heap._core.views
    i32[ref + word + 1] = Tag.Boolean
    i32[ref + word] = 7
  },
  /** A byte after the last element of an array. */
  dirtyPadding(heap: Heap, ref: Ref): void {
    const { i32, u8 } = heap._core.views
    const shape = heap._core.shapes.byId(i32[ref])
    if (shape?.array !== true) throw new Error('dirtyPadding takes an array')
    u8[ref * 4 + 8 + (i32[ref + 1] >>> FLAG_BITS) * 2 ** shape.shift] = 1
  },
  /** A slot above the top of root area `word`. */
  dirtyRootArea(heap: Heap, _ref: Ref, area: number): void {
    const { control, rootsI32 } = heap._core.views
    const block = areaBlock(area)
    rootsI32[control[block + AreaWord.Start] + control[block + AreaWord.Capacity] - 1] = 2
  },
  /** The top of root area `word` is above its capacity. */
  topOutOfRange(heap: Heap, _ref: Ref, area: number): void {
    const { control } = heap._core.views
    const block = areaBlock(area)
    control[block + AreaWord.Top] = control[block + AreaWord.Capacity] + 1
  },
  /** The size of the object's shape in the control words. */
  shapeSize(heap: Heap, ref: Ref): void {
    const { control, i32 } = heap._core.views
    control[SHAPE_BASE + i32[ref] * SHAPE_WORDS + ShapeWord.Size] += 1
  },
  /** A word of memory that the collector says is free. */
  dirtyFreeMemory(heap: Heap): void {
    const range = heap._core.collector.freeRanges().find(({ start, end }) => end > start)
    if (range === undefined) throw new Error('this collector does not tell what is free')
    heap._core.views.i32[range.end - 1] = 1
  },
  /** The page that null points to. */
  dirtyNullPage: (heap: Heap) => void (heap._core.views.i32[2] = 1),
} as const

/** The kinds of damage. */
export type Corruption = keyof typeof KINDS

/**
 * Plants one kind of damage at `ref`. `word` is the slot's word offset in the object, or a root area's index for the
 * kinds that damage areas.
 */
export function corrupt(heap: Heap, kind: Corruption, ref: Ref = 0 as Ref, word = 2): void {
  if (!Object.hasOwn(KINDS, kind)) {
    const remedy = remedyFor(kind, Object.keys(KINDS), 'it is one of')
    throw new HeapError('ERR_BAD_VALUE', `corrupt knows no damage ${show(kind)}: ${remedy}`)
  }
  heap._core.checkRunning('corrupt')
  KINDS[kind](heap, ref, word)
}
