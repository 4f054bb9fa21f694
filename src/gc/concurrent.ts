// The concurrent collector: native/core, seen through the Collector interface.
//
// Nothing here runs on a fast path: allocation slow paths, polls that were asked for, root areas, collections. Errors of
// the binding become HeapErrors with the same code; their errno and page stay on `cause`.

import { availableParallelism } from 'node:os'
import { constants } from 'node:buffer'
import { performance } from 'node:perf_hooks'
import { HeapError, type ErrorCode } from '../heap/errors.js'
import { LARGE_BYTES, PAGE_BYTES, PHASE_NAMES } from '../heap/layout.js'
import { roundUp, type HeapMemory } from '../heap/memory.js'
import type { ParsedOptions } from '../heap/options.js'
import type { Mode } from './capabilities.js'
import type { CheckedObserver, Collector, PhaseChange, RawStatistics, WordRange } from './collector.js'
import type { NativeBinding, NativeError, NativeHeap, NativeTuning } from './native.js'
import { anyOf, refusalOf } from './refusals.js'
import { unwatchListeners, watchListeners } from './signal-listeners.js'

/** Node 20 ends buffers at 4 GiB; later ones do not, but no view index may reach 2³¹: theirs end at 8 GiB here. */
const BUFFER_LIMIT = Math.min(constants.MAX_LENGTH, 8 * 2 ** 30)

let tuning: NativeTuning = {}
/** For heaps made from now on. Returns what was for them until now. */
export function setTuning(given: NativeTuning): NativeTuning {
  const before = tuning
  tuning = given
  return before
}

export class ConcurrentCollector implements Collector {
  readonly name = 'concurrent' as const
  readonly memory: HeapMemory
  readonly #native: NativeHeap
  /** True until this isolate leaves the heap, if faults come as signals. */
  #watching = false
  /** This thread's mutator block, −1 for none. */
  #mutator = -1
  /** This in `attachedHere`. */
  readonly #entry = new WeakRef<ConcurrentCollector>(this)

  private constructor(binding: NativeBinding, native: NativeHeap, faults: Mode['faults']) {
    this.#native = native
    this.memory = native
    if (faults !== 'sigbus') return
    watchListeners(binding)
    this.#watching = true
  }

  static create(binding: NativeBinding, options: ParsedOptions): ConcurrentCollector {
    const native = creating(options, () =>
      binding.create({
        maxBytes: options.maxBytes,
        maxRootBytes: options.maxRootBytes,
        bufferLimit: BUFFER_LIMIT,
        growth: options.growth,
        collectorThreads: options.collectorThreads || Math.min(availableParallelism(), 4),
        allThreads: options.collectorThreads === 0 ? 0 : 1,
        relocation: ['auto', 'move', 'copy'].indexOf(options.relocation),
        faults: options.faults === 'thread' ? 1 : 0,
        freshWindows: options.checked ? 1 : 0,
        protect: options.protect ? 1 : 0,
        stepping: options.stepping ? 1 : 0,
        verify: options.verify,
        ...tuning,
      }),
    )
    return new ConcurrentCollector(binding, native, options.faults)
  }
  /** The heap `id` of this process, from another isolate. */
  static open(binding: NativeBinding, id: number, faults: Mode['faults']): ConcurrentCollector {
    return new ConcurrentCollector(
      binding,
      translating(() => binding.open(id)),
      faults,
    )
  }

  attach(): number {
    // The stack may have come to its end between the two.
    if (this.#mutator < 0) this.#mutator = translating(() => this.#native.attach())
    if (this.#mutator >= 0) leaveAtExit(this.#entry)
    return this.#mutator
  }
  detach(mutator: number): void {
    this.#native.detach(mutator)
    this.#mutator = -1
  }
  /** The process, or this worker thread, is ending: out of `run`, whose callback will not return. */
  leaveRun(): void {
    if (this.#mutator >= 0) this.#native.leave(this.#mutator)
  }
  run<T>(mutator: number, fn: () => T): T {
    return this.#native.run(mutator, fn)
  }
  parked<T>(mutator: number, fn: () => T): T {
    return this.#native.parked(mutator, fn)
  }
  poll(mutator: number): void {
    try {
      this.#native.poll(mutator)
    } catch (error) {
      throw translated(error)
    }
  }
  allocateSlow(mutator: number, shapeId: number, word1: number, granules: number): number {
    try {
      return this.#native.allocate(mutator, shapeId, word1, granules)
    } catch (error) {
      throw translated(error)
    }
  }
  allocateReserved(mutator: number, shapeId: number, word1: number, granules: number): number {
    return this.#native.allocateReserved(mutator, shapeId, word1, granules)
  }
  createArea(kind: number, slots: number, owner: number, mayWait: boolean): number {
    if (!mayWait) return this.#native.createArea(kind, slots, owner)
    return this.#native.createArea(kind, slots, owner, this.#mutator)
  }
  freeArea(area: number): void {
    this.#native.freeArea(area)
  }
  collect(mutator: number): number {
    return translating(() => this.#native.collect(mutator))
  }
  async collectAsync(): Promise<void> {
    try {
      await this.#native.collectAsync()
    } catch (error) {
      throw translated(error)
    }
  }
  step(mutator: number, gates: number): number {
    return this.#native.step(mutator, gates)
  }
  stopped<T>(mutator: number, fn: () => T): T {
    return this.#native.stopped(mutator, fn)
  }
  defining<T>(fn: () => T): T {
    return this.#native.defining(fn)
  }
  statistics(): RawStatistics {
    return this.#native.stats()
  }
  phaseLog(): readonly PhaseChange[] {
    const flat = this.#native.phaseLog()
    const zero = zeroOfPerformance()
    return Array.from({ length: flat.length / 5 }, (_, i) => {
      const [ns, phase, bytesUsed, barrierFaults, allocationStalls] = flat.subarray(i * 5, i * 5 + 5)
      return { at: ns / 1e6 - zero, phase: PHASE_NAMES[phase], bytesUsed, barrierFaults, allocationStalls }
    })
  }
  checkCards(): string {
    return this.#native.checkCards()
  }
  withinBudget(bytes: number, maxBytes: number): boolean {
    // Small ones lack no addresses: what lies there moves together.
    return bytes >= LARGE_BYTES && this.statistics().counters['bytesUsed'] + roundUp(bytes, PAGE_BYTES) <= maxBytes
  }
  /** Free memory of this collector is recycled pages, zeroed when they are granted: nothing is promised about it. */
  freeRanges(): readonly WordRange[] {
    return []
  }
  shareId(): number {
    return this.#native.id
  }
  /** Objects move without a word to JavaScript; checked heaps retrace instead. */
  observe(_observer: CheckedObserver): void {}
  leave(): void {
    needNotLeave(this.#entry)
    if (this.#watching) unwatchListeners()
    this.#watching = false
  }
  close(): void {
    this.#native.close()
  }
}

// Node joins worker threads and waits for requests under way before it runs cleanup hooks, and those may wait for a cycle
// that waits for this thread: a process.exit inside run would never end. So the thread leaves in the exit event, which
// comes first. What later listeners do with the heap they do in runs of their own.

/**
 * The collectors with a mutator of this thread; weakly, as a heap that nobody closed goes with its last reference. One
 * listener for all: Node warns of more than ten.
 */
const attachedHere = new Set<WeakRef<ConcurrentCollector>>()
const leaveAll = (): void => attachedHere.forEach((entry) => entry.deref()?.leaveRun())

function leaveAtExit(entry: WeakRef<ConcurrentCollector>): void {
  if (attachedHere.size === 0) process.on('exit', leaveAll)
  attachedHere.add(entry)
  for (const known of attachedHere) if (known.deref() === undefined) attachedHere.delete(known)
}
function needNotLeave(entry: WeakRef<ConcurrentCollector>): void {
  attachedHere.delete(entry)
  if (attachedHere.size === 0) process.off('exit', leaveAll)
}

/** Node's performance.now() is CLOCK_MONOTONIC from another zero, in milliseconds, which is found by reading both. */
function zeroOfPerformance(): number {
  let zero = 0
  // Between two readings this thread may lose its processor, for longer than a whole phase lasts: the closest ones count.
  for (let i = 0, closest = Infinity; i < 10; i++) {
    const before = performance.now()
    const monotonic = Number(process.hrtime.bigint()) / 1e6
    const apart = performance.now() - before
    if (apart >= closest) continue
    closest = apart
    zero = monotonic - before - apart / 2
  }
  return zero
}

/** What the system refuses at creation has reasons of its own, and remedies. */
function creating<T>(options: ParsedOptions, call: () => T): T {
  try {
    return call()
  } catch (error) {
    const refusal = refusalOf(error, options)
    if (refusal === undefined) throw translated(error)
    // A protected heap is not to be had from another collector.
    const remedies = options.protect ? refusal.remedies : [...refusal.remedies, "use collector: 'stop-the-world'"]
    const message = remedies.length > 0 ? `${refusal.reason}: ${anyOf(remedies)}` : refusal.reason
    throw new HeapError(refusal.code, message, { cause: error })
  }
}

function translating<T>(call: () => T): T {
  try {
    return call()
  } catch (error) {
    throw translated(error)
  }
}

function translated(error: unknown): unknown {
  const { code, message } = error as NativeError
  if (typeof code !== 'string' || !code.startsWith('ERR_')) return error
  return new HeapError(code as ErrorCode, message, { cause: error })
}
