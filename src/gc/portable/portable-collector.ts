// What the two portable collectors share: one thread, parked and running states, allocation, root areas, closing.
//
// A portable heap has no collector thread: a collection runs on the mutator's thread, inside a safepoint, and nobody can
// see an intermediate state. So `stopped` has nobody to stop and the poll word stays 0 (but under stress).

// Not the global of that name, which Node loads at its first use: one that a vm timeout cut off leaves undefined for ever.
import { performance } from 'node:perf_hooks'
import { HeapError } from '../../heap/errors.js'
import {
  GRANULE_BYTES,
  LARGE_BYTES,
  MAX_MUTATORS,
  MutatorWord,
  PAGE_BYTES,
  Running,
  Word,
  mutatorBlock,
} from '../../heap/layout.js'
import { roundUp, type PortableMemory, type Views } from '../../heap/memory.js'
import type { CheckedObserver, Collector, CollectorName, PhaseChange, RawStatistics, WordRange } from '../collector.js'
import { Histogram } from '../histogram.js'
import type { NativeBinding } from '../native.js'
import { loadNative } from '../native-loader.js'
import { PortableSpace } from './portable-space.js'
import { RootAreas } from './root-areas.js'

/** How many changes of phase are kept. */
const PHASE_CHANGES = 2048

export abstract class PortableCollector implements Collector {
  abstract readonly name: CollectorName
  readonly memory: PortableMemory
  protected readonly space: PortableSpace
  protected readonly views: Views
  readonly #allocationStalls = new Histogram()
  readonly #phases: PhaseChange[] = []
  protected observer: CheckedObserver | null = null
  protected mutators = 0
  /** True while a collection changes what there is no way back from; later on: one was cut off there. */
  protected torn = false
  readonly #areas: RootAreas
  /** Leaves `run` where a vm timeout skips `finally`; without native code nothing does. */
  readonly #frame = (loadNative().exports as unknown as NativeBinding | undefined)?.frame

  constructor(memory: PortableMemory, maxBytes: number) {
    this.memory = memory
    this.space = new PortableSpace(memory, maxBytes)
    this.views = this.space.views
    this.#areas = new RootAreas(memory, this.views)
  }

  abstract collect(mutator: number): number
  abstract collectAsync(): Promise<void>
  protected abstract allocateOrCollect(mutator: number, shapeId: number, word1: number, granules: number): number

  allocateSlow(mutator: number, shapeId: number, word1: number, granules: number): number {
    this.checkWhole()
    const before = this.views.control[Word.Cycles]
    const start = process.hrtime.bigint()
    const ref = this.allocateOrCollect(mutator, shapeId, word1, granules)
    // One that only took a fresh TLAB, or pages, waited for nothing.
    if (before !== this.views.control[Word.Cycles]) {
      this.#allocationStalls.recordNs(Number(process.hrtime.bigint() - start))
    }
    return ref
  }

  allocateReserved(mutator: number, shapeId: number, word1: number, granules: number): number {
    return this.space.allocateInTlab(mutator, shapeId, word1, granules)
  }

  attach(): number {
    return this.mutators < MAX_MUTATORS ? this.mutators++ : -1
  }
  detach(mutator: number): void {
    this.space.retireTlab(mutator)
  }

  run<T>(mutator: number, fn: () => T): T {
    this.checkWhole()
    const { control } = this.views
    const block = mutatorBlock(mutator)
    const before = control[block + MutatorWord.Running] // Parked: inside `parked`
    try {
      this.#enter(mutator)
      return this.#framed(mutator, fn, before)
    } finally {
      // As `closeTlab`, but without a call: the stack may have come to its end.
      control[block + MutatorWord.TlabLimit] = 0
      control[block + MutatorWord.ReservedEnd] = 0
      control[block + MutatorWord.Running] = before
    }
  }
  parked<T>(mutator: number, fn: () => T): T {
    this.checkWhole()
    const { control } = this.views
    const running = mutatorBlock(mutator) + MutatorWord.Running
    try {
      this.space.closeTlab(mutator)
      control[running] = Running.Outside
      return this.#framed(mutator, fn, Running.Inside)
    } finally {
      control[running] = Running.Inside
      this.space.openTlab(mutator) // where this cannot be called any more, the next allocation does it
    }
  }
  /** Every safepoint of a heap that was torn apart throws. Its allocators have no TLAB left, so they come here too. */
  protected checkWhole(): void {
    if (!this.torn) return
    throw new HeapError(
      'ERR_INVALID_HEAP',
      'a collection of this heap was cut off half way, by a vm timeout or an exception, and its objects are lost: ' +
        "close it and make another. Where a vm timeout may strike, collector: 'concurrent' is safe",
    )
  }
  #framed<T>(mutator: number, fn: () => T, running: number): T {
    const frame = this.#frame
    return frame === undefined ? fn() : frame(fn, this.views.control, mutatorBlock(mutator), running)
  }
  #enter(mutator: number): void {
    this.views.control[mutatorBlock(mutator) + MutatorWord.Running] = Running.Inside
    this.space.openTlab(mutator)
  }
  protected get isRunning(): boolean {
    for (let i = 0; i < this.mutators; i++)
      if (this.views.control[mutatorBlock(i) + MutatorWord.Running] === Running.Inside) return true
    return false
  }
  poll(mutator: number): void {
    this.checkWhole()
    this.space.endReservation(mutator)
  }

  createArea(kind: number, slots: number, owner: number): number {
    return this.#areas.create(kind, slots, owner)
  }
  freeArea(area: number): void {
    this.#areas.free(area)
  }

  step(mutator: number, _gates: number): number {
    this.collect(mutator)
    return this.views.control[Word.Phase]
  }

  stopped<T>(mutator: number, fn: () => T): T {
    this.checkWhole()
    this.space.closeTlab(mutator)
    try {
      return this.#framed(mutator, fn, Running.Inside)
    } finally {
      this.space.openTlab(mutator)
    }
  }

  defining<T>(fn: () => T): T {
    return fn()
  }

  /** Nothing runs beside a cycle of these collectors, so no store can miss its card. */
  checkCards(): string {
    return ''
  }
  statistics(): RawStatistics {
    const { control } = this.views
    return {
      counters: {
        collections: control[Word.Cycles],
        bytesAllocated: this.space.allocatedNow(this.mutators - 1),
        bytesUsed: this.space.usedBytes,
        largeObjects: this.space.large.size,
        ...this.counters(),
      },
      histograms: { allocationStall: this.#allocationStalls.summary(), ...this.histograms() },
    }
  }
  phaseLog(): readonly PhaseChange[] {
    return [...this.#phases]
  }
  /** Enters a phase in the log: its steps follow each other on this thread, while the program stands. */
  protected note(phase: PhaseChange['phase']): void {
    if (this.#phases.length === PHASE_CHANGES) this.#phases.splice(0, PHASE_CHANGES / 2)
    const { usedBytes } = this.space
    const { count } = this.#allocationStalls
    this.#phases.push({ at: performance.now(), phase, bytesUsed: usedBytes, barrierFaults: 0, allocationStalls: count })
  }
  protected counters(): { [name: string]: number } {
    return {}
  }
  protected histograms(): RawStatistics['histograms'] {
    return {}
  }

  withinBudget(bytes: number, maxBytes: number): boolean {
    return this.space.usedBytes + roundUp(bytes, bytes < LARGE_BYTES ? GRANULE_BYTES : PAGE_BYTES) <= maxBytes
  }
  freeRanges(): readonly WordRange[] {
    return this.space.freeRanges(this.mutators)
  }
  shareId(): number | null {
    return null
  }
  observe(observer: CheckedObserver): void {
    this.observer = observer
  }

  /** Nobody else has the heap: `close` ends all. */
  leave(): void {}
  /** Ordinary ArrayBuffers go back when the last view is collected; what the roots held must read as zero at once. */
  close(): void {
    this.#areas.zero()
  }
}
