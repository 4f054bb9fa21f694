// One thread's part of an episode: its workloads, interleaved step by step, checked now and then, with collections asked
// for at random moments.
//
// What is done is drawn from the seed alone; how much of it, the clock decides. A heap that is full is no failure: the
// workload that met it lets go of everything (so does every other one of this thread if that was not enough) and goes on.
// Full again right after all of that, with nobody else to fill it, is a failure: live data would fit.

import { HeapError, type Heap, type Mutator } from '../../index.js'
import { Random } from '../../testing.js'
import type { EpisodePlan } from './plan.js'
import { emptyTally, type Tally } from './tally.js'
import { fitting, Mismatch, type Activity, type ExchangeTable } from './workload.js'
import { WORKLOADS } from './workloads.js'

const SLICE_MS = 40

export class Driver {
  readonly tally: Tally = emptyTally()
  /** Nothing more can be done in this heap (`none` and full). */
  finished = false
  readonly #heap: Heap
  readonly #plan: EpisodePlan
  readonly #random: Random
  readonly #activities: Activity[]
  /** Steps until an activity is checked: as long as a check takes many steps' time, checks stay a part of the work. */
  readonly #untilCheck: number[]
  #fullInARow = 0

  constructor(heap: Heap, plan: EpisodePlan, thread: number, exchange: ExchangeTable) {
    this.#heap = heap
    this.#plan = plan
    const { random, collects } = {
      random: new Random(plan.seed + 7919 * (thread + 1)),
      collects: collectsOf(heap) && plan.young < 2,
    }
    this.#random = random
    const asked = WORKLOADS.filter(({ name }) => plan.workloads.includes(name))
    const workloads = fitting(asked, plan.seed, heap.capabilities.sharing ? plan.mutators : 1)
    // Live data fills up to a half of the heap; the largest objects must still find a place.
    const share = random.pick([0.05, 0.2, 0.35, 0.5])
    const budget = Math.floor((Number(plan.heap.maxBytes) * share) / plan.mutators / workloads.length)
    this.#activities = heap.run((m) =>
      workloads.map((workload) => {
        const own = new Random(random.next())
        return workload.start({ heap, random: own, budget, exchange, collects }, m)
      }),
    )
    this.#untilCheck = this.#activities.map(() => random.below(500))
  }

  /** Works for a moment, then lets the event loop have its turn. */
  slice(): void {
    const end = performance.now() + SLICE_MS
    while (!this.finished && performance.now() < end) {
      const steps = 20 + this.#random.below(400)
      this.#heap.run((m) => {
        for (let i = 0; i < steps && !this.finished; i++) this.#step(m)
      })
      this.#between()
    }
  }

  #step(m: Mutator): void {
    const k = this.#random.below(this.#activities.length)
    const activity = this.#activities[k]
    this.tally.steps++
    try {
      activity.step(m)
      if (--this.#untilCheck[k] < 0) {
        this.#untilCheck[k] = 200 + this.#random.below(2000)
        this.#check(m, activity)
      }
      this.#fullInARow = Math.max(0, this.#fullInARow - 0.01)
    } catch (error) {
      if (!(error instanceof HeapError) || error.code !== 'ERR_HEAP_EXHAUSTED') throw error
      this.#letGo(m, activity, error)
    }
  }

  #check(m: Mutator, activity: Activity): void {
    activity.check(m)
    this.tally.modelChecks++
  }

  #letGo(m: Mutator, activity: Activity, error: HeapError): void {
    this.tally.exhausted++
    if (!collectsOf(this.#heap)) {
      this.finished = true
      return
    }
    this.#fullInARow++
    if (this.#plan.mutators === 1 && this.#fullInARow > 3) {
      throw new Mismatch(`the heap is full after everything was let go of: ${error.message}`)
    }
    // The heap must be intact: everybody else's structures are.
    for (const other of this.#activities) if (other !== activity) this.#check(m, other)
    if (this.#fullInARow >= 2) for (const other of this.#activities) other.reset(m)
    else activity.reset(m)
  }

  /** Outside run. */
  #between(): void {
    const { random, heap } = { random: this.#random, heap: this.#heap }
    const choice = random.below(40)
    if (choice === 0) heap.collectSync()
    // Not waited for: the cycle runs beside the next steps. Its errors surface at the end of the episode.
    else if (choice === 1) this.#background(heap.collect())
    else if (choice === 2 && this.#plan.verify > 0) this.#verify()
    else if (choice === 3) heap.run((m) => m.parked(() => void 0))
  }

  readonly #pending = new Set<Promise<void>>()
  #failure: unknown = undefined
  #background(collection: Promise<void>): void {
    const settled = collection
      .catch((error: unknown) => void (this.#failure ??= error))
      .finally(() => this.#pending.delete(settled))
    this.#pending.add(settled)
  }

  #verify(): void {
    this.#heap.assertValid()
    if (this.tally.heapChecks % 4 === 0) this.#compareWalks()
    this.tally.heapChecks++
  }

  /** Verification and inspection walk the heap each in its own way. Both while all threads stand still. */
  #compareWalks(): void {
    const heap = this.#heap
    heap.pathTo(() => {
      const verified = heap.verify()
      const counted = heap.census()
      if (verified.objects === counted.objects && verified.bytes === counted.bytes) return true
      throw new Mismatch(
        `verify reached ${verified.objects} objects of ${verified.bytes} bytes, a census ${counted.objects} of ${counted.bytes}`,
      )
    })
  }

  /** The last checks: everything, after a whole collection. */
  async finish(): Promise<void> {
    while (this.#pending.size > 0) await Promise.all(this.#pending)
    if (this.#failure !== undefined) throw this.#failure
    this.#heap.collectSync()
    this.#heap.run((m) => {
      for (const activity of this.#activities) this.#check(m, activity)
    })
    this.#verify()
  }
}

function collectsOf(heap: Heap): boolean {
  return heap.capabilities.collector !== 'none'
}
