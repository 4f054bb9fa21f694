// A thread's access to the heap: what `run` hands to its callback.
//
// The raw tier is views, generated allocators and generated stores; nothing on those paths is checked (except in checked
// heaps, which get other objects in the same places: checked.ts). Everything slow is: each call here that is not one
// load or store first makes sure that the heap is open and this thread is inside run.

import {
  generateAllocator,
  generateArrayAllocator,
  generateReserve,
  type Allocation,
  type ArrayAllocator,
  type FixedAllocator,
} from './allocation.js'
import { generateBarriers, type Barriers } from './barriers.js'
import type { AllocatorEnvironment } from './environment.js'
import type { CheckedState } from './checked.js'
import { copyElements } from './elements.js'
import { HeapError, show } from './errors.js'
import { ScopeStack, type Scope } from './scopes.js'
import type { HeapCore, HeapThread } from './heap-core.js'
import { identityHash } from './identity.js'
import { hide, tag } from './inspect.js'
import { FLAG_BITS, MutatorWord, mutatorBlock } from './layout.js'
import { Roots } from './roots.js'
import { setShape } from './objects.js'
import { ArrayShape, Shape, showShape, type AnyShape, type SlotTable } from './shapes.js'
import { checkSynchronous } from './synchronous.js'
import { createSlowPath } from './slow-path.js'
import { copyIn, copyOut, newString, readString } from './transfer.js'
import { readValue, type RawValue, type Ref } from './values.js'

/**
 * The raw tier and the door to handles. A thread has one for each heap, the same in every run: it, its views, allocators and root areas
 * may be kept until `heap.close()`. Heap memory may be touched through them inside run only.
 */
export class Mutator implements Allocation, HeapThread {
  // Hidden: a test report that shows a mutator is not to walk them.
  /** The heap as 32-bit words: field k of an object is `i32[ref + k]`. */
  declare readonly i32: Int32Array
  declare readonly u32: Uint32Array
  /** The heap as doubles and NaN-boxed values: `f64[(ref >>> 1) + at]`. */
  declare readonly f64: Float64Array
  declare readonly u16: Uint16Array
  declare readonly u8: Uint8Array
  /** After a reference store into slot word `s`: `cards[s >>> 8] = 1`. */
  declare readonly cards: Uint8Array
  /** The root region as 32-bit words. */
  declare readonly rootsI32: Int32Array
  /** The root region as values. */
  declare readonly rootsF64: Float64Array
  declare readonly rootCards: Uint8Array
  /** The control words (ARCHITECTURE.md). */
  declare readonly control: Int32Array
  /** Makes root areas. */
  readonly roots: Roots
  /** Index of this mutator's block. */
  readonly index: number
  /** Index in `control` of the poll word: nonzero asks for a poll. */
  readonly pollIndex: number

  // The stores of the raw tier: own properties, so that a call site sees one target per heap. See Barriers.
  readonly setRef: Barriers['setRef']
  readonly setElementRef: Barriers['setElementRef']
  readonly setValueRef: Barriers['setValueRef']
  readonly setValueNumber: Barriers['setValueNumber']
  readonly setValueInt: Barriers['setValueInt']
  readonly setValueBool: Barriers['setValueBool']
  readonly setValueNil: Barriers['setValueNil']
  readonly setValueUndefined: Barriers['setValueUndefined']
  readonly setValueTagged: Barriers['setValueTagged']
  readonly copyValue: Barriers['copyValue']
  readonly copyRootValue: Barriers['copyRootValue']

  /**
   * Makes room for objects of `bytes` (0 to 8192) in all: until they are made, allocations are no safepoints, so raw Refs of the
   * new objects stay valid between them. A safepoint itself; ends with the next other one (a poll, `parked`, an allocation that
   * does not fit, another reservation). An object takes `8 * shape.granules` bytes, an array 8 and its elements, rounded up to 8.
   * Throws ERR_HEAP_EXHAUSTED.
   */
  readonly reserve: (bytes: number) => void

  readonly #core: HeapCore
  readonly #environment: AllocatorEnvironment
  readonly #scopes: ScopeStack
  readonly #fixed: ({ shape: unknown; allocate: FixedAllocator } | undefined)[] = []
  readonly #arrays: ({ shape: unknown; allocate: ArrayAllocator } | undefined)[] = []

  /** Made by the heap when a thread first runs. */
  constructor(core: HeapCore, index: number, checked: CheckedState | null) {
    const views = checked === null ? core.views : checked.views
    this.#core = core
    this.index = index
    this.pollIndex = mutatorBlock(index) + MutatorWord.Poll
    const { i32, u32, f64, u16, u8, cards, rootsI32, rootsF64, rootCards, control } = views
    hide(this, { i32, u32, f64, u16, u8, cards, rootsI32, rootsF64, rootCards, control })
    this.roots = new Roots(core, index)
    this.#scopes = new ScopeStack(core, this)
    this.#environment = {
      heapId: core.id,
      mutator: index,
      control: core.views.control,
      i32: core.views.i32,
      ...createSlowPath(core, index, this.#scopes.pool, checked),
    }
    this.reserve = generateReserve(this.#environment)
    const barriers = checked === null ? generateBarriers(core.id, core.views) : checked.barriers
    this.setRef = barriers.setRef
    this.setElementRef = barriers.setElementRef
    this.setValueRef = barriers.setValueRef
    this.setValueNumber = barriers.setValueNumber
    this.setValueInt = barriers.setValueInt
    this.setValueBool = barriers.setValueBool
    this.setValueNil = barriers.setValueNil
    this.setValueUndefined = barriers.setValueUndefined
    this.setValueTagged = barriers.setValueTagged
    this.copyValue = barriers.copyValue
    this.copyRootValue = barriers.copyRootValue
  }

  // ---- allocation

  /** A new object, zeroed. A safepoint: every raw Ref held before it is dead. Throws ERR_HEAP_EXHAUSTED. */
  alloc<S>(shape: Shape<S>): Ref {
    const known = this.#fixed[shape?.id]
    if (known !== undefined && known.shape === shape) return known.allocate()
    return this.allocator(shape)()
  }
  /** A new array, zeroed. A safepoint. `length` is in elements. */
  allocArray(shape: ArrayShape, length: number): Ref {
    const known = this.#arrays[shape?.id]
    if (known !== undefined && known.shape === shape) return known.allocate(length)
    return this.arrayAllocator(shape)(length)
  }
  /**
   * The allocator of one shape, which the JIT can inline. For inside run, until `heap.close()`: as the views it checks
   * neither, and later it may allocate from what another thread was granted.
   */
  allocator<S>(shape: Shape<S>): FixedAllocator {
    this.#core.checkOpen()
    this.#checkShape(shape, Shape)
    const known = this.#fixed[shape.id]
    if (known !== undefined) return known.allocate
    const allocate = generateAllocator(this.#environment, shape as unknown as Shape<SlotTable>)
    this.#fixed[shape.id] = { shape, allocate }
    return allocate
  }
  /** The allocator of one array shape, with the same rule. */
  arrayAllocator(shape: ArrayShape): ArrayAllocator {
    this.#core.checkOpen()
    this.#checkShape(shape, ArrayShape)
    const known = this.#arrays[shape.id]
    if (known !== undefined) return known.allocate
    const allocate = generateArrayAllocator(this.#environment, shape)
    this.#arrays[shape.id] = { shape, allocate }
    return allocate
  }

  #checkShape(shape: unknown, type: typeof Shape | typeof ArrayShape): void {
    if (shape instanceof type && this.#core.shapes.byId(shape.id) === (shape as unknown as AnyShape)) return
    const wanted = type === Shape ? 'heap.defineShape' : 'heap.defineArray'
    throw new HeapError(
      'ERR_WRONG_SHAPE',
      `this takes a shape that ${wanted} of this heap returned; got ${showShape(shape)}`,
    )
  }

  // ---- reading

  /** Shape id of an object. */
  shapeOf(ref: Ref): number {
    return this.i32[ref]
  }
  /** Length of an array, in elements. */
  lengthOf(array: Ref): number {
    return this.i32[array + 1] >>> FLAG_BITS
  }
  /** Reads a `ref` slot. */
  getRef(object: Ref, at: number): Ref {
    return this.i32[object + at] as Ref
  }
  /** Decodes a `value` slot (a reference as Tagged): for tests and debuggers, slow. */
  getValue(object: Ref, at: number): RawValue {
    this.#core.checkRunning('getValue')
    this.#core.checkRef(object, 'getValue')
    const { i32, f64 } = this.#core.views
    const index = Number.isInteger(object) && Number.isInteger(at) ? (object >>> 1) + at : -1
    if (index >= 0 && index < f64.length) return readValue(i32, f64, index)
    throw new HeapError(
      'ERR_BOUNDS',
      `getValue: no slot of the heap lies at ${show(at)} of ${show(object)}: give an object's Ref and shape.at.NAME`,
    )
  }
  /** A number that stays with the object wherever it moves, 1 to 2³⁰ − 1; two may have the same one. Fixed shapes only. */
  identityHash(object: Ref): number {
    return identityHash(this.#core, object)
  }

  /**
   * Makes the object one of `shape`, which has the same length and its references in the same places (an interpreter's
   * hidden layouts). Handles made before keep the old properties.
   */
  setShape<S>(object: Ref, shape: Shape<S>): void {
    setShape(this.#core, object, shape as unknown as Shape<SlotTable>)
  }

  /**
   * Copies `count` elements of `source`, from index `from` on, to those of `target` from index `at` on, write barrier included. Both
   * are arrays of one kind; they may be one array, and the ranges may overlap. No safepoint: 100 000 references take about
   * 0.1 ms, for which a stop has to wait. Throws ERR_WRONG_SHAPE, and ERR_BOUNDS for what is not in the arrays; then nothing is copied.
   */
  copyElements(target: Ref, at: number, source: Ref, from: number, count: number): void {
    copyElements(this.#core, target, at, source, from, count)
  }

  // ---- safepoints

  /** One plain load: whether a poll is asked for. */
  mustPoll(): boolean {
    return this.control[this.pollIndex] !== 0
  }
  /** A safepoint: the slow path of a poll. */
  poll(): void {
    this.#core.poll()
  }
  /** Calls `fn` (something that blocks) while the collector need not wait for this thread. A safepoint. */
  parked<T>(fn: () => T): T {
    this.#core.checkRunning('parked')
    checkSynchronous(fn, 'm.parked')
    return this.#core.runParked(fn)
  }

  // ---- handles

  /** Opens a scope: `using scope = m.scope()`. It ends with `dispose`, or with the `run` it was opened in. */
  scope(): Scope {
    this.#core.checkRunning('scope')
    return this.#scopes.open()
  }
  /** Calls `fn` with a scope that ends when it returns or throws. */
  scoped<T>(fn: (scope: Scope) => T): T {
    checkSynchronous(fn, 'm.scoped')
    const scope = this.scope()
    try {
      return fn(scope)
    } finally {
      scope.dispose()
    }
  }
  /** For the heap: this thread leaves it. Allocators that the program holds are its own. */
  leave(): void {
    // Its text tests the words of the mutator's block, which may be another's by now.
    ;(this as { reserve: Mutator['reserve'] }).reserve = () => this.#core.checkRunning('m.reserve')
    this.#fixed.length = 0
    this.#arrays.length = 0
    this.#scopes.leave()
  }
  /** For the heap: the scopes of this thread. */
  get scopes(): ScopeStack {
    return this.#scopes
  }

  // ---- bytes and text

  /**
   * Copies an object's payload out of the heap: into a new array, or to the start of `target`, which holds all of it.
   * Returns the filled part, a view of `target` if there is one. Heap memory itself must never reach a system call.
   */
  copyOut(ref: Ref, target?: Uint8Array): Uint8Array {
    return copyOut(this.#core, ref, target)
  }
  /** Copies bytes into an object without references, from its first payload byte; those behind them stay as they are. */
  copyIn(ref: Ref, source: Uint8Array): void {
    copyIn(this.#core, ref, source)
  }
  /** A new array of `u8` (UTF-8) or `u16` (UTF-16 code units) with the text. A safepoint. */
  newString(shape: ArrayShape<'u8'> | ArrayShape<'u16'>, text: string): Ref {
    return newString(this.#core, this, shape, text)
  }
  /** The text of an array of `u8` or `u16`. */
  readString(ref: Ref): string {
    return readString(this.#core, ref)
  }
}

tag(Mutator)
