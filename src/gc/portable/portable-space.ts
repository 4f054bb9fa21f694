// The space of the portable collectors: TLABs from a bump pointer, large objects in two page-aligned regions, and the
// budget. One JS thread only (portable heaps cannot be shared), so nothing here is atomic.
//
// Invariants: memory at and above `top` up to the first large object is zero; so is every free page of the large
// regions. Every object lies below `top`, and between two objects below `top` there are only fillers (or the unused rest
// of the current TLAB, zero). `usedBytes` counts what is granted: it never exceeds `maxBytes`.

import {
  FILLER_SHAPE,
  FLAG_BITS,
  LARGE_BYTES,
  MAX_MUTATORS,
  MAX_RESERVED_BYTES,
  MutatorWord,
  PAGE_BYTES,
  mutatorBlock,
} from '../../heap/layout.js'
import { roundUp, viewsOf, type PortableMemory, type Views } from '../../heap/memory.js'
import { FreePages, type Interval } from './free-pages.js'
import { isPointerFree } from '../shape-reader.js'

const TLAB_BYTES = 64 * 1024
/** Objects longer than this do not retire a TLAB that cannot hold them. */
const DIRECT_BYTES = MAX_RESERVED_BYTES
const PAGE_WORDS = PAGE_BYTES / 4

export interface LargeObject {
  readonly ref: number
  readonly words: number
  marked: boolean
}

export class PortableSpace {
  readonly views: Views
  readonly maxBytes: number
  readonly movingStart: number
  /** Large objects by Ref. */
  readonly large = new Map<number, LargeObject>()
  /** Where the live window of the moving space begins: `movingStart` but in checked heaps. */
  windowStart: number
  /** End of what was granted in the moving space (words). */
  top: number
  usedBytes = 0
  /** Bytes handed out in all, less the unused ends of TLABs. */
  allocatedBytes = 0
  allocatedLargeObjects = 0

  readonly #memory: PortableMemory
  readonly #pointerFree: FreePages
  readonly #withPointers: FreePages
  /** Lowest word of a large object with references: the moving space ends there. */
  #largeLow: number
  /** How far each space ever reached (words). */
  #everTop: number
  #everLargeLow: number
  #everPointerFree: number
  readonly #tlabStart = new Int32Array(MAX_MUTATORS)
  readonly #tlabEnd = new Int32Array(MAX_MUTATORS)

  constructor(memory: PortableMemory, maxBytes: number) {
    const { pointerFreeStart, movingStart, end } = memory.geometry
    this.#memory = memory
    this.views = viewsOf(memory)
    this.maxBytes = maxBytes
    this.movingStart = this.windowStart = this.top = movingStart
    this.#pointerFree = new FreePages(pointerFreeStart, movingStart, false)
    this.#withPointers = new FreePages(movingStart, end, true)
    this.#largeLow = this.#everLargeLow = end
    this.#everTop = movingStart
    this.#everPointerFree = pointerFreeStart
  }

  get end(): number {
    return this.#memory.geometry.end
  }
  /** End of the addresses the moving space may grow to (words). */
  get movingLimit(): number {
    return this.#largeLow
  }

  isLarge(ref: number): boolean {
    return ref < this.movingStart || ref >= this.#largeLow
  }

  /** The limit word of a running mutator. It is 0 while that is parked or its heap is collected; then nothing is reserved. */
  openTlab(mutator: number): void {
    this.views.control[mutatorBlock(mutator) + MutatorWord.TlabLimit] = this.#tlabEnd[mutator]
  }
  closeTlab(mutator: number): void {
    this.views.control[mutatorBlock(mutator) + MutatorWord.TlabLimit] = 0
    this.endReservation(mutator)
  }

  endReservation(mutator: number): void {
    this.views.control[mutatorBlock(mutator) + MutatorWord.ReservedEnd] = 0
  }

  /** Gives the mutator's TLAB up; its unused end becomes a filler, or goes back if it is the end of the space. */
  retireTlab(mutator: number): void {
    const { control, i32 } = this.views
    const block = mutatorBlock(mutator)
    const end = this.#tlabEnd[mutator]
    if (end === 0) return
    const top = control[block + MutatorWord.TlabTop]
    this.allocatedBytes += (top - this.#tlabStart[mutator]) * 4
    if (end === this.top) {
      this.top = top
      this.usedBytes -= (end - top) * 4
    } else if (end > top) {
      i32[top + 1] = ((end - top) >> 1) << FLAG_BITS
      i32[top] = FILLER_SHAPE
    }
    this.#tlabStart[mutator] = this.#tlabEnd[mutator] = 0
    control[block + MutatorWord.TlabTop] = 0
    control[block + MutatorWord.TlabLimit] = 0
  }

  /** Bytes allocated so far, the current TLAB's included. */
  allocatedNow(mutator: number): number {
    if (mutator < 0 || this.#tlabEnd[mutator] === 0) return this.allocatedBytes
    const top = this.views.control[mutatorBlock(mutator) + MutatorWord.TlabTop]
    return this.allocatedBytes + (top - this.#tlabStart[mutator]) * 4
  }

  /** Allocates without collecting, spending at most up to `budget` bytes in all. 0: does not fit. Header written. */
  allocate(mutator: number, shapeId: number, word1: number, granules: number, budget: number): number {
    const { control, i32 } = this.views
    const topWord = mutatorBlock(mutator) + MutatorWord.TlabTop
    const bytes = granules * 8
    if (bytes >= LARGE_BYTES) return this.#allocateLarge(shapeId, word1, bytes, budget)
    let ref = this.allocateInTlab(mutator, shapeId, word1, granules)
    if (ref !== 0) {
      this.openTlab(mutator)
      return ref
    }
    if (bytes > DIRECT_BYTES) {
      ref = this.#bump(bytes, bytes, budget)
      if (ref === 0) return 0
      this.allocatedBytes += bytes
    } else {
      this.retireTlab(mutator)
      ref = this.#bump(TLAB_BYTES, bytes, budget)
      if (ref === 0) return 0
      // Up to the header no call, which a stack overflow or a vm timeout might end: a TLAB without its top would begin at null.
      this.#tlabStart[mutator] = ref
      this.#tlabEnd[mutator] = this.top
      control[topWord] = ref + granules * 2
    }
    i32[ref + 1] = word1
    i32[ref] = shapeId
    this.openTlab(mutator)
    return ref
  }

  /** Allocates in the mutator's TLAB. 0: it has none, or too little of it is left. Header written. */
  allocateInTlab(mutator: number, shapeId: number, word1: number, granules: number): number {
    const { control, i32 } = this.views
    const topWord = mutatorBlock(mutator) + MutatorWord.TlabTop
    const ref = control[topWord]
    const end = ref + granules * 2
    if (this.#tlabEnd[mutator] === 0 || end > this.#tlabEnd[mutator]) return 0
    control[topWord] = end
    i32[ref + 1] = word1
    i32[ref] = shapeId
    return ref
  }

  /** Between `least` and `wanted` bytes from the top of the moving space. 0: no room. */
  #bump(wanted: number, least: number, budget: number): number {
    const room = Math.min(budget - this.usedBytes, (this.#largeLow - this.top) * 4)
    if (room < least) return 0
    const bytes = Math.min(wanted, room - (room % 8))
    const start = this.top
    this.top += bytes / 4
    this.#everTop = Math.max(this.#everTop, this.top)
    this.usedBytes += bytes
    return start
  }

  #allocateLarge(shapeId: number, word1: number, bytes: number, budget: number): number {
    const granted = roundUp(bytes, PAGE_BYTES)
    if (this.usedBytes + granted > budget) return 0
    const { control, i32 } = this.views
    const words = granted / 4
    const low = isPointerFree(control, shapeId)
    let ref = low ? this.#takeLow(words) : this.#takeHigh(words)
    // Large budgets have more bytes than either region has addresses (memory.ts).
    if (ref < 0) ref = low ? this.#takeHigh(words) : this.#takeLow(words)
    if (ref < 0) return 0
    this.usedBytes += granted
    this.allocatedBytes += bytes
    this.allocatedLargeObjects++
    this.large.set(ref, { ref, words, marked: false })
    i32[ref + 1] = word1
    i32[ref] = shapeId
    return ref
  }

  /** Pages for a large object below the moving space; −1: no room. */
  #takeLow(words: number): number {
    const ref = this.#pointerFree.take(words, 0)
    if (ref >= 0) this.#everPointerFree = Math.max(this.#everPointerFree, ref + words)
    return ref
  }
  /** The same at the upper end of the moving space. */
  #takeHigh(words: number): number {
    const ref = this.#withPointers.take(words, roundUp(this.top, PAGE_WORDS))
    if (ref < 0) return ref
    this.#largeLow = Math.min(this.#largeLow, ref)
    this.#everLargeLow = Math.min(this.#everLargeLow, ref)
    return ref
  }

  /** Frees the large objects that were not marked, zeroes them, and unmarks the others. Returns live bytes. */
  sweepLarge(): number {
    let live = 0
    this.#largeLow = this.end
    const [low, high]: [Interval[], Interval[]] = [[], []]
    for (const object of this.large.values()) {
      const { ref, words } = object
      if (object.marked) {
        object.marked = false
        live += words * 4
        if (ref >= this.movingStart) this.#largeLow = Math.min(this.#largeLow, ref)
        continue
      }
      this.views.i32.fill(0, ref, ref + words)
      this.large.delete(ref)
      ;(ref < this.movingStart ? low : high).push({ start: ref, end: ref + words })
    }
    this.#pointerFree.give(low)
    this.#withPointers.give(high)
    return live
  }

  /** After a collection: the moving space's live window is [start, top), everything else in it zero. */
  setWindow(start: number, top: number, usedBytes: number): void {
    this.windowStart = start
    this.top = top
    this.usedBytes = usedBytes
  }

  /** What must read as zeros (verification): free memory that was ever in use; the rest was never touched. */
  freeRanges(mutators: number): Interval[] {
    const ranges = [{ start: this.top, end: Math.min(this.#everTop, this.#largeLow) }]
    ranges.push({ start: this.movingStart, end: this.windowStart })
    for (const { start, end } of this.#pointerFree.intervals()) {
      ranges.push({ start, end: Math.min(end, this.#everPointerFree) })
    }
    for (const { start, end } of this.#withPointers.intervals()) {
      ranges.push({ start: Math.max(start, this.#everLargeLow, this.top), end })
    }
    for (let i = 0; i < mutators; i++) {
      if (this.#tlabEnd[i] === 0) continue
      ranges.push({ start: this.views.control[mutatorBlock(i) + MutatorWord.TlabTop], end: this.#tlabEnd[i] })
    }
    return ranges.filter(({ start, end }) => start < end)
  }
}
