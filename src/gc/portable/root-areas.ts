// Root areas of portable memory: page-aligned pieces of the root region, first fit, zero when handed out.
//
// The control words of an area are its whole description (ARCHITECTURE.md, "Root areas"); this file only writes them.
// Called from the one JS thread of a portable heap.

import { AreaKind, AreaWord, MAX_AREAS, PAGE_BYTES, Word, areaBlock, slotWords } from '../../heap/layout.js'
import { roundUp, type HeapMemory, type Views } from '../../heap/memory.js'

const PAGE_WORDS = PAGE_BYTES / 4

/** 32-bit words that an area takes: whole pages, however few of their slots were asked for. */
const areaWords = (kind: number, slots: number): number => roundUp(slots * slotWords(kind), PAGE_WORDS)

export class RootAreas {
  readonly #views: Views
  readonly #words: number
  constructor(memory: HeapMemory, views: Views) {
    this.#views = views
    this.#words = memory.rootBytes / 4
  }

  /** Index of a new area of `slots` slots, −1 when there is no room. */
  create(kind: number, slots: number, owner: number): number {
    const { control } = this.#views
    const words = areaWords(kind, slots)
    let area = 0
    while (area < MAX_AREAS && control[areaBlock(area) + AreaWord.Kind] !== AreaKind.Free) area++
    if (area === MAX_AREAS) return -1
    const start = this.#findRoom(words)
    if (start < 0) return -1
    const block = areaBlock(area)
    control[block + AreaWord.Start] = start
    control[block + AreaWord.Capacity] = slots
    control[block + AreaWord.Top] = 0
    control[block + AreaWord.Owner] = owner
    control[block + AreaWord.Due] = 0
    control[block + AreaWord.DueArea] = 0
    control[block + AreaWord.Kind] = kind
    control[Word.AreaCount] = Math.max(control[Word.AreaCount], area + 1)
    return area
  }

  free(area: number): void {
    const { control, rootsI32 } = this.#views
    const block = areaBlock(area)
    const start = control[block + AreaWord.Start]
    const words = areaWords(control[block + AreaWord.Kind], control[block + AreaWord.Capacity])
    control[block + AreaWord.Kind] = AreaKind.Free
    rootsI32.fill(0, start, start + words)
  }

  /** Zeroes every area that is in use. */
  zero(): void {
    const { control, rootsI32 } = this.#views
    for (let a = 0; a < control[Word.AreaCount]; a++) {
      const block = areaBlock(a)
      const kind = control[block + AreaWord.Kind]
      if (kind === AreaKind.Free) continue
      const start = control[block + AreaWord.Start]
      rootsI32.fill(0, start, start + areaWords(kind, control[block + AreaWord.Capacity]))
    }
  }

  /** First word of the lowest gap that is long enough. */
  #findRoom(words: number): number {
    const { control } = this.#views
    const taken: { start: number; end: number }[] = []
    for (let a = 0; a < control[Word.AreaCount]; a++) {
      const block = areaBlock(a)
      const kind = control[block + AreaWord.Kind]
      if (kind === AreaKind.Free) continue
      const start = control[block + AreaWord.Start]
      taken.push({ start, end: start + areaWords(kind, control[block + AreaWord.Capacity]) })
    }
    taken.sort((a, b) => a.start - b.start)
    let start = 0
    for (const area of taken) {
      if (area.start - start >= words) return start
      start = area.end
    }
    return this.#words - start >= words ? start : -1
  }
}
