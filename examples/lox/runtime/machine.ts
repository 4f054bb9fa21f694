// The memory that a Lox program runs in: the heap, the value stack, and the cells that live as long as the program.
//
// Who keeps what alive: everything that a running function can still use lies in the *stack*, a root area of NaN-boxed
// values; globals and string constants lie in *cells*, slots of root tables; the rest hangs off these. Nothing here is
// a JavaScript reference to a Lox object, so nothing needs telling when the collector moves one.
//
// A slot is named by its index in `slots` (the root region as doubles); `words[2 * slot]` is its payload and
// `words[2 * slot + 1]` its tag. A frame of a Lox function is a run of stack slots starting at `sp`:
//
//   sp      the callee, or `this` in a method; on return the result
//   sp + 1  the arguments, then the closure of a method that needs it, then locals and temporaries
//
// Any function that may allocate is a safepoint. It must publish the stack's top first; what lies below is live.

import {
  HeapError,
  layout,
  Tag,
  type ArrayShape,
  type Heap,
  type Mutator,
  type Ref,
  type RootStack,
  type RootTable,
  type Shape,
} from 'glissade'
import type { CodeMap } from './code-map.js'
import { LoxError } from './errors.js'
import type { Output } from './output.js'

/**
 * Slots of the value stack. The generator makes frames at least as long in slots as their JavaScript frames are in units
 * of STACK_BYTES_PER_SLOT bytes, so that this stack overflows well before V8's, which holds about 984 KB.
 */
const STACK_SLOTS = 14 * 1024
export const STACK_BYTES_PER_SLOT = 56

/** The first table of cells, and what more memory is asked for where there is none for as many as there are already. */
const CELLS_PER_TABLE = 1024

export const { CARD_SHIFT, FLAG_BITS } = layout
/** From the index of a value in `f64` or `slots` to its card. */
export const VALUE_CARD_SHIFT = CARD_SHIFT - 1

let machines = 0

export class Machine {
  /** Part of generated text: V8 shares the code of equal texts, and then no longer knows which heap it is for. */
  readonly id = ++machines
  readonly heap: Heap
  readonly m: Mutator
  readonly output: Output
  /** Generated texts by script name, for stack traces. */
  readonly codeMaps = new Map<string, CodeMap>()

  readonly slots: Float64Array
  readonly words: Int32Array
  readonly stack: RootStack<'value'>
  /** First slot of the stack. */
  readonly base: number
  readonly topIndex: number
  readonly limitIndex: number

  /** Cells with the values that have no better way to be copied into a slot in one move. */
  readonly nil: number
  readonly true: number
  readonly false: number

  readonly #onCollection: (() => void) | null
  #seenCycles: number
  #freeCells = 0
  #cells = 0
  #nextCell = 0
  #cellTop = -1

  /** To be made inside `run`. */
  constructor(heap: Heap, m: Mutator, output: Output, onCollection: (() => void) | null = null) {
    this.heap = heap
    this.m = m
    this.output = output
    this.#onCollection = onCollection
    this.#seenCycles = m.control[layout.Word.Cycles]
    this.slots = m.rootsF64
    this.words = m.rootsI32
    this.stack = m.roots.stack('value', STACK_SLOTS, { name: 'stack' })
    this.base = this.stack.base
    this.topIndex = this.stack.topIndex
    this.limitIndex = this.stack.limitIndex
    this.nil = this.newTaggedCell(Tag.Nil, 0)
    this.true = this.newTaggedCell(Tag.Boolean, 1)
    this.false = this.newTaggedCell(Tag.Boolean, 0)
  }

  /** The allocator of a shape; one that reports collections if anybody wants to know of them. */
  allocator<S>(shape: Shape<S>): () => Ref {
    return this.#observed(this.m.allocator(shape))
  }
  arrayAllocator(shape: ArrayShape): (length: number) => Ref {
    return this.#observed(this.m.arrayAllocator(shape))
  }
  #observed<A extends unknown[]>(allocate: (...args: A) => Ref): (...args: A) => Ref {
    if (!this.#onCollection) return allocate
    const { control } = this.m
    return (...args) => {
      if (control[layout.Word.Cycles] !== this.#seenCycles) this.reportCollections()
      return allocate(...args)
    }
  }
  /** To be called before an allocation, not after it: the new object is in no slot yet. A safepoint. */
  reportCollections(): void {
    const cycles = this.m.control[layout.Word.Cycles]
    if (!this.#onCollection || cycles === this.#seenCycles) return
    this.#seenCycles = cycles
    this.m.parked(this.#onCollection)
  }

  /** Says that slots below `top` are live. To be done before anything that can be a safepoint. */
  publish(top: number): void {
    this.m.control[this.topIndex] = top - this.base
  }

  /** A slot that is a root for good: zero, and not part of any frame. */
  newCell(): number {
    if (this.#freeCells === 0) {
      const table = this.#newTable(Math.max(CELLS_PER_TABLE, this.#cells))
      this.#freeCells = table.capacity
      this.#cells += table.capacity
      this.#nextCell = table.base
      this.#cellTop = table.topIndex
    }
    this.#freeCells--
    this.m.control[this.#cellTop]++
    return this.#nextCell++
  }
  /** Tables double, because a heap has 256 root areas and no more. A safepoint. */
  #newTable(slots: number): RootTable<'value'> {
    try {
      return this.m.roots.table('value', slots, { name: 'globals and constants' })
    } catch (error) {
      const isFull = error instanceof HeapError && error.code === 'ERR_ROOTS_EXHAUSTED'
      if (!isFull || slots === CELLS_PER_TABLE) throw error
      return this.#newTable(Math.max(CELLS_PER_TABLE, slots >> 1))
    }
  }
  newTaggedCell(tag: number, payload: number): number {
    const cell = this.newCell()
    this.words[2 * cell + 1] = tag
    this.words[2 * cell] = payload
    return cell
  }

  /** Stores a reference into a cell, which is in a root table: the card tells the collector. */
  setCellRef(cell: number, ref: number): void {
    this.words[2 * cell] = ref
    this.words[2 * cell + 1] = Tag.Ref
    this.m.rootCards[cell >>> VALUE_CARD_SHIFT] = 1
  }
  /** Stores a reference into a stack slot: no barrier. */
  setSlotRef(slot: number, ref: number): void {
    this.words[2 * slot] = ref
    this.words[2 * slot + 1] = Tag.Ref
  }

  error(message: string): LoxError {
    return new LoxError(message, this.codeMaps)
  }

  /** The slow path of the compare at a function's entry and in loops: a poll, or the end of the stack. */
  readonly enter = (top: number): void => {
    if (this.stack.overflowOrPoll(top - this.base)) throw this.error('Stack overflow.')
  }
}
