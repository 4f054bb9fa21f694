// Guardians: objects come out of one once nothing else refers to them (Dybvig, Bruggeman, Eby 1993), which is what finalizers
// are made of. The collector runs none of the program's code: it queues, and the program takes from the queue when it likes.
//
// A guardian owns pairs of root areas of equal capacity N: a guarded table, whose slots are weak, and a ref table. An object that
// only the guarded one refers to is marked by the collector with all that it leads to, and moved from its slot to the next one of
// the other table, a ring; the number moved so far is a control word. Each object counts from `guard` until it is taken, and a pair
// takes N of them at the most: so the ring's next slot is always free. One thread, inside run.

import { HeapError, show } from './errors.js'
import { refOf, checkHandle, type Handle } from './handles.js'
import type { HeapCore } from './heap-core.js'
import { AreaKind, AreaWord, CARD_SHIFT, PAGE_BYTES, areaBlock } from './layout.js'
import type { ScopeStack } from './scopes.js'
import { probeForArea } from './stack-probe.js'
import type { Ref } from './values.js'

const FIRST_SLOTS = PAGE_BYTES / 4
const MOST_SLOTS = 1 << 20

class GuardedTable {
  readonly capacity: number
  readonly #core: HeapCore
  /** The guarded one and the ring. */
  readonly #areas: readonly number[]
  #freed = 0
  readonly #start: number
  readonly #ringStart: number
  /** Index of the word that counts what has been handed over. */
  readonly #dueIndex: number
  /** Objects in one table or the other. */
  #held = 0
  #taken = 0
  /** Where the search for a free slot goes on. */
  #cursor = 0

  /** Null: there is no room for `slots` slots, twice. */
  static create(core: HeapCore, slots: number, name: string): GuardedTable | null {
    const ring = core.createArea(AreaKind.RefTable, slots, core.mutatorIndex, false, `${name}due`)
    if (ring < 0) return null
    const area = core.createArea(AreaKind.GuardedTable, slots, core.mutatorIndex, false, `${name}guarded`)
    if (area >= 0) return new GuardedTable(core, area, ring)
    core.freeArea(ring)
    return null
  }
  private constructor(core: HeapCore, area: number, ring: number) {
    const { control } = core.views
    const [block, ringBlock] = [areaBlock(area), areaBlock(ring)]
    this.#core = core
    this.#areas = [area, ring]
    this.#start = control[block + AreaWord.Start]
    this.#ringStart = control[ringBlock + AreaWord.Start]
    this.#dueIndex = block + AreaWord.Due
    this.capacity = Math.min(control[block + AreaWord.Capacity], control[ringBlock + AreaWord.Capacity])
    // All slots of both count from now on: those that are free are zero.
    control[ringBlock + AreaWord.Top] = this.capacity
    control[block + AreaWord.Top] = this.capacity
    control[block + AreaWord.DueArea] = ring
  }

  /** A quarter stays free, so that the search for a free slot is short. */
  get full(): boolean {
    return this.#held >= this.capacity * 0.75
  }
  get due(): number {
    return (Atomics.load(this.#core.views.control, this.#dueIndex) - this.#taken) | 0
  }
  // A vm timeout may cut `guard` and `drop` off anywhere. Then a slot counts as taken that is free, or the ring keeps an object until
  // its place comes round again; the other way round a full table would be searched for ever, and null handed out.
  guard(ref: Ref): void {
    const { rootsI32, rootCards } = this.#core.views
    this.#held++
    while (rootsI32[this.#start + this.#cursor] !== 0) this.#cursor = (this.#cursor + 1) % this.capacity
    const slot = this.#start + this.#cursor
    rootsI32[slot] = ref
    rootCards[slot >>> CARD_SHIFT] = 1
  }
  get #firstSlot(): number {
    return this.#ringStart + ((this.#taken >>> 0) % this.capacity)
  }
  /** The object that has been due for longest; there is one. */
  get first(): Ref {
    return this.#core.views.rootsI32[this.#firstSlot] as Ref
  }
  /** The first one is held here no longer. */
  drop(): void {
    const slot = this.#firstSlot
    this.#taken = (this.#taken + 1) | 0
    this.#core.views.rootsI32[slot] = 0
    this.#held--
  }
  /** Twice is once: where the stack ends in the middle, the rest is for the next time. */
  free(): void {
    // In this order: what is guarded is handed over in the other.
    while (this.#freed < this.#areas.length) {
      this.#core.freeArea(this.#areas[this.#freed])
      this.#freed++
    }
  }
}

/**
 * A queue of objects that nothing else refers to any more. Made by `heap.guardian()`; belongs to its thread.
 *
 * The object comes out whole, with all that it refers to, and is an ordinary object again: kept, or guarded anew, or let go.
 * Weak references to it, and to what only it kept, have been cleared by then, and ephemerons with such keys. Objects that are
 * found together come out in no particular order, also where one refers to the other. Guarding an object twice makes it come
 * out twice. The next collection that is asked for finds what has died before it; one that begins by itself may be late.
 */
export class Guardian<H extends Handle = Handle> implements Disposable {
  readonly #core: HeapCore
  readonly #stack: ScopeStack
  readonly #name: string
  #tables: GuardedTable[] = []
  /** Of the table that was asked last. */
  #turn = 0
  #released = false

  constructor(core: HeapCore, stack: ScopeStack, name: string | null) {
    this.#core = core
    this.#stack = stack
    this.#name = name === null ? '' : `${name}.`
  }

  /** Guards the object of a handle. Inside run. Throws ERR_ROOTS_EXHAUSTED. */
  guard(handle: H): void {
    this.#checkUsable()
    checkHandle(this.#core, handle, 'guardian.guard')
    this.#put(refOf(handle))
  }
  /** The same in the raw tier. No safepoint. */
  guardRef(ref: Ref): void {
    this.#checkUsable()
    const end = this.#core.views.i32.length
    if (!Number.isInteger(ref) || ref <= 0 || ref >= end || ref % 2 !== 0) {
      throw new HeapError(
        'ERR_BAD_REF',
        `guardian.guardRef takes the Ref of an object (even, inside the heap, not null); got ${show(ref)}`,
      )
    }
    this.#core.checkRef(ref, 'guardian.guardRef')
    this.#put(ref)
  }
  #put(ref: Ref): void {
    let table = this.#tables.find(({ full }) => !full)
    if (table === undefined) this.#tables.push((table = this.#grow()))
    table.guard(ref)
  }
  #grow(): GuardedTable {
    probeForArea()
    let slots = Math.min(FIRST_SLOTS * 2 ** this.#tables.length, MOST_SLOTS)
    let table = GuardedTable.create(this.#core, slots, this.#name)
    while (table === null && slots > FIRST_SLOTS) {
      slots /= 2
      table = GuardedTable.create(this.#core, slots, this.#name)
    }
    if (table === null) throw this.#core.rootsExhausted(`${slots} more guarded objects`)
    return table
  }

  /** How many objects wait to be taken. */
  get due(): number {
    this.#core.checkOpen()
    return this.#tables.reduce((due, table) => due + table.due, 0)
  }
  /** The next one, as a handle in the innermost scope; undefined: none is due. Inside run. */
  next(): H | undefined {
    const table = this.#firstDue()
    if (table === undefined) return undefined
    // Held here until it is held there: without a scope, or room for a handle, it is still due.
    const handle = this.#stack.wrap(table.first) as H
    table.drop()
    return handle
  }
  /** The same in the raw tier; 0: none is due. No safepoint. */
  nextRef(): Ref | 0 {
    const table = this.#firstDue()
    if (table === undefined) return 0
    const ref = table.first
    table.drop()
    return ref
  }
  #firstDue(): GuardedTable | undefined {
    this.#checkUsable()
    const tables = this.#tables
    for (let i = 0; i < tables.length; i++) {
      // In turn: a program that takes slowly comes to all of them.
      this.#turn = (this.#turn + 1) % tables.length
      const table = tables[this.#turn]
      if (table.due === 0) continue
      this.#core.checked?.reach(table.first)
      return table
    }
    return undefined
  }

  /** Guards nothing any more; what is due is lost. Anywhere in the thread that made it. Twice is once. */
  release(): void {
    if (this.#released || this.#core.closed) return
    for (const table of this.#tables) table.free()
    this.#released = true
    this.#tables = []
  }
  [Symbol.dispose](): void {
    this.release()
  }

  #checkUsable(): void {
    this.#core.checkRunning('a guardian')
    if (this.#released)
      throw new HeapError('ERR_BOUNDS', 'this guardian was released: make another with heap.guardian()')
  }
}
