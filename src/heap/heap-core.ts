// What all parts of one heap share in one isolate: memory, views, collector, shapes, and the checks that every slow
// path makes. The public Heap holds one of these; so do mutator, handles, roots and the checked tier.

import type { Collector } from '../gc/collector.js'
import { HeapError } from './errors.js'
import {
  AreaKind,
  AreaWord,
  MAGIC,
  MAX_AREAS,
  MutatorWord,
  Phase,
  Running,
  Word,
  areaBlock,
  mutatorBlock,
} from './layout.js'
import { viewsOf, type Views } from './memory.js'
import type { ParsedOptions } from './options.js'
import { ShapeTable } from './shapes.js'
import { probeForArea } from './stack-probe.js'
import type { Ref } from './values.js'

// Here and not read from the import each time: the check of every scope and handle operation.
const INSIDE: number = Running.Inside
const PARKED: number = Running.Parked

let nextHeapId = 1

/** What a checked heap adds (checked.ts). */
export interface Checks {
  /** After a safepoint: knows where objects are now. */
  sync(): void
  /** The object at `ref`, and what it leads to, comes from where `sync` may not have found it. No safepoint. */
  reach(ref: Ref): void
  /** Throws where no live object begins. */
  checkObject(ref: Ref, what: string): void
  /** Throws where a root area of this thread or of the heap has a top that is none. */
  checkTops(what: string): void
}

/** The mutator of this thread (mutator.ts), as far as the heap's parts below it must know of it. */
export interface HeapThread {
  leave(): void
  readonly scopes: { giveBackReserve(): boolean }
}

export class HeapCore {
  /** Unique in the isolate; part of generated text, which V8 would otherwise share between heaps. */
  readonly id = nextHeapId++
  readonly collector: Collector
  readonly options: ParsedOptions
  readonly views: Views
  readonly shapes: ShapeTable
  /** Present in checked heaps only. */
  checked: Checks | null = null
  /** This thread's mutator index, −1 before its first run. */
  mutatorIndex = -1
  /** Index in the control words of the word that is 1 inside run. */
  runningIndex: number = Word.Never
  /** Other threads may have it open. */
  shared = false
  /** Null before this thread's first run. */
  thread: HeapThread | null = null
  /** Stress: every safepoint collects, so every poll must be taken. */
  readonly alwaysPoll: boolean
  /** The slow path of polls; replaced under stress. */
  poll: () => void
  /** What root areas that this isolate made are called, and how often one at that index had been freed before. */
  readonly #areaNames = new Map<number, { readonly name: string; readonly frees: number }>()

  constructor(collector: Collector, options: ParsedOptions) {
    this.collector = collector
    this.options = options
    this.views = viewsOf(collector.memory)
    this.shapes = new ShapeTable(this.views.control, (register) => collector.defining(register))
    this.alwaysPoll = options.stress.everySafepoint
    this.poll = () => {
      this.checkRunning('poll')
      this.checkSafepoint('a poll')
      try {
        collector.poll(this.mutatorIndex)
      } finally {
        this.checked?.sync()
      }
      // By its owner, while this thread was inside run: it asks every thread to poll.
      this.checkOpen()
    }
  }

  #left = false
  get closed(): boolean {
    // Another thread may have closed it, which its state word tells; of a buffer transferred away no word is left.
    const { control } = this.views
    return this.#left || control[Word.HeapState] !== 0 || control[Word.Magic] !== MAGIC || this.#detached
  }
  /** The buffers of portable heaps can be transferred away, and the heap with them. */
  get #detached(): boolean {
    return this.views.control.length === 0 || this.views.i32.length === 0
  }
  /**
   * This isolate is done with the heap. Its mutator block goes to the next thread that attaches, perhaps this one again: what
   * was made here must not take that one's running word for its own.
   */
  leave(): void {
    this.#left = true
    this.collector.leave()
    this.runningIndex = Word.Never
    this.thread?.leave()
  }
  #closedError(): HeapError {
    if (!this.#left && this.#detached) {
      return new HeapError(
        'ERR_HEAP_CLOSED',
        "this heap's own buffer was transferred (postMessage, structuredClone, ArrayBuffer.transfer), and the heap is gone " +
          'with it: transfer copies, which m.copyOut makes',
      )
    }
    return new HeapError('ERR_HEAP_CLOSED', 'this heap was closed: nothing of it may be used any more')
  }
  get running(): boolean {
    return this.views.control[this.runningIndex] === INSIDE
  }

  /** Inside `parked`, inside `run`. */
  get parked(): boolean {
    return this.views.control[this.runningIndex] === PARKED
  }

  /** `fn` as a running mutator. */
  run<T>(fn: () => T): T {
    return this.collector.run(this.mutatorIndex, fn)
  }
  /** `fn` as a running mutator, which this thread may be already. */
  inRun<T>(fn: () => T): T {
    return this.running ? fn() : this.run(fn)
  }
  /** `fn` as a parked mutator, from inside `run`. A safepoint. */
  runParked<T>(fn: () => T): T {
    this.checkSafepoint('m.parked')
    let result: T
    try {
      this.stressSafepoint()
      result = this.collector.parked(this.mutatorIndex, () => {
        // The collector writes this word when it enters `run`, and leaves it as it was, also where a termination skips `finally`.
        this.views.control[this.runningIndex] = PARKED
        return fn()
      })
    } finally {
      this.checked?.sync()
    }
    // Closed by its owner meanwhile: there is nothing to come back to.
    this.checkOpen()
    return result
  }

  checkOpen(): void {
    if (this.closed) throw this.#closedError()
  }
  /** One load and compare where all is well. That another thread has closed the heap is told at safepoints. */
  checkRunning(what: string): void {
    if (this.views.control[this.runningIndex] !== INSIDE) this.#failRunning(what)
  }
  #failRunning(what: string): never {
    this.checkOpen()
    if (this.parked) {
      throw new HeapError(
        'ERR_NOT_RUNNING',
        `${what} was used inside m.parked(), where objects move: use it before or after, or in a heap.run(() => …) inside`,
      )
    }
    throw new HeapError(
      'ERR_NOT_RUNNING',
      `${what} was used outside heap.run(): heap memory may be touched only inside it. Use it in heap.run(() => …)`,
    )
  }
  /** At the head of everything that is a safepoint, but for allocations that need not be one. */
  checkSafepoint(what: string): void {
    this.checked?.checkTops(what)
    if (!this.inspecting) return
    throw new HeapError(
      'ERR_NO_SAFEPOINT',
      `${what} in a function that an inspection calls (heap.census, heap.pathTo, heap.writeSnapshot): it may read the heap, but ` +
        'not allocate, poll or collect, for the other threads stand still until it returns',
    )
  }
  /** Stress: at safepoints inside run that no generated code is at. What a checked heap makes of it is the caller's. */
  stressSafepoint(): void {
    if (this.alwaysPoll) this.collector.collect(this.mutatorIndex)
  }
  /** Checked heaps: `ref` (0 for null) is the start of a live object. Other heaps: nothing. */
  checkRef(ref: Ref | 0, what: string): void {
    if (this.checked !== null && ref !== 0) this.checked.checkObject(ref, what)
  }

  /** The other threads stand still for this one, which must come to no safepoint meanwhile. */
  get inspecting(): boolean {
    return this.mutatorIndex >= 0 && this.views.control[this.#inspectingIndex] !== 0
  }
  get #inspectingIndex(): number {
    return mutatorBlock(this.mutatorIndex) + MutatorWord.Inspecting
  }
  /** `work`, in which no safepoint may come, with the other threads stopped. A safepoint, but inside such work. Inside run. */
  stopped<T>(work: () => T): T {
    if (this.inspecting) return work()
    const { control } = this.views
    const inspecting = this.#inspectingIndex
    return this.collector.stopped(this.mutatorIndex, () => {
      control[inspecting] = 1
      try {
        return work()
      } finally {
        control[inspecting] = 0 // where this is skipped, the collector does it
      }
    })
  }

  /** As the collector's (collector.ts). What this thread's scopes keep in reserve goes before there is no room. */
  createArea(kind: number, slots: number, owner: number, mayWait: boolean, name: string | null): number {
    const { collector } = this
    if (mayWait) {
      this.checkSafepoint('a root area')
      if (this.running) this.stressSafepoint()
    }
    let area = collector.createArea(kind, slots, owner, mayWait)
    if (area < 0 && this.thread?.scopes.giveBackReserve() === true) {
      area = collector.createArea(kind, slots, owner, mayWait)
    }
    if (area >= 0) this.#endFree(area, this.areaFrees(area)) // who freed the one before it may not have come to that
    if (area >= 0 && name !== null) this.#areaNames.set(area, { name, frees: this.areaFrees(area) })
    return area
  }
  freeArea(area: number): void {
    this.#areaNames.delete(area)
    this.collector.freeArea(area)
  }
  /**
   * A stack or table, with what `areaFrees` said when it was made. False: it was freed already, perhaps by another thread. The word is
   * odd while one is being freed: nobody opens it then, and whoever makes the next one there finds, or makes, it even.
   */
  freeAreaOnce(area: number, frees: number): boolean {
    const { control } = this.views
    const word = areaBlock(area) + AreaWord.Frees
    probeForArea() // counted as freed and not freed, it would be nobody's
    if (Atomics.compareExchange(control, word, frees, (frees + 1) | 0) !== frees) return false
    try {
      this.freeArea(area)
    } catch (error) {
      control[word] = frees // later, then; no call, which there may be no stack for
      throw error
    }
    this.#endFree(area, (frees + 1) | 0)
    return true
  }
  /** Of the free that made the word `odd`; no other is meant. */
  #endFree(area: number, odd: number): void {
    if ((odd & 1) === 0) return
    Atomics.compareExchange(this.views.control, areaBlock(area) + AreaWord.Frees, odd, (odd + 1) | 0)
  }
  /** Twice how many stacks and tables were freed at an index, and odd while one is being freed. */
  areaFrees(area: number): number {
    return Atomics.load(this.views.control, areaBlock(area) + AreaWord.Frees)
  }
  /** What the root area is called in paths and snapshots; undefined: it has no name in this isolate. */
  nameOfArea(area: number): string | undefined {
    const named = this.#areaNames.get(area)
    return named?.frees === this.areaFrees(area) ? named.name : undefined
  }

  /** No root area for `what`. */
  rootsExhausted(what: string): HeapError {
    // Closed by its owner, perhaps while this thread waited for room.
    if (this.closed) return this.#closedError()
    const { control } = this.views
    let areas = 0
    for (let a = 0; a < MAX_AREAS; a++) {
      if (control[areaBlock(a) + AreaWord.Kind] !== AreaKind.Free) areas++
    }
    // What was freed while a collection is under way comes back at its end: areas, and the addresses of areas.
    if (this.collector.name === 'concurrent' && control[Word.Phase] !== Phase.Idle && areas < control[Word.AreaCount]) {
      return new HeapError(
        'ERR_ROOTS_EXHAUSTED',
        `no room for ${what}: root areas that were freed come back at the end of the collection under way. Poll until it is over, ` +
          `or have fewer of them (a heap has ${MAX_AREAS}, and maxRootBytes = ${this.options.maxRootBytes})`,
      )
    }
    return new HeapError(
      'ERR_ROOTS_EXHAUSTED',
      areas === MAX_AREAS
        ? `no room for ${what}: all ${MAX_AREAS} root areas of the heap are taken (handles take some). Free those you no ` +
            'longer need, and put many small stacks and tables into one'
        : `no room for ${what} in maxRootBytes = ${this.options.maxRootBytes}: raise it, free areas, or end scopes sooner`,
    )
  }

  /** No room for an object of `bytes`. */
  exhausted(bytes: number): HeapError {
    // Closed meanwhile: its pages are gone, and so is what this thread would have allocated from.
    if (this.closed) return this.#closedError()
    const { maxBytes } = this.options
    if (bytes > maxBytes) {
      return new HeapError(
        'ERR_HEAP_EXHAUSTED',
        `an object of ${bytes} bytes can never fit into maxBytes = ${maxBytes}: create the heap with a larger maxBytes, ` +
          'or make several smaller objects. The heap is intact',
      )
    }
    const { collector } = this
    const [full, remedy] = collector.withinBudget(bytes, maxBytes)
      ? [
          `maxBytes = ${maxBytes} has room for it, but large objects do not move, and have left no run of free addresses that is as long`,
          'make several smaller objects, or let go of large ones',
        ]
      : collector.name === 'none'
        ? [
            `what was allocated fills maxBytes = ${maxBytes}, and collector 'none' frees nothing`,
            'what it holds may be used, but for more create it with a larger maxBytes or with another collector',
          ]
        : [
            `live data fills maxBytes = ${maxBytes}, even after a full collection`,
            'drop references and go on (heap.census() and heap.pathTo() say what is held, and by whom), or create it with a larger maxBytes',
          ]
    return new HeapError(
      'ERR_HEAP_EXHAUSTED',
      `no room for ${bytes} more bytes: ${full}. The heap is intact: ${remedy}`,
    )
  }
}
