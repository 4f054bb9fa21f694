// The portable collector: stop-the-world mark–compact by sliding, in plain TypeScript. Also the oracle for the native
// one, so it is written to be clearly right rather than fast.
//
// One collection, on the mutator's own thread at a safepoint:
//   mark     from the strong root areas; live-word bits for the moving space, a flag for large objects
//   offsets  exclusive scan of the live bits: every live object's new address is known, nothing has moved yet
//   clear    weak slots whose objects are dead; what is guarded and due is handed over (weak-slots.ts)
//   update   every reference (roots, live objects, large objects) is forwarded exactly once (invariant 2)
//   slide    runs of live words move down, in address order, so no run overwrites one that has not moved
//   zero     everything above the new top; dead large objects; root areas at and above their tops
//
// Checked heaps slide into a fresh window of addresses instead of to the bottom, so that a stale Ref finds no object, while
// there are addresses for what is live; then from the bottom again.
//
// It may be cut off anywhere, by a vm timeout (for which no `finally` runs) or an exception. Up to `offsets` nothing of the
// program's has changed, and the next collection begins afresh. From `clear` on there is no way back: the heap is torn, and
// says so for ever after. The one exception that a program goes on after, a stack overflow, is met before anything is begun.
//
// Growth: a collection starts when `usedBytes` would pass the threshold; after it the threshold is `growth` times what
// is live (at least an eighth of maxBytes, and 1 MiB), never more than maxBytes. Exhausted means: even after a collection it does not fit.

import { promisify } from 'node:util'
import {
  FLAG_BITS,
  GRANULE_BYTES,
  PAGE_BYTES,
  SLOT_MAP_BASE,
  AreaKind,
  AreaWord,
  ShapeKind,
  ShapeWord,
  Tag,
  Word,
  areaBlock,
  isWeakArea,
  liveSlots,
  slotWords,
} from '../../heap/layout.js'
import { roundUp, type PortableMemory } from '../../heap/memory.js'
import type { ParsedOptions } from '../../heap/options.js'
import { probeStack } from '../../heap/stack-probe.js'
import type { RawStatistics } from '../collector.js'
import { Histogram } from '../histogram.js'
import { LiveMap } from './live-map.js'
import { PortableCollector } from './portable-collector.js'
import { entryOf, granulesAt } from '../shape-reader.js'
import { WeakSlots } from './weak-slots.js'

const PAGE_WORDS = PAGE_BYTES / 4
const nextTurn = promisify(setImmediate)
/** Calls of {@link probeStack} that take more stack than a collection, with the compilation of its functions. */
const STACK_PROBE = 1000

export class StopTheWorldCollector extends PortableCollector {
  readonly name = 'stop-the-world' as const
  readonly #live: LiveMap
  readonly #checked: boolean
  readonly #growth: number
  readonly #pauses = new Histogram()
  readonly #weak: WeakSlots
  /** Mark stack: objects that are marked and not yet scanned. */
  #pending = new Int32Array(1 << 12)
  #pendingCount = 0
  /** From the start of a mark until its marks are used up: if there are any at the next, they are of one that was cut off. */
  #marking = false
  #threshold: number
  #liveBytes = 0
  #wordsCopied = 0
  #wordsKept = 0
  #objectsMarked = 0
  #weakCleared = 0
  #guardedDue = 0

  constructor(
    memory: PortableMemory,
    { maxBytes, growth, checked }: Pick<ParsedOptions, 'maxBytes' | 'growth' | 'checked'>,
  ) {
    super(memory, maxBytes)
    this.#checked = checked
    this.#growth = growth
    this.#live = new LiveMap(memory.geometry.movingStart, memory.geometry.end)
    this.#weak = new WeakSlots(this.views, {
      isMarked: (ref) => this.#isLiveObject(ref),
      mark: (ref) => this.#markRef(ref),
    })
    this.#threshold = this.#minThreshold
  }

  get #minThreshold(): number {
    return Math.max(this.space.maxBytes / 8, 1 << 20)
  }

  protected allocateOrCollect(mutator: number, shapeId: number, word1: number, granules: number): number {
    const { space } = this
    let ref = space.allocate(mutator, shapeId, word1, granules, this.#threshold)
    if (ref !== 0) return ref
    this.collect(mutator)
    ref = space.allocate(mutator, shapeId, word1, granules, this.#threshold)
    if (ref !== 0) return ref
    ref = space.allocate(mutator, shapeId, word1, granules, space.maxBytes)
    const bytes = granules * GRANULE_BYTES
    if (ref === 0 && space.windowStart !== space.movingStart && this.withinBudget(bytes, space.maxBytes)) {
      // The addresses that it would take are below the window, where no object lies any more.
      this.#collect(true)
      ref = space.allocate(mutator, shapeId, word1, granules, space.maxBytes)
    }
    this.#threshold = Math.min(space.maxBytes, Math.max(this.#threshold, space.usedBytes + this.#minThreshold))
    return ref
  }

  async collectAsync(): Promise<void> {
    // A collection moves objects, so it may not start inside `run`. A microtask is outside, unless somebody there drains the queue.
    await Promise.resolve()
    if (this.isRunning) await nextTurn()
    this.collect(-1)
  }

  collect(_mutator: number): number {
    return this.#collect(false)
  }

  #collect(toBottom: boolean): number {
    this.checkWhole()
    probeStack(STACK_PROBE)
    const start = process.hrtime.bigint()
    const { space, views } = this
    const { control } = views
    for (let i = 0; i < this.mutators; i++) space.retireTlab(i)
    const oldStart = space.windowStart
    const oldTop = space.top

    this.note('mark')
    if (this.#marking) this.#forgetMarks()
    this.#marking = true
    this.#mark()
    this.note('prepare')
    const liveWords = this.#live.computeOffsets(oldStart, oldTop) * 2
    const newStart = toBottom ? space.movingStart : this.#nextWindow(liveWords)
    const newTop = newStart + liveWords
    this.#live.slideTo(newStart)
    this.note('compact')
    this.torn = true
    this.#clearDead()
    this.#updateRoots()
    this.#updateObjects(oldStart, oldTop)
    const largeBytes = space.sweepLarge()
    this.#slide(oldStart, oldTop)
    if (newStart === oldStart) views.i32.fill(0, newTop, oldTop)
    else views.i32.fill(0, newStart < oldStart ? Math.max(oldStart, newTop) : oldStart, oldTop)
    this.#zeroRootsAboveTops()
    this.#live.clear(oldStart, oldTop)
    this.#marking = false

    this.#liveBytes = (newTop - newStart) * 4 + largeBytes
    space.setWindow(newStart, newTop, this.#liveBytes)
    for (let i = 0; i < this.mutators; i++) space.closeTlab(i)
    this.#threshold = Math.min(space.maxBytes, Math.max(this.#minThreshold, this.#liveBytes * this.#growth))
    control[Word.Epoch]++
    control[Word.Cycles]++
    this.#tellObserver(newStart, newTop)
    this.torn = false
    this.note('idle')
    this.#pauses.recordNs(Number(process.hrtime.bigint() - start))
    return control[Word.Cycles]
  }

  // ---- mark

  /** Those of a mark that was cut off. */
  #forgetMarks(): void {
    const { space } = this
    this.#pendingCount = 0
    this.#weak.forget()
    this.#live.clear(space.windowStart, space.top)
    for (const object of space.large.values()) object.marked = false
  }

  #mark(): void {
    this.#forEachRoot(false, (ref) => this.#markRef(ref))
    this.#trace()
    const due = this.#weak.findDead()
    if (due.length === 0) return
    for (const ref of due) this.#markRef(ref)
    this.#trace()
    this.#weak.findDead()
  }

  #trace(): void {
    const { i32 } = this.views
    const markSlot = (word: number): void => this.#markRef(i32[word])
    while (this.#pendingCount > 0) {
      const ref = this.#pending[--this.#pendingCount]
      this.#weak.markValuesOf(ref)
      if (!this.#weak.takes(ref)) this.#forEachSlot(ref, markSlot)
    }
  }

  #markRef(ref: number): void {
    const { space, views } = this
    if (space.isLarge(ref)) {
      const object = space.large.get(ref)
      if (object === undefined || object.marked) return
      object.marked = true
    } else {
      if (this.#live.isLive(ref)) return
      this.#live.setLive(ref, granulesAt(views.control, views.i32, ref))
    }
    this.#objectsMarked++
    if (this.#pendingCount === this.#pending.length) {
      const grown = new Int32Array(this.#pending.length * 2)
      grown.set(this.#pending)
      this.#pending = grown
    }
    this.#pending[this.#pendingCount++] = ref
  }

  #isLiveObject(ref: number): boolean {
    return this.space.isLarge(ref) ? (this.space.large.get(ref)?.marked ?? false) : this.#live.isLive(ref)
  }

  // ---- where references are

  /** Calls back with the word index of every non-null reference in the object at `ref`. */
  #forEachSlot(ref: number, visit: (word: number) => void): void {
    const { control, i32 } = this.views
    const entry = entryOf(i32[ref])
    switch (control[entry + ShapeWord.Kind]) {
      case ShapeKind.Fixed: {
        const start = SLOT_MAP_BASE + control[entry + ShapeWord.SlotStart]
        const end = start + control[entry + ShapeWord.SlotCount]
        for (let i = start; i < end; i++) {
          const word = ref + (control[i] >>> 3)
          if ((control[i] & 1) === 0 ? i32[word] !== 0 : i32[word + 1] === Tag.Ref) visit(word)
        }
        return
      }
      case ShapeKind.ArrayRef: {
        const end = ref + 2 + (i32[ref + 1] >>> FLAG_BITS)
        for (let word = ref + 2; word < end; word++) if (i32[word] !== 0) visit(word)
        return
      }
      case ShapeKind.ArrayValue: {
        const end = ref + 2 + 2 * (i32[ref + 1] >>> FLAG_BITS)
        for (let word = ref + 2; word < end; word += 2) if (i32[word + 1] === Tag.Ref) visit(word)
      }
    }
  }

  /** Calls back with each non-null reference of a live root slot, weak or not, and stores what it returns, if that is a number. */
  #forEachRoot(withWeak: boolean, visit: (ref: number) => number | void): void {
    const { control, rootsI32 } = this.views
    for (let a = 0; a < control[Word.AreaCount]; a++) {
      const block = areaBlock(a)
      const kind = control[block + AreaWord.Kind]
      if (kind === AreaKind.Free || (isWeakArea(kind) && !withWeak)) continue
      const step = slotWords(kind)
      const start = control[block + AreaWord.Start]
      const end = start + liveSlots(control, a) * step
      for (let word = start; word < end; word += step) {
        if (step === 1 ? rootsI32[word] === 0 : rootsI32[word + 1] !== Tag.Ref) continue
        const forwarded = visit(rootsI32[word])
        if (forwarded !== undefined) rootsI32[word] = forwarded
      }
    }
  }

  // ---- update, slide

  #forward(ref: number): number {
    return this.space.isLarge(ref) ? ref : this.#live.forward(ref)
  }

  #clearDead(): void {
    const { cleared, due } = this.#weak.clearDead()
    this.#weakCleared += cleared
    this.#guardedDue += due
  }

  #updateRoots(): void {
    this.#forEachRoot(true, (ref) => this.#forward(ref))
  }

  #updateObjects(start: number, end: number): void {
    const { control, i32 } = this.views
    const update = (word: number): void => {
      i32[word] = this.#forward(i32[word])
    }
    this.#live.forEachRun(start, end, (runStart, runEnd) => {
      let ref = runStart
      while (ref < runEnd) {
        this.#forEachSlot(ref, update)
        ref += granulesAt(control, i32, ref) * 2
      }
    })
    for (const object of this.space.large.values()) if (object.marked) this.#forEachSlot(object.ref, update)
  }

  #slide(start: number, end: number): void {
    const { i32 } = this.views
    this.#live.forEachRun(start, end, (runStart, runEnd) => {
      const target = this.#live.forward(runStart)
      const words = runEnd - runStart
      if (target === runStart) {
        this.#wordsKept += words
        return
      }
      this.#wordsCopied += words
      i32.copyWithin(target, runStart, runEnd)
    })
  }

  /** Where live objects slide to: the bottom, or for checked heaps addresses that were not in use lately. */
  #nextWindow(liveWords: number): number {
    const { space } = this
    if (!this.#checked) return space.movingStart
    const next = roundUp(space.top, PAGE_WORDS)
    // With room for what is allocated before the next collection, so that fresh windows do not make those more frequent.
    return next + liveWords + this.#minThreshold / 4 <= space.movingLimit ? next : space.movingStart
  }

  #zeroRootsAboveTops(): void {
    const { control, rootsI32 } = this.views
    for (let a = 0; a < control[Word.AreaCount]; a++) {
      const block = areaBlock(a)
      const kind = control[block + AreaWord.Kind]
      if (kind === AreaKind.Free) continue
      const start = control[block + AreaWord.Start]
      const step = slotWords(kind)
      rootsI32.fill(0, start + liveSlots(control, a) * step, start + control[block + AreaWord.Capacity] * step)
    }
  }

  #tellObserver(start: number, end: number): void {
    const { observer, space } = this
    if (observer === null) return
    const { control, i32 } = this.views
    observer.forgetObjects()
    for (let ref = start; ref < end; ref += granulesAt(control, i32, ref) * 2) observer.objectAt(ref)
    for (const object of space.large.values()) observer.objectAt(object.ref)
  }

  protected override counters(): { [name: string]: number } {
    return {
      bytesLive: this.#liveBytes,
      objectsMarked: this.#objectsMarked,
      weakCleared: this.#weakCleared,
      guardedDue: this.#guardedDue,
      pagesCopied: Math.ceil(this.#wordsCopied / PAGE_WORDS),
      pagesKept: Math.floor(this.#wordsKept / PAGE_WORDS),
    }
  }
  protected override histograms(): RawStatistics['histograms'] {
    return { pause: this.#pauses.summary() }
  }
}
