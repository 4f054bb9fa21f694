// How slots and objects are called in what people read: violations, paths to a root, snapshots.
//
// An object is its shape and its Ref, `Node@4096`; a slot is named by its object, `Node@4096.next`, `Items@8192[3]`; a root slot by
// its area, `globals[7]`, where the program has named that, else `root area 2[7]`. Trusts the shape id of the object, nothing else.

import type { HeapCore } from '../heap/heap-core.js'
import { AreaKind, AreaWord, GRANULE_BYTES, Word, areaBlock, slotWords } from '../heap/layout.js'
import { SLOT_BYTES, slotMapOf, type AnyShape } from '../heap/shapes.js'

/** The name of a shape that perhaps only another thread has defined. */
export const shapeName = (core: HeapCore, id: number): string => core.shapes.byId(id)?.name ?? `shape ${id}`

export function objectName(core: HeapCore, ref: number): string {
  return `${shapeName(core, core.views.i32[ref])}@${ref}`
}

/** The slot of the object at `ref` that begins at word `word` of the heap. */
export function slotName(core: HeapCore, ref: number, word: number): string {
  const slot = slotAt(core, ref, word)
  return `${objectName(core, ref)}${typeof slot === 'number' ? `[${slot}]` : `.${slot}`}`
}

/** The same without the object: its name, of an array its index; in bytes where no slot begins, or none is known. */
export function slotAt(core: HeapCore, ref: number, word: number): string | number {
  const bytes = (word - ref) * 4
  const shape = core.shapes.byId(core.views.i32[ref])
  if (shape?.array) return (bytes - GRANULE_BYTES) / SLOT_BYTES[shape.kind]
  return (shape && fixedSlotAt(shape, bytes)) ?? `+${bytes}`
}

/** Names of the reference-bearing slots of a shape, in address order; null: it is an array, or only another thread knows it. */
export function referenceSlots(core: HeapCore, id: number): string[] | null {
  const shape = core.shapes.byId(id)
  if (shape === undefined || shape.array) return null
  return slotMapOf(shape).map((entry) => fixedSlotAt(shape, entry >>> 1) as string)
}

/** The slot of a fixed shape that begins so many bytes into its objects. */
function fixedSlotAt(shape: AnyShape & { readonly array: false }, bytes: number): string | undefined {
  return Object.entries(shape.slots).find(([name, kind]) => shape.at[name] * SLOT_BYTES[kind] === bytes)?.[0]
}

export const areaName = (core: HeapCore, area: number): string => core.nameOfArea(area) ?? `root area ${area}`

/** The root slot that begins at word `word` of the root region. */
export function rootSlotName(core: HeapCore, word: number): string {
  const { control } = core.views
  for (let area = 0; area < control[Word.AreaCount]; area++) {
    const block = areaBlock(area)
    const kind = control[block + AreaWord.Kind]
    const slot = (word - control[block + AreaWord.Start]) / slotWords(kind)
    if (kind === AreaKind.Free || slot < 0 || slot >= control[block + AreaWord.Capacity]) continue
    return `${areaName(core, area)}[${slot}]`
  }
  return 'a root'
}
