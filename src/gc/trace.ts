// Walking the object graph from the roots, trusting it: for the graph hash, the checked tier's table of objects, and inspections.
//
// Only views and control words are read, so the walk works over every collector. The thread is inside run, and other
// mutators are stopped by the caller if there are any. `verify.ts` has its own walk, which trusts nothing.

import type { HeapCore } from '../heap/heap-core.js'
import {
  FLAG_BITS,
  SLOT_MAP_BASE,
  AreaKind,
  AreaWord,
  ShapeKind,
  ShapeWord,
  Tag,
  Word,
  areaBlock,
  isWeakArea,
  liveSlots,
  slotWords,
} from '../heap/layout.js'
import { entryOf } from './shape-reader.js'

/** Calls back with each live slot of a root area, and its word. */
export function forEachSlotOfArea(
  core: HeapCore,
  area: number,
  visit: (slot: number, word: number, isValue: boolean) => void,
): void {
  const { control } = core.views
  const block = areaBlock(area)
  const step = slotWords(control[block + AreaWord.Kind])
  const start = control[block + AreaWord.Start]
  const top = liveSlots(control, area)
  for (let slot = 0; slot < top; slot++) visit(slot, start + slot * step, step === 2)
}

/** Calls back with each live slot of each strong root area (`weak`: of the weak ones too): area, slot, and its word. */
export function forEachRootSlot(
  core: HeapCore,
  visit: (area: number, slot: number, word: number, isValue: boolean) => void,
  weak = false,
): void {
  const { control } = core.views
  for (let area = 0; area < control[Word.AreaCount]; area++) {
    const kind = control[areaBlock(area) + AreaWord.Kind]
    if (kind === AreaKind.Free || (isWeakArea(kind) && !weak)) continue
    forEachSlotOfArea(core, area, (slot, word, isValue) => visit(area, slot, word, isValue))
  }
}

/** Calls back with the word of each reference-bearing slot of the object at `ref`, empty or not, in address order. */
export function forEachReferenceSlot(
  core: HeapCore,
  ref: number,
  visit: (word: number, isValue: boolean) => void,
): void {
  const { control, i32 } = core.views
  const entry = entryOf(i32[ref])
  const kind = control[entry + ShapeWord.Kind]
  if (kind === ShapeKind.Fixed) {
    const start = SLOT_MAP_BASE + control[entry + ShapeWord.SlotStart]
    const end = start + control[entry + ShapeWord.SlotCount]
    for (let i = start; i < end; i++) visit(ref + (control[i] >>> 3), (control[i] & 1) !== 0)
  } else if (kind === ShapeKind.ArrayRef || kind === ShapeKind.ArrayValue) {
    const step = kind === ShapeKind.ArrayRef ? 1 : 2
    const end = ref + 2 + step * (i32[ref + 1] >>> FLAG_BITS)
    for (let word = ref + 2; word < end; word += step) visit(word, step === 2)
  }
}

/** The reference in the slot that begins at `word`, or 0. */
export const referenceIn = (words: Int32Array, word: number, isValue: boolean): number =>
  !isValue || words[word + 1] === Tag.Ref ? words[word] : 0

/**
 * Calls back once with every object that can still be reached: also through weak references, which until they are cleared
 * hand out objects that nothing strong holds any more.
 */
export function forEachObject(core: HeapCore, visit: (ref: number) => void): void {
  const { i32, rootsI32, f64 } = core.views
  const seen = new Int32Array(Math.ceil(f64.length / 32))
  const pending: number[] = []
  const reach = (ref: number): void => {
    const granule = ref >>> 1
    const bit = 1 << (granule & 31)
    if (ref === 0 || (seen[granule >>> 5] & bit) !== 0) return
    seen[granule >>> 5] |= bit
    pending.push(ref)
  }
  const reachSlot = (_area: number, _slot: number, word: number, isValue: boolean): void => {
    if (!isValue || rootsI32[word + 1] === Tag.Ref) reach(rootsI32[word])
  }
  forEachRootSlot(core, reachSlot, true)
  for (let ref = pending.pop(); ref !== undefined; ref = pending.pop()) {
    visit(ref)
    forEachReferenceSlot(core, ref, (word, isValue) => {
      if (!isValue || i32[word + 1] === Tag.Ref) reach(i32[word])
    })
  }
}

/** Calls back with the object at `from` and those behind it, but follows no object that `visit` is false for. */
export function forEachObjectFrom(core: HeapCore, from: number, visit: (ref: number) => boolean): void {
  const { i32 } = core.views
  const pending = [from]
  for (let ref = pending.pop(); ref !== undefined; ref = pending.pop()) {
    if (!visit(ref)) continue
    forEachReferenceSlot(core, ref, (word, isValue) => {
      if (i32[word] !== 0 && (!isValue || i32[word + 1] === Tag.Ref)) pending.push(i32[word])
    })
  }
}
