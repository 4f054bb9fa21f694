// A cycle moved by the test: gate by gate, object by object while it marks, page by page while it compacts.
//
// The collector thread of a heap made with `stepping: true` stops at gates; between two of them it does what the test asks
// for and nothing else, so what the test sees in between does not race with it. Within one page the collector can be held
// at a point of its work, and the collector and this thread can be given turns on a page, in any order: a virtual schedule,
// the same every time. native/core/compaction/stepping.h has the rules.

import type { Heap } from '../glissade.js'
import type { NativeHeap, NativeStepping } from '../gc/native.js'
import { HeapError, show } from '../heap/errors.js'
import { PAGE_BYTES, PHASE_NAMES } from '../heap/layout.js'
import type { Ref } from '../heap/values.js'

const MOST_GATES = 2 ** 31 - 1

export const RESTS = ['idle', 'mark', 'trace', 'preclean', 'reclaim', 'flip', 'compact', 'close'] as const
/**
 * Where a cycle rests, named after what comes next: `mark` nothing is marked yet; `trace` a portion is marked; `preclean`
 * the trace is complete, cards and stacks are looked at again; `reclaim` the remark pause is over; `flip` every object has
 * its new address, nothing has moved; `compact` pages are missing; `close` every page is in its place; `idle` no cycle.
 */
export type Rest = (typeof RESTS)[number]

export const PAGE_KINDS = ['compacted', 'prefix', 'black', 'large', 'root', 'empty'] as const
/** What a page of to-space is; `prefix`, `large` and `root` pages stay where they are. */
export type PageKind = (typeof PAGE_KINDS)[number]

export const PAGE_STATES = ['untouched', 'building', 'built', 'mapped'] as const
/** The states of native/core/compaction/page-state.h. */
export type PageState = (typeof PAGE_STATES)[number]

export const HOLD_POINTS = [
  ...['faulted', 'entered', 'looking', 'claiming', 'overtaking', 'claimed', 'built', 'published', 'placing', 'placed'],
  ...['closing', 'disarmed', 'draining', 'waiting', 'drained'],
]
const HELD_AT: readonly unknown[] = ['claiming', 'claimed', 'built', 'published', 'placing', 'placed']
/** Points of the work on one page, named after what has been done or is about to be: see `SteppedCycle.holdPage`. */
export type HoldPoint = 'looking' | 'claiming' | 'overtaking' | 'claimed' | 'built' | 'published' | 'placing' | 'placed'

/** Who works on a page: the collector thread, or the thread of the test through a page fault. */
export type Actor = 'collector' | 'mutator'
const ACTORS = ['collector', 'mutator'] as const

/** A page of to-space while a compaction rests. */
export interface SteppedPage {
  readonly page: number
  readonly kind: PageKind
  readonly state: PageState
  /** Threads that are building it. */
  readonly builders: number
  /** The from-space pages that it is made of, first and last; `undefined` for an empty page. */
  readonly sources: readonly [number, number] | undefined
}

/** One turn of `interleave`: who went on from where, who else could have, and what became of the page's state. */
export interface Turn {
  readonly actor: Actor
  readonly from: HoldPoint
  readonly enabled: readonly Actor[]
  readonly before: PageState
  readonly after: PageState
}

/**
 * Lets a collection of a heap made with `stepping: true` pass `gates` gates, starting one if none is under way; returns
 * the phase it then is in. A portable collector makes one whole collection. Inside run it is a safepoint.
 */
export function step(heap: Heap, gates = 1): (typeof PHASE_NAMES)[number] {
  const core = heap._core
  core.checkOpen()
  if (!Number.isInteger(gates) || gates < 0 || gates > MOST_GATES) {
    throw new HeapError('ERR_BAD_VALUE', `step passes a whole number of gates, 0 to ${MOST_GATES}; got ${show(gates)}`)
  }
  if (core.collector.name === 'concurrent' && !core.options.stepping) {
    throw new HeapError(
      'ERR_OPTION',
      'step wants a heap made with { stepping: true }: the cycles of this one have no gates',
    )
  }
  core.checkSafepoint('step')
  try {
    return PHASE_NAMES[core.collector.step(core.running ? core.mutatorIndex : -1, gates)]
  } finally {
    if (core.running) core.checked?.sync()
  }
}

/**
 * The cycle of a heap made with `{ collector: 'concurrent', stepping: true }`, to be moved step by step. What lets the
 * cycle go on is a safepoint. While a cycle rests, allocations that need memory let it run to its end.
 *
 * ```ts
 * const cycle = stepCycle(heap)
 * cycle.mark(100)                           // so many objects are marked, and no more
 * cycle.to('compact')                       // flipped: every page is missing
 * const [first, second] = cycle.pages()
 * cycle.compactPage(first.page)             // by the collector
 * cycle.touch(second.page)                  // by this thread, in a page fault
 * cycle.finish()
 * ```
 */
export function stepCycle(heap: Heap): SteppedCycle {
  return new SteppedCycle(heap)
}

export class SteppedCycle {
  readonly #heap: Heap
  readonly #native: NativeHeap & NativeStepping
  /** Between holdPage and releasePage: whoever asks where the cycle rests would wait for ever. */
  #held = false

  constructor(heap: Heap) {
    heap._core.checkOpen()
    const native = heap._core.collector.memory as NativeHeap & Partial<NativeStepping>
    if (native.rest === undefined) {
      throw new HeapError('ERR_OPTION', "stepCycle wants a heap made with { collector: 'concurrent', stepping: true }")
    }
    this.#heap = heap
    this.#native = native as NativeHeap & NativeStepping
  }

  /** Where the cycle rests. */
  get rest(): Rest {
    this.#checkReleased()
    return RESTS[this.#native.rest()]
  }

  /** Begins a cycle, or lets it go on to its next rest, and says which that is. */
  next(): Rest {
    step(this.#heap, this.rest === 'idle' ? 0 : 1)
    return this.rest
  }

  /** Goes on until the cycle rests there. A cycle that ends before (nothing to gain from moving) is an error. */
  to(rest: Rest): this {
    if (!RESTS.includes(rest))
      throw new HeapError('ERR_BAD_VALUE', `a cycle rests at ${RESTS.join(', ')}; got ${show(rest)}`)
    this.#native.portion(2 ** 31)
    while (this.rest !== rest) {
      const before = this.rest
      if (this.next() === 'idle' && rest !== 'idle' && before !== 'idle') {
        throw new HeapError(
          'ERR_BAD_VALUE',
          `the cycle ended without coming to '${rest}': it last rested at '${before}'`,
        )
      }
    }
    return this
  }

  /**
   * Lets the trace mark at most `objects` objects, beginning a cycle if none is under way. How many this trace has marked
   * so far; once the trace is complete, the cycle rests at 'preclean' and nothing more is marked.
   */
  mark(objects: number): number {
    if (!Number.isInteger(objects) || objects < 0 || objects > MOST_GATES) {
      throw new HeapError(
        'ERR_BAD_VALUE',
        `mark takes a whole number of objects, 0 to ${MOST_GATES}; got ${show(objects)}`,
      )
    }
    while (this.rest === 'idle') this.next()
    if (objects === 0 || (this.rest !== 'mark' && this.rest !== 'trace')) return this.#native.marked()
    this.#native.portion(objects)
    this.next()
    return this.#native.marked()
  }

  /** The page that a Ref's object begins in. */
  pageOf(ref: Ref): number {
    return Math.floor(((ref - this.#native.movingStart) * 4) / PAGE_BYTES)
  }

  /** A page of the moving space and of large objects, as it is now. */
  page(page: number): SteppedPage {
    this.#checkPage(page)
    const word = this.#native.pageWord(page)
    const [first, last] = this.#native.pageContent(page)
    return {
      page,
      kind: PAGE_KINDS[this.#native.pageKind(page)],
      state: PAGE_STATES[word & 3],
      builders: (word >>> 2) & 63,
      sources: first === undefined ? undefined : [first, last],
    }
  }

  /** The pages that this compaction brings about, lowest first; root areas aside. The cycle rests at 'compact' or 'close'. */
  pages(): SteppedPage[] {
    if (this.rest !== 'compact' && this.rest !== 'close') return []
    const pages: SteppedPage[] = []
    for (let page = 0; page < this.#pageCount; page++) {
      if (PAGE_KINDS[this.#native.pageKind(page)] !== 'empty') pages.push(this.page(page))
    }
    return pages
  }

  /** The collector builds and places one page; nothing happens to a page that is mapped. */
  compactPage(page: number): SteppedPage {
    this.#checkPage(page)
    this.#wantCompact('compactPage')
    this.#native.compactPage(page)
    return this.page(page)
  }

  /**
   * The collector works on a page up to `point` and stands still there until `releasePage`; meanwhile this thread may touch
   * any page. False: it had nothing to do there, or was done before it came to that point.
   */
  holdPage(page: number, point: Exclude<HoldPoint, 'looking' | 'overtaking'>): boolean {
    this.#checkPage(page)
    this.#wantCompact('holdPage')
    if (!HELD_AT.includes(point)) {
      throw new HeapError('ERR_BAD_VALUE', `holdPage holds a page at ${HELD_AT.join(', ')}; got ${show(point)}`)
    }
    return (this.#held = this.#native.holdPage(page, HOLD_POINTS.indexOf(point)))
  }
  /** Lets the collector finish the page that it was held at. */
  releasePage(): void {
    this.#heap._core.checkOpen()
    this.#native.releasePage()
    this.#held = false
  }

  /** This thread reads a word of a page now. True: the page was missing, and a fault built or placed it. */
  touch(page: number): boolean {
    this.#checkPage(page)
    return this.#heap._inspect(() => this.#native.touch(page))
  }

  /**
   * The collector and this thread work on one missing page at the same time, taking turns in `order`; when it has ended,
   * the collector goes first where both can go on. Who is done is passed over. `enabled` of the turns tells what other
   * orders there are. Faults must come as signals (`faults: 'sigbus'`).
   */
  interleave(page: number, order: readonly Actor[]): Turn[] {
    this.#checkPage(page)
    this.#wantCompact('interleave')
    if (this.#heap.capabilities.faults !== 'sigbus') {
      throw new HeapError(
        'ERR_OPTION',
        "interleave wants faults: 'sigbus': the thread that faults is the one that takes turns",
      )
    }
    const wrong = Array.from(order).find((actor) => !ACTORS.includes(actor))
    if (wrong !== undefined) {
      throw new HeapError('ERR_BAD_VALUE', `interleave gives turns to ${ACTORS.join(' and ')}; got ${show(wrong)}`)
    }
    const numbers = Uint8Array.from(order, (actor) => ACTORS.indexOf(actor))
    const turns = this.#heap._inspect(() => this.#native.interleave(page, numbers)) ?? []
    return turns.map(({ actor, from, enabled, before, after }) => ({
      actor: ACTORS[actor],
      from: HOLD_POINTS[from] as HoldPoint,
      enabled: ACTORS.filter((_, i) => (enabled >> i) & 1),
      before: PAGE_STATES[before & 3],
      after: PAGE_STATES[after & 3],
    }))
  }

  /** Lets the cycle run to its end. */
  finish(): void {
    if (this.rest !== 'idle') this.to('idle')
  }

  get #pageCount(): number {
    return (this.#native.heapBuffer.byteLength - this.#native.movingStart * 4) / PAGE_BYTES
  }
  #checkReleased(): void {
    this.#heap._core.checkOpen()
    if (!this.#held) return
    throw new HeapError('ERR_BAD_VALUE', 'the collector is held at a page: releasePage() lets the cycle go on')
  }
  #checkPage(page: number): void {
    this.#heap._core.checkOpen()
    if (Number.isInteger(page) && page >= 0 && page < this.#pageCount) return
    throw new HeapError('ERR_BOUNDS', `the heap has pages 0 to ${this.#pageCount - 1}; got ${show(page)}`)
  }
  #wantCompact(what: string): void {
    const { rest } = this
    if (rest !== 'compact')
      throw new HeapError('ERR_BAD_VALUE', `${what} wants a cycle that rests at 'compact'; it is at '${rest}'`)
  }
}
