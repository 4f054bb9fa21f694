// Who keeps handles alive: scopes (a stack of slots), globals and weak references (slots from a pool).
//
// Scope slots and globals are table root areas: `top` is a high-water mark, free slots are 0, every store marks its root
// card. Scopes nest: ending one ends those opened after it. The innermost scope takes slots by bumping a cursor; an outer
// one that makes a handle while an inner is open takes it from the pool, so that the inner one's end does not free it.
// Areas are added as needed, each twice as long as the last if there is room, so a million handles need ten; those of
// scopes are given back when others have no room. One thread, inside run.

import type { Allocation } from './allocation.js'
import { HeapError, show } from './errors.js'
import type { Handle } from './handles.js'
import {
  checkHandle,
  generateHandles,
  refOf,
  type ArrayHandle,
  type HandleMaker,
  type HandleOwner,
  type ObjectHandle,
  type ObjectInit,
  type SlotType,
} from './handles.js'
import type { HeapCore } from './heap-core.js'
import { AreaKind, CARD_SHIFT, PAGE_BYTES, AreaWord, areaBlock } from './layout.js'
import { shapeAt } from './objects.js'
import type { ArrayShape, Shape, SlotKind } from './shapes.js'
import { probeForArea } from './stack-probe.js'
import { newString } from './transfer.js'
import type { Ref } from './values.js'

const FIRST_SLOTS = PAGE_BYTES / 4
const MOST_SLOTS = 1 << 20

/** A root area of the heap as ranges of the root view. */
interface Chunk {
  readonly area: number
  readonly start: number
  readonly end: number
  readonly topIndex: number
}

function addChunk(core: HeapCore, kind: number, chunks: Chunk[], name: string): Chunk {
  probeForArea()
  let slots = Math.min(FIRST_SLOTS * 2 ** chunks.length, MOST_SLOTS) // no shift: there may be more than 20
  // Handles are their thread's: what keeps them goes with it.
  let area = core.createArea(kind, slots, core.mutatorIndex, false, name)
  while (area < 0 && slots > FIRST_SLOTS) {
    slots /= 2
    area = core.createArea(kind, slots, core.mutatorIndex, false, name)
  }
  if (area < 0) throw core.rootsExhausted(`${slots} more handles`)
  const block = areaBlock(area)
  const start = core.views.control[block + AreaWord.Start]
  const chunk = {
    area,
    start,
    end: start + core.views.control[block + AreaWord.Capacity],
    topIndex: block + AreaWord.Top,
  }
  chunks.push(chunk)
  return chunk
}

/** Single slots, taken and given back in any order. */
export class SlotPool {
  readonly #core: HeapCore
  readonly #kind: number
  readonly #name: string
  readonly #chunks: Chunk[] = []
  readonly #free: number[] = []
  /** Of the last chunk: start and top word, the first slot that was never taken, and the end. */
  #start = 0
  #topIndex = 0
  #next = 0
  #end = 0

  constructor(core: HeapCore, kind: number, name: string) {
    this.#core = core
    this.#kind = kind
    this.#name = name
  }
  /** The slot that `take` is going to take; there is room for it then. */
  next(): number {
    const free = this.#free
    if (free.length > 0) return free[free.length - 1]
    if (this.#next === this.#end) {
      const { start, end, topIndex } = addChunk(this.#core, this.#kind, this.#chunks, this.#name)
      this.#start = this.#next = start
      this.#end = end
      this.#topIndex = topIndex
    }
    return this.#next
  }
  /** Whoever notes the slot does so without a call: where the stack ends in one, the slot would be nobody's. */
  take(ref: number): number {
    const { rootsI32, rootCards, control } = this.#core.views
    this.next()
    let slot = this.#free.pop()
    if (slot === undefined) {
      slot = this.#next++
      control[this.#topIndex] = this.#next - this.#start
    }
    rootsI32[slot] = ref
    rootCards[slot >>> CARD_SHIFT] = 1
    return slot
  }
  /** Where the stack ends in here, it has not been given, and can be once more. That it has been is noted without a call. */
  give(slot: number): void {
    const { rootsI32, rootCards } = this.#core.views
    rootsI32[slot] = 0
    rootCards[slot >>> CARD_SHIFT] = 1
    this.#free.push(slot)
  }
}

/** The scopes of one thread: a stack of slots, and the handle classes of the heap. */
export class ScopeStack {
  readonly core: HeapCore
  readonly allocation: Allocation
  readonly pool: SlotPool
  readonly weakPool: SlotPool
  current: Scope | null = null
  /** Those not released, each at its own index. */
  readonly globals: Global[] = []
  readonly #chunks: Chunk[] = []
  /** By shape id. */
  readonly #makers: (HandleMaker | undefined)[] = []
  // Of the views, here because a scope is opened, filled and ended in some tens of nanoseconds.
  readonly #i32: Int32Array
  readonly #slots: Int32Array
  readonly #cards: Uint8Array
  readonly #control: Int32Array
  #chunk = -1
  /** Start and top word of the chunk, its next free slot and its end. */
  #start = 0
  #topIndex = 0
  #next = 0
  #end = 0

  constructor(core: HeapCore, allocation: Allocation) {
    this.core = core
    this.allocation = allocation
    this.pool = new SlotPool(core, AreaKind.RefTable, 'handles')
    this.weakPool = new SlotPool(core, AreaKind.WeakRefTable, 'weak handles')
    this.#i32 = core.views.i32
    this.#slots = core.views.rootsI32
    this.#cards = core.views.rootCards
    this.#control = core.views.control
  }

  open(): Scope {
    const scope = new Scope(this, this.current, this.#chunk, this.#next)
    this.current = scope
    return scope
  }

  /** Stores `ref` into a slot of the innermost scope. */
  push(ref: number): number {
    if (this.#next === this.#end) this.#grow()
    const slot = this.#next
    this.#next = slot + 1
    this.#slots[slot] = ref
    this.#control[this.#topIndex] = slot + 1 - this.#start
    this.#cards[slot >>> CARD_SHIFT] = 1
    return slot
  }

  #grow(): void {
    const index = this.#chunk + 1
    const chunk =
      index < this.#chunks.length ? this.#chunks[index] : addChunk(this.core, AreaKind.RefTable, this.#chunks, 'scopes')
    this.#enter(index, chunk.start)
  }
  #enter(index: number, next: number): void {
    const { start, end, topIndex } = this.#chunks[index]
    this.#chunk = index
    this.#start = start
    this.#topIndex = topIndex
    this.#next = next
    this.#end = end
  }

  /** Frees every slot taken since the cursor stood at (`chunk`, `next`). */
  rewind(toChunk: number, toNext: number): void {
    // Back at the very beginning, the cursor stays in the first chunk.
    while (this.#chunk > toChunk && this.#chunk > 0) {
      this.#release(this.#start)
      this.#enter(this.#chunk - 1, this.#chunks[this.#chunk - 1].end)
    }
    const from = toChunk < 0 ? this.#start : toNext
    if (this.#next > from) this.#release(from)
  }
  #release(from: number): void {
    const to = this.#next
    if (to - from > 32) this.#slots.fill(0, from, to)
    else for (let slot = from; slot < to; slot++) this.#slots[slot] = 0
    for (let card = from >>> CARD_SHIFT; card << CARD_SHIFT < to; card++) this.#cards[card] = 1
    this.#next = from
    this.#control[this.#topIndex] = from - this.#start
  }

  /**
   * Gives back the chunks that no open scope uses: only when somebody else has no room. Given back at the end of each scope
   * they would stay taken until the end of a cycle under way, time after time. True: there were some.
   */
  giveBackReserve(): boolean {
    const used = this.#chunk + 1
    const reserve = this.#chunks.splice(used)
    for (const { area } of reserve) this.core.freeArea(area)
    return reserve.length > 0
  }

  /** Ends the scopes opened since `outer` was the innermost one. */
  closeTo(outer: Scope | null): void {
    while (this.current !== null && this.current !== outer) this.current.dispose()
  }

  /** All handles die: their generated code tests the owner, and a running word that will be another's. */
  leave(): void {
    this.closeTo(null)
    for (const global of this.globals) global.open = false
    this.globals.length = 0
  }

  /** What makes handles of the object at `ref`. */
  makerFor(ref: number): HandleMaker {
    const id = this.#i32[ref]
    return this.#makers[id] ?? this.#addMaker(id, ref)
  }
  #addMaker(id: number, ref: number): HandleMaker {
    this.core.checkOpen()
    const shape = shapeAt(this.core, ref as Ref, 'a handle')
    return (this.#makers[id] = generateHandles(this.core, shape, (r) => this.wrap(r)))
  }

  /** A handle in the innermost scope. */
  wrap(ref: number): Handle {
    if (this.current === null) {
      throw new HeapError(
        'ERR_NO_SCOPE',
        'reading a reference makes a handle, and no scope is open: use m.scoped(fn) or `using scope = m.scope()`',
      )
    }
    return this.makerFor(ref)(this.push(ref), this.current)
  }
}

/** Keeps the handles made in it alive. End it with `using`, `dispose`, or `m.scoped(fn)`. */
export class Scope implements HandleOwner, Disposable {
  /** False once it has ended. */
  open = true
  readonly #stack: ScopeStack
  readonly #parent: Scope | null
  readonly #chunk: number
  readonly #next: number
  /** Slots from the pool, of handles made while an inner scope was open. */
  #extra: number[] | null = null

  /** Made by `m.scope()`. */
  constructor(stack: ScopeStack, parent: Scope | null, chunk: number, next: number) {
    this.#stack = stack
    this.#parent = parent
    this.#chunk = chunk
    this.#next = next
  }

  /** A new object. A safepoint. `init` gives first values of slots. */
  new<S>(shape: Shape<S>, init?: ObjectInit<S>): ObjectHandle<S> {
    this.#check()
    const handle = this.#keep(this.#stack.allocation.alloc(shape))
    // Apart: what is here is inlined, and then needs no scope and no handle in memory.
    if (init !== undefined) initialise(handle, init)
    return handle as ObjectHandle<S>
  }

  /** A new array of a length, or with the given items. A safepoint. */
  newArray<K extends SlotKind>(shape: ArrayShape<K>, lengthOrItems: number | Iterable<SlotType<K>>): ArrayHandle<K> {
    this.#check()
    const items = typeof lengthOrItems === 'number' ? null : itemsOf(lengthOrItems)
    this.#check() // the iterator may have ended it
    const length = items === null ? (lengthOrItems as number) : items.length
    const handle = this.#keep(this.#stack.allocation.allocArray(shape, length))
    if (items !== null) for (let i = 0; i < length; i++) handle.set(i, items[i])
    return handle as ArrayHandle<K>
  }

  /** A new text array (UTF-8 for `u8`, UTF-16 for `u16`). A safepoint. */
  newString<K extends 'u8' | 'u16'>(shape: ArrayShape<K>, text: string): ArrayHandle<K> {
    this.#check()
    const { core, allocation } = this.#stack
    return this.#keep(newString(core, allocation, shape as ArrayShape<'u8'>, text)) as ArrayHandle<K>
  }

  /** A handle of the object at `ref`, typed by `shape` if given; null for 0 where none is given. Not a safepoint. */
  handle(ref: Ref | 0): Handle | null
  handle<S>(ref: Ref, shape: Shape<S>): ObjectHandle<S>
  handle<K extends SlotKind>(ref: Ref, shape: ArrayShape<K>): ArrayHandle<K>
  handle(ref: Ref | 0, shape?: Shape<unknown> | ArrayShape): Handle | null {
    this.#check()
    const core = this.#stack.core
    if (ref === 0 && shape === undefined) return null
    if (!Number.isInteger(ref) || ref <= 0 || (ref & 1) !== 0 || ref >= core.views.i32.length) {
      throw new HeapError('ERR_BAD_REF', `a Ref is an even word index inside the heap; got ${show(ref)}`)
    }
    core.checkRef(ref, 'scope.handle')
    const handle = this.#keep(ref)
    return shape === undefined ? handle : (handle.as(shape as ArrayShape) as Handle)
  }

  /** Keeps `handle`'s object alive in this scope (to hand a result out of an inner one). */
  keep<H extends Handle>(handle: H): H {
    this.#check()
    checkHandle(this.#stack.core, handle, 'scope.keep')
    return this.#keep(refOf(handle)) as H
  }

  /** Ends this scope and all opened after it; their handles are dead. Twice is once. */
  dispose(): void {
    if (!this.open) return
    const stack = this.#stack
    while (stack.current !== this) (stack.current as Scope).#close()
    this.#close()
  }
  [Symbol.dispose](): void {
    this.dispose()
  }

  /** Where the stack ends in here, the scope is open, and can be ended once more. */
  #close(): void {
    const stack = this.#stack
    if (stack.core.running) this.#giveBack()
    else if (!stack.core.closed) stack.core.inRun(() => this.#giveBack()) // inside m.parked
    this.open = false
    stack.current = this.#parent
  }
  #giveBack(): void {
    this.#stack.rewind(this.#chunk, this.#next)
    const extra = this.#extra
    if (extra === null) return
    for (let i = 0; i < extra.length; i++) {
      if (extra[i] < 0) continue
      this.#stack.pool.give(extra[i])
      extra[i] = -1 // given back twice, a slot would be two handles'
    }
  }

  #keep(ref: number): Handle {
    const stack = this.#stack
    const make = stack.makerFor(ref)
    if (stack.current === this) return make(stack.push(ref), this)
    const { pool } = stack
    const extra = (this.#extra ??= [])
    const handle = make(pool.next(), this)
    const slot = pool.take(ref)
    extra[extra.length] = slot
    return handle
  }

  #check(): void {
    if (!this.open || !this.#stack.core.running) this.#refuse()
  }
  #refuse(): never {
    this.#stack.core.checkRunning('a scope')
    throw new HeapError('ERR_HANDLE_DEAD', 'this scope has ended: open another with m.scope() or m.scoped(fn)')
  }
}

/** A reference that outlives scopes. Made by `heap.global(handle)`. */
export class Global<H extends Handle = Handle> implements HandleOwner, Disposable {
  /** False once released, or once the heap was closed. */
  open = true
  /** The object, typed as it was; usable inside run until `release`. */
  readonly handle: H
  readonly #stack: ScopeStack
  readonly #core: HeapCore
  /** Where it stands among the globals of its thread. */
  #at: number

  constructor(core: HeapCore, stack: ScopeStack, handle: H) {
    const ref = refOf(handle)
    this.#core = core
    this.#stack = stack
    const { globals, pool } = stack
    this.handle = stack.makerFor(ref)(pool.next(), this) as H
    pool.take(ref)
    this.#at = globals.length
    globals[this.#at] = this
  }
  /** Lets go of the object. Anywhere in the thread that made it: outside run it waits for a pause under way. Twice is once. */
  release(): void {
    if (!this.open || this.#core.closed) return
    const { globals, pool } = this.#stack
    this.#core.inRun(() => {
      pool.give(this.handle._slot)
      // After it, and without a call: where the stack ends before, it can be done again.
      this.open = false
      const last = globals[globals.length - 1]
      globals[this.#at] = last
      last.#at = this.#at
      globals.length--
    })
  }
  [Symbol.dispose](): void {
    this.release()
  }
}

/** A reference that does not keep its object alive. Made by `heap.weak(handle)`. */
export class Weak<H extends Handle = Handle> implements Disposable {
  readonly #core: HeapCore
  readonly #stack: ScopeStack
  #slot: number

  constructor(core: HeapCore, stack: ScopeStack, handle: H) {
    this.#core = core
    this.#stack = stack
    this.#slot = stack.weakPool.take(refOf(handle))
  }
  /** For the heap: which it belongs to. */
  get _core(): HeapCore {
    return this.#core
  }
  /** A handle in the innermost scope, or undefined once the object was collected. Inside run. */
  get(): H | undefined {
    this._core.checkRunning('weak.get')
    if (this.#slot < 0) return undefined
    const ref = this._core.views.rootsI32[this.#slot]
    return ref === 0 ? undefined : (this.#stack.wrap(ref) as H)
  }
  /** For the heap: the word of its root slot, −1 once released. */
  get _slot(): number {
    return this.#slot
  }
  /** Gives the slot back; `get` is undefined from then on. Anywhere, as of a global. Twice is once. */
  release(): void {
    const slot = this.#slot
    if (slot < 0 || this._core.closed) return
    this._core.inRun(() => {
      this.#stack.weakPool.give(slot)
      this.#slot = -1
    })
  }
  [Symbol.dispose](): void {
    this.release()
  }
}

function initialise(handle: Handle, init: unknown): void {
  if (typeof init !== 'object' || init === null) {
    throw new HeapError('ERR_BAD_VALUE', `scope.new takes first values as an object like { key: 1 }; got ${show(init)}`)
  }
  for (const name of Object.keys(init)) handle.set(name, (init as never)[name])
}

function itemsOf<T>(items: Iterable<T>): T[] {
  if (typeof (items as Iterable<T> | null | undefined)?.[Symbol.iterator] === 'function') return [...items]
  throw new HeapError(
    'ERR_BAD_VALUE',
    `scope.newArray takes a length, a number, or items in an iterable; got ${show(items)}`,
  )
}
