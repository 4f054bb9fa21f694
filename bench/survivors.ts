// Heaps to compact: objects in allocation order, of which a share survives, picked at random.
//
// The same seed gives the same heap, so that what compacts it in another way does the same work. Survivors are held by one
// table, itself a large object full of references, and refer to survivors only: the share that lives is exact. For another
// collection everything is dropped and filled again. To replace a part of the objects instead would change the heap's
// shape from collection to collection: what lived through the last one lies close together, and slides as a whole.

import type { Heap, RootStack } from 'glissade'

export const CONTENTS = ['no references', 'sparse references', 'dense references'] as const
export type Content = (typeof CONTENTS)[number]

export interface SurvivorOptions {
  /** Bytes of an object, header included. */
  readonly bytes: number
  readonly content: Content
  /** Per cent of the objects that survive. */
  readonly live: number
  /** Bytes of all objects. */
  readonly total: number
}

/** A program of one thread that fills a heap with objects of which a share lives, as often as it is asked to. */
export class Survivors {
  readonly #heap: Heap
  readonly #live: number
  readonly #holds: boolean
  readonly #slots: number
  readonly #every: number
  readonly #count: number
  readonly #kept: number
  readonly #numbers
  readonly #refs
  #stack: RootStack<'ref'> | undefined
  #random = 0

  constructor(heap: Heap, { bytes, content, live, total }: SurvivorOptions) {
    this.#heap = heap
    this.#live = live
    this.#refs = heap.defineArray('Refs', 'ref')
    this.#numbers = heap.defineArray('Numbers', 'i32')
    this.#holds = content !== 'no references'
    this.#slots = (bytes - 8) / 4
    // Sparse: one reference in eight slots, the others null.
    this.#every = content === 'dense references' ? 1 : 8
    this.#count = Math.floor(total / bytes)
    this.#kept = Math.floor((this.#count * live) / 100)
  }
  /** Pages of the table of survivors. */
  get tablePages(): number {
    return Math.ceil((this.#kept * 4 + 8) / 4096)
  }

  #next(below: number): number {
    // xorshift32: every bit is as good as any.
    this.#random ^= this.#random << 13
    this.#random ^= this.#random >>> 17
    this.#random ^= this.#random << 5
    return (this.#random >>> 0) % below
  }

  /** Fills an empty heap. Survivors are spread evenly over what dies. */
  fill(): void {
    this.#random = 7
    this.#heap.run((m) => {
      const { i32, rootsI32, cards } = m
      this.#stack ??= m.roots.stack('ref', 16)
      this.#stack.top = 1
      const { base } = this.#stack
      const kept = this.#kept
      rootsI32[base] = m.allocArray(this.#refs, kept)
      const allocate = m.arrayAllocator(this.#holds ? this.#refs : this.#numbers)
      const at = this.#refs.elementsAt
      const slots = this.#slots
      const every = this.#every
      let survivors = 0
      for (let i = 0; i < this.#count; i++) {
        const object = allocate(slots)
        const table = rootsI32[base] + at
        if (!this.#holds) {
          for (let s = 0; s < slots; s += 4) i32[object + at + s] = s
        } else if (survivors > 1) {
          for (let s = 0; s < slots; s += every) i32[object + at + s] = i32[table + this.#next(survivors)]
          for (let s = 0; s < slots; s += 256) cards[(object + at + s) >>> 8] = 1
          cards[(object + at + slots - 1) >>> 8] = 1
        }
        if (this.#next(100) < this.#live && survivors < kept) {
          const slot = table + survivors++
          i32[slot] = object
          cards[slot >>> 8] = 1
        }
      }
    })
  }

  /** Lets everything die, and be collected. */
  drop(): void {
    this.#heap.run(({ rootsI32 }) => {
      if (this.#stack !== undefined) rootsI32[this.#stack.base] = 0
    })
    this.#heap.collectSync()
  }
}
