// Root areas as the mutator holds them: stacks for an interpreter, tables for everything that lives longer.
//
// Invariant 7: at a safepoint every live reference is in a published root slot, a handle, or the heap. For an area that means:
// it lies in `[0, top)`, and `top` is published. Stores into a stack need no barrier (remark compares it with
// a copy); every store into a table also stores its root card. A collection zeroes stacks above `top`, so what lies there is
// never older than the last one: `top` may be raised over slots of a frame that are not written yet. Above `top` a table is zero.
// A stack belongs to the thread that made it, a table to the heap: any thread may open it by its index, and free it.
// `get` and `set`, which check, are for inside run only; storing a `top` enters run by itself.

import type { HeapCore } from './heap-core.js'
import { HeapError, show } from './errors.js'
import { tag } from './inspect.js'
import { AreaKind, AreaWord, CARD_SHIFT, MAX_AREAS, MutatorWord, Tag, mutatorBlock, areaBlock } from './layout.js'
import { probeForArea } from './stack-probe.js'
import { encode, encoded, readValue, writeEncoded, type RawValue, type Ref } from './values.js'

/** What the slots of a root area are: 32-bit references, or 64-bit NaN-boxed values. */
export type RootKind = 'ref' | 'value'
/** What `get` and `set` of an area trade in. In a value area a reference is `new Tagged(Tag.Ref, ref)`. */
export type RootContent<K extends RootKind> = K extends 'ref' ? Ref | 0 : RawValue

/** Of a new root area, or guardian. */
export interface RootOptions {
  /** What it is called where somebody asks who keeps an object alive: in paths, snapshots, violations. */
  readonly name?: string | undefined
}

abstract class RootArea<K extends RootKind> implements Disposable {
  readonly kind: K
  /** Index of slot 0 in its view: `m.rootsI32` for refs, `m.rootsF64` for values. */
  readonly base: number
  /** Slots. */
  readonly capacity: number
  /** Index of the `top` word in `m.control`, for generated code. */
  readonly topIndex: number
  /** Index of the area in the control words: what another thread opens a table by (`m.roots.tableAt`). */
  readonly index: number
  readonly #core: HeapCore
  /** How many had been freed at this index before it was made. */
  readonly #frees: number
  readonly #freesIndex: number

  /** `frees`: as `area` was found or made. */
  constructor(core: HeapCore, kind: K, area: number, frees: number) {
    const control = core.views.control
    const block = areaBlock(area)
    this.#core = core
    this.#frees = frees
    this.#freesIndex = block + AreaWord.Frees
    this.kind = kind
    this.index = area
    this.base = kind === 'ref' ? control[block + AreaWord.Start] : control[block + AreaWord.Start] / 2
    this.capacity = control[block + AreaWord.Capacity]
    this.topIndex = block + AreaWord.Top
  }

  protected get core(): HeapCore {
    return this.#core
  }

  /** Number of live slots: `[0, top)` is what a collection sees. */
  get top(): number {
    return this.core.views.control[this.topIndex]
  }
  set top(slots: number) {
    this.checkTop(slots)
    const { core } = this
    const { control } = core.views
    if (core.running) control[this.topIndex] = slots
    // Not beside a remark pause, which looks at a stack's top once: it would clear what a higher one uncovers.
    else core.inRun(() => (control[this.topIndex] = slots))
  }
  protected checkTop(slots: number): void {
    this.checkUsable()
    if (!Number.isInteger(slots) || slots < 0 || slots > this.capacity) {
      throw new HeapError(
        'ERR_BOUNDS',
        `top of a root area lies between 0 and its capacity ${this.capacity}; got ${show(slots)}`,
      )
    }
  }

  /** The content of slot `index`, decoded. */
  get(index: number): RootContent<K> {
    this.checkSlot(index)
    const { rootsI32, rootsF64 } = this.core.views
    if (this.kind === 'ref') return rootsI32[this.base + index] as RootContent<K>
    return readValue(rootsI32, rootsF64, this.base + index) as RootContent<K>
  }

  /** Of a table: with the card, and `top` above the slot. */
  protected store(index: number, content: RootContent<K>, cards: Uint8Array | null): void {
    const { i32, control, rootsI32, rootsF64 } = this.core.views
    const isRef = this.kind === 'ref'
    let tag = 0
    let payload = content as number
    if (!isRef) {
      encode(content as RawValue)
      tag = encoded.tag
      payload = encoded.payload
    }
    this.checkSlot(index)
    if (isRef || tag === Tag.Ref) this.#checkRef(payload, i32.length)
    // First: above the top a table is zero, so that a slot may lie below it before it is written.
    if (cards !== null && control[this.topIndex] <= index) control[this.topIndex] = index + 1
    const slot = this.base + index
    // Between a store and its card nothing is called: a vm timeout may come with every call.
    if (!isRef) writeEncoded(rootsI32, rootsF64, cards, 2 * slot, tag, payload)
    else {
      rootsI32[slot] = payload
      if (cards !== null) cards[slot >>> CARD_SHIFT] = 1
    }
  }
  /** A collection follows what a root slot holds, wherever it leads. */
  #checkRef(ref: unknown, end: number): void {
    if (typeof ref !== 'number' || !Number.isInteger(ref) || ref < 0 || ref >= end || (ref & 1) !== 0) {
      throw new HeapError(
        'ERR_BAD_REF',
        `a slot of a ${this.kind} area takes a Ref (even, inside the heap) or ${this.kind === 'ref' ? '0 for null' : 'a value without one'}; got ${show(ref)}`,
      )
    }
    this.core.checkRef(ref as Ref | 0, 'a root slot')
  }

  /** Gives the area back; its slots are roots no longer. Twice is once, and once the heap was closed there is nothing to give. */
  free(): void {
    if (!this.core.closed) this.core.freeAreaOnce(this.index, this.#frees)
  }
  [Symbol.dispose](): void {
    this.free()
  }

  protected checkUsable(): void {
    this.core.checkOpen()
    if (this.core.views.control[this.#freesIndex] === this.#frees) return
    throw new HeapError('ERR_BOUNDS', 'this root area was freed: make another')
  }
  protected checkSlot(index: number): void {
    this.core.checkRunning('a root area')
    this.checkUsable()
    if (!Number.isInteger(index) || index < 0 || index >= this.capacity) {
      throw new HeapError(
        'ERR_BOUNDS',
        `this root area has no slot ${show(index)}: its slots are 0 to ${this.capacity - 1}; ask for as many as are needed where it is made`,
      )
    }
  }
}

tag(RootArea)

/** The owner of what belongs to no thread. */
const HEAP = -1
const stackKind = (kind: RootKind): number => (kind === 'ref' ? AreaKind.RefStack : AreaKind.ValueStack)
const tableKind = (kind: RootKind): number => (kind === 'ref' ? AreaKind.RefTable : AreaKind.ValueTable)

function makeArea(core: HeapCore, areaKind: number, slots: number, owner: number, name: string | null): number {
  if (typeof slots !== 'number' || !Number.isInteger(slots) || slots <= 0) {
    throw new HeapError('ERR_BOUNDS', `a root area has a positive whole number of slots; got ${show(slots)}`)
  }
  core.checkOpen()
  probeForArea()
  // The border takes 32 bits: more slots than the region has bytes are none of its business.
  const area = slots > core.options.maxRootBytes ? -1 : core.createArea(areaKind, slots, owner, true, name)
  try {
    if (core.running) core.checked?.sync()
  } catch (error) {
    if (area >= 0) core.freeArea(area)
    throw error
  }
  if (area < 0) throw core.rootsExhausted(`a root area of ${slots} slots`)
  return area
}

/** A root area without barrier for operand stacks and locals. The mutator publishes `top` before each safepoint. */
export class RootStack<K extends RootKind = RootKind> extends RootArea<K> {
  readonly #block: number
  readonly #mutator: number
  #limitIndex = -1

  constructor(core: HeapCore, kind: K, slots: number, mutator: number, name: string | null) {
    const area = makeArea(core, stackKind(kind), slots, mutator, name)
    super(core, kind, area, core.areaFrees(area))
    this.#mutator = mutator
    this.#block = mutatorBlock(mutator)
  }

  /**
   * Index in `m.control` of the stack-limit word: `if (sp > control[limitIndex]) slow(sp)` is overflow check and poll in
   * one compare (`sp` in slots). There is one such word per mutator: the first stack asked for it owns it until freed.
   */
  get limitIndex(): number {
    if (this.#limitIndex >= 0) return this.#limitIndex
    this.checkUsable()
    const { control } = this.core.views
    const owner = control[this.#block + MutatorWord.StackLimitArea]
    if (owner !== -1) {
      throw new HeapError(
        'ERR_STACK_LIMIT_TAKEN',
        `the stack limit of mutator ${this.#mutator} belongs to root area ${owner}: one stack per mutator can have it; free that stack first`,
      )
    }
    control[this.#block + MutatorWord.StackLimitRestore] = this.core.alwaysPoll ? -1 : this.capacity
    control[this.#block + MutatorWord.StackLimitArea] = this.index
    // A stop may be requested just now. The requester stores the poll word and then -1 here: either its -1 comes after ours
    // and stays, or the exchange reads it (and acquires what stood before it), and we see the poll word and repeat it. Who
    // resumes this thread waits for it to stop first, and then puts back what `Restore` says. (Outside run it does not wait:
    // then this word may be too low, and the thread polls too often, until the next stop.)
    Atomics.exchange(control, this.#block + MutatorWord.StackLimit, this.capacity)
    const asked = Atomics.load(control, this.#block + MutatorWord.Poll) !== 0
    if (asked || this.core.alwaysPoll) control[this.#block + MutatorWord.StackLimit] = -1
    this.#limitIndex = this.#block + MutatorWord.StackLimit
    return this.#limitIndex
  }

  /** Stores without a barrier. Does not move `top`. */
  set(index: number, content: RootContent<K>): void {
    this.store(index, content, null)
  }

  /**
   * The slow path of the compare with the limit word: publishes `sp` as top and polls (a safepoint). True if `sp` really
   * exceeds the capacity; then `top` is the capacity.
   */
  overflowOrPoll(sp: number): boolean {
    this.top = typeof sp === 'number' ? Math.min(sp, this.capacity) : sp
    this.core.poll()
    return sp > this.capacity
  }

  override free(): void {
    super.free()
    if (this.#limitIndex < 0 || this.core.closed) return
    const { control } = this.core.views
    control[this.#block + MutatorWord.StackLimitArea] = -1
    control[this.#block + MutatorWord.StackLimit] = 0
    control[this.#block + MutatorWord.StackLimitRestore] = 0
    this.#limitIndex = -1
  }
}

/** A root area whose every store marks a card: globals, constants, handle tables. Free slots are 0. */
export class RootTable<K extends RootKind = RootKind> extends RootArea<K> {
  override get top(): number {
    return super.top
  }
  /** Lowering it clears the slots that it lets go: above `top` a table is zero. */
  override set top(slots: number) {
    this.checkTop(slots)
    const { control, rootsI32, rootCards } = this.core.views
    const before = control[this.topIndex]
    if (slots >= before) {
      control[this.topIndex] = slots
      return
    }
    const begin = this.#word(slots)
    const end = this.#word(before)
    this.core.inRun(() => {
      rootsI32.fill(0, begin, end)
      rootCards.fill(1, begin >>> CARD_SHIFT, ((end - 1) >>> CARD_SHIFT) + 1)
      // Last: where the stack ends before, nothing has happened to what lies above the top.
      control[this.topIndex] = slots
    })
  }

  /** Stores with the root card, and raises `top` over the slot. */
  set(index: number, content: RootContent<K>): void {
    this.store(index, content, this.core.views.rootCards)
  }
  #word(index: number): number {
    return this.kind === 'ref' ? this.base + index : 2 * (this.base + index)
  }
}

/** `m.roots`: makes root areas of this thread's mutator. */
export class Roots {
  readonly #core: HeapCore
  readonly #mutator: number
  constructor(core: HeapCore, mutator: number) {
    this.#core = core
    this.#mutator = mutator
  }
  /**
   * A stack of `slots` slots; its memory is whole pages. Inside run a safepoint: areas that were freed during a collection
   * come back at its end, and this may wait for it. Throws ERR_ROOTS_EXHAUSTED.
   */
  stack<K extends RootKind>(kind: K, slots: number, options?: RootOptions): RootStack<K> {
    checkRootKind(kind)
    return new RootStack(this.#core, kind, slots, this.#mutator, nameIn(options))
  }
  /** A table of `slots` slots; its memory is whole pages. A safepoint, as `stack` is. Throws ERR_ROOTS_EXHAUSTED. */
  table<K extends RootKind>(kind: K, slots: number, options?: RootOptions): RootTable<K> {
    checkRootKind(kind)
    const area = makeArea(this.#core, tableKind(kind), slots, HEAP, nameIn(options))
    return new RootTable(this.#core, kind, area, this.#core.areaFrees(area))
  }
  /**
   * The table of that kind with that `index`, whichever thread made it, and whether that one is still there: to use it with
   * every check, or to free it. No safepoint. Throws ERR_BOUNDS where there is no such table.
   */
  tableAt<K extends RootKind>(kind: K, index: number): RootTable<K> {
    checkRootKind(kind)
    const core = this.#core
    core.checkOpen()
    if (Number.isInteger(index) && index >= 0 && index < MAX_AREAS) {
      const { control } = core.views
      // Before what it says of the words behind it: of an area that is freed meanwhile the table is, too.
      const frees = core.areaFrees(index)
      const has = Atomics.load(control, areaBlock(index) + AreaWord.Kind)
      const owner = control[areaBlock(index) + AreaWord.Owner]
      if (has === tableKind(kind) && owner === HEAP && (frees & 1) === 0) return new RootTable(core, kind, index, frees)
    }
    throw new HeapError(
      'ERR_BOUNDS',
      `no table of kind '${kind}' is at ${show(index)}: give the index of one that m.roots.table made and nobody has freed`,
    )
  }
}

/** The name in the options of `what`; null: it has none. */
export function nameIn(options: unknown = {}, what = 'a root area'): string | null {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw new HeapError('ERR_OPTION', `options of ${what} are an object like { name: 'globals' }; got ${show(options)}`)
  }
  const unknown = Object.keys(options).find((option) => option !== 'name')
  if (unknown !== undefined) {
    throw new HeapError('ERR_OPTION', `${what} has no option '${unknown}'; the only one is 'name'`)
  }
  const { name = null } = options as { name?: unknown }
  if (name === null || (typeof name === 'string' && name !== '')) return name
  throw new HeapError('ERR_OPTION', `the name of ${what} is a string that is not empty; got ${show(name)}`)
}

function checkRootKind(kind: unknown): void {
  if (kind === 'ref' || kind === 'value') return
  throw new HeapError('ERR_BAD_VALUE', `a root area is of kind 'ref' or 'value'; got ${show(kind)}`)
}
