// Runs one episode: makes the heap, hands it to the threads, works, checks, closes.
//
// Runs in the process that supervisor.ts started. The thread that owns the heap is mutator 0; the others are worker threads
// that attach for the episode and leave it, kept from one episode to the next because starting one costs longer than
// many an episode's work.

import { once } from 'node:events'
import { setImmediate } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import type { NativeBinding } from '../../gc/native.js'
import { loadNative } from '../../gc/native-loader.js'
import { Heap, type HeapToken } from '../../index.js'
import { tuned } from '../../testing.js'
import { differential } from './differential.js'
import { Driver } from './driver.js'
import type { EpisodePlan } from './plan.js'
import { add, countHeap, emptyTally, type Tally } from './tally.js'
import type { ExchangeTable } from './workload.js'

const EXCHANGE_SLOTS = 64

/** From the owner to a worker thread. */
export interface ThreadTask {
  readonly token: HeapToken
  readonly plan: EpisodePlan
  readonly thread: number
  readonly exchange: ExchangeTable
}
/** And back. */
export interface ThreadResult {
  readonly tally: Tally
  readonly failure?: string
}

const workers: Worker[] = []
const binding = (): NativeBinding | undefined => loadNative().exports as unknown as NativeBinding | undefined

/** Runs it and tells what was exercised; throws what went wrong. `beat` is called as long as this thread makes progress. */
export async function runEpisode(plan: EpisodePlan, beat: () => void): Promise<Tally> {
  const tally = emptyTally()
  const wrong = binding()?.configureInjection(plan.inject, plan.seed)
  if (wrong !== undefined) throw new Error(wrong)
  const workloads = plan.workloads.filter((name) => name !== 'differential')
  if (workloads.length < plan.workloads.length) await differential(plan, workloads.length === 0, tally, beat)
  if (workloads.length > 0) await overOneHeap({ ...plan, workloads }, tally, beat)
  for (const count of Object.values(binding()?.injectionCounts() ?? {})) tally.injected += count
  return tally
}

async function overOneHeap(plan: EpisodePlan, tally: Tally, beat: () => void): Promise<void> {
  const { young, overdraft, retentionMs } = plan
  const heap = tuned({ reuse: plan.reuse, young, overdraft, retentionMs }, () => Heap.create(plan.heap))
  const mutators = heap.capabilities.sharing ? plan.mutators : 1
  const exchange = exchangeTable(heap)
  const driver = new Driver(heap, plan, 0, exchange)
  const others: Promise<ThreadResult>[] = []
  for (let thread = 1; thread < mutators; thread++) {
    others.push(inThread({ token: heap.share(), plan, thread, exchange }))
  }
  const end = performance.now() + plan.ms
  while (performance.now() < end && !driver.finished) {
    driver.slice()
    beat()
    await setImmediate()
  }
  for (const { tally: theirs, failure } of await Promise.all(others)) {
    if (failure !== undefined) throw new Error(failure)
    add(tally, theirs)
  }
  beat()
  await driver.finish()
  add(tally, driver.tally)
  add(tally, countHeap(heap))
  heap.close()
}

/** Slots that all threads exchange; none in checked heaps, whose views do not take atomic operations. */
function exchangeTable(heap: Heap): ExchangeTable {
  if (heap.options.checked) return { base: 0, slots: 0 }
  return heap.run((m) => {
    const table = m.roots.table('ref', EXCHANGE_SLOTS)
    table.top = EXCHANGE_SLOTS
    return { base: table.base, slots: EXCHANGE_SLOTS }
  })
}

async function inThread(task: ThreadTask): Promise<ThreadResult> {
  const index = task.thread - 1
  const worker = (workers[index] ??= new Worker(new URL('./thread.js', import.meta.url)))
  worker.postMessage(task)
  const [result] = (await once(worker, 'message')) as [ThreadResult]
  return result
}

export async function stopThreads(): Promise<void> {
  await Promise.all(workers.splice(0).map((worker) => worker.terminate()))
}
