// How long the program stands still, against the size of the heap and the number of roots.
//
// The claim to test: remark and flip depend on neither. A heap is filled with lists that hang from one large array of
// references, and from a table of handles; then, for some seconds, random lists are replaced while collections follow each
// other. The collector measures the work of each pause, and the mutator's stop as the mutator feels it: from its arrival
// until it runs again. A mutator that waits for memory at that moment is not stopped.
//
// Heaps have room for twice their live data, the largest for a third more: 4 GiB is as large as a heap gets.
//
// stop-the-world stands beside it: its pause is a whole collection.

import { Heap, type HeapOptions } from 'glissade'
import type { Bench, Case } from './bench.js'
import { heapFigures, peakRssMiB, stopwatch } from './measure.js'
import type { Outcome } from './rows.js'
import { StepClock } from './step-clock.js'
import { collectorsHere } from './systems.js'

const MiB = 2 ** 20
const LIST = 1000
const NODE_BYTES = 24

interface Parameters {
  readonly liveMiB: number
  readonly handles: number
  readonly seconds: number
}

/** The largest heap there can be; three quarters of it are live in the largest case. */
const LARGEST_MIB = 4096

function cases(quick: boolean, systems: readonly string[]): Case[] {
  const sizes = quick ? [16, 128] : [16, 256, 1024, (LARGEST_MIB * 3) / 4]
  const roots = quick ? [10, 1_000_000] : [10, 1000, 100_000, 1_000_000]
  const seconds = (liveMiB: number): number => (quick ? 1 : liveMiB > 256 ? 16 : 8)
  const of = (system: string, liveMiB: number, handles: number): Case => ({
    bench: 'pauses',
    workload: `${liveMiB} MiB live, ${handles} handles`,
    system,
    parameters: { liveMiB, handles, seconds: seconds(liveMiB) },
    runs: 3,
  })
  const all = sizes.flatMap((size) => roots.flatMap((handles) => systems.map((system) => of(system, size, handles))))
  // The portable collector's pauses grow with the heap, as one row to each size shows.
  return all.filter(({ system, parameters: { liveMiB, handles } }) => {
    return system === 'concurrent' || (handles === 10 && (liveMiB as number) <= 256)
  })
}

function run({ system, parameters }: Case): Outcome {
  const { liveMiB, handles, seconds } = parameters as unknown as Parameters
  const live = liveMiB * MiB
  const elapsed = stopwatch()
  using heap = Heap.create({
    maxBytes: Math.min(Math.max(64 * MiB, live * 2), LARGEST_MIB * MiB),
    maxRootBytes: '64m',
    collector: system as HeapOptions['collector'],
  })
  const node = heap.defineShape('Node', { left: 'ref', right: 'ref', key: 'f64' })
  const refs = heap.defineArray('Refs', 'ref')
  const lists = Math.floor(live / NODE_BYTES / LIST)
  const clock = new StepClock()
  heap.run((m) => {
    const { i32, rootsI32, cards, control, pollIndex } = m
    const table = m.roots.table('ref', handles)
    const stack = m.roots.stack('ref', 16)
    const allocate = m.allocator(node)
    const { base } = stack
    const { left } = node.at
    stack.top = 2
    rootsI32[base] = m.allocArray(refs, lists)

    /** Replaces list `slot` by a new one. The list under construction lives in a root slot across allocations. */
    const replace = (slot: number): void => {
      rootsI32[base + 1] = 0
      for (let i = 0; i < LIST; i++) {
        const made = allocate()
        i32[made + left] = rootsI32[base + 1]
        cards[(made + left) >>> 8] = 1
        rootsI32[base + 1] = made
      }
      const at = rootsI32[base] + refs.elementsAt + slot
      i32[at] = rootsI32[base + 1]
      cards[at >>> 8] = 1
    }
    for (let slot = 0; slot < lists; slot++) replace(slot)
    for (let h = 0; h < handles; h++) table.set(h, i32[rootsI32[base] + refs.elementsAt + (h % lists)] as never)
    heap.collectSync()

    let random = 12345
    const end = performance.now() + seconds * 1000
    clock.start()
    while (performance.now() < end) {
      random = (Math.imul(random, 1103515245) + 12345) & 0x7fffffff
      // Lists that a handle holds as well stay alive until the handle goes: take those beyond, where there are any.
      replace(handles < lists ? handles + (random % (lists - handles)) : random % lists)
      if (control[pollIndex] !== 0) m.poll()
      clock.step()
    }
  })
  const { figures, histograms, series } = heapFigures(heap)
  return {
    figures: { ...elapsed(), peakRssMiB: peakRssMiB(), stepsPerS: clock.steps / seconds, ...figures },
    histograms: { latencyUs: clock.latency(), ...histograms },
    series: { latency: clock.curve(), mmu: clock.mmu(), ...series },
  }
}

export const pauses: Bench = {
  name: 'pauses',
  summary: 'remark and flip against the size of the heap and the number of roots',
  cases: ({ quick }, skip) => cases(quick, collectorsHere(['concurrent', 'stop-the-world'], skip)),
  run,
}
