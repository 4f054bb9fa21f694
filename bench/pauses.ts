// How long the program stands still, against the size of the heap and the number of roots.
//
// The claim to test: remark and flip depend on neither, and on weak slots only where these die. A heap is filled with lists
// that hang from one large array of references, and from a table of handles; then, for some seconds, random lists are
// replaced, in the array and wherever a handle holds them, while collections follow each other. The collector measures the
// work of each pause, and the mutator's stop as the mutator feels it: from its arrival until it runs again. A mutator that
// waits for memory at that moment is not stopped. Every collection compacts here: lists leave holes that would mostly do
// without a flip, and the flip is what is to be measured.
//
// A weak array lies beside the lists of one of the heaps: of its slots the even ones are stored into whenever their list is
// replaced, the odd ones keep what they hold until a collection finds it dead and clears them.
//
// Heaps have room for twice their live data, the largest for a third more: 4 GiB is as large as a heap gets. Beside it stand
// stop-the-world, whose pause is a whole collection, and the same program on plain objects and in Java.

import { Heap, type HeapOptions } from 'glissade'
import { tuned } from 'glissade/testing'
import type { Bench, Case } from './bench.js'
import { heapFigures, histogramOf, peakRssMiB, stopwatch, summarise, watchV8 } from './measure.js'
import { isPeer, JAVA, peersHere, runPeer } from './peers.js'
import type { Outcome } from './rows.js'
import { StepClock } from './step-clock.js'
import { collectorsHere } from './systems.js'
import { randomNumbers } from './workload.js'

const MiB = 2 ** 20
const LIST = 1000
const NODE_BYTES = 24
/** The largest heap there can be; three quarters of it are live in the largest case. */
const LARGEST_MIB = 4096
const FEW_HANDLES = 10
/** Live data up to which the other systems run: of 4 GiB their collections take seconds, and show nothing new. */
const COMPARED_MIB = 1024
/** The portable collector's pauses grow with the heap, as two sizes show. */
const PORTABLE_MIB = 256

interface Parameters {
  readonly liveMiB: number
  readonly handles: number
  readonly weak: number
  readonly seconds: number
  readonly [name: string]: number
}

function cases(quick: boolean, collectors: readonly string[]): Case[] {
  const sizes = quick ? [16, 128] : [16, 256, 1024, (LARGEST_MIB * 3) / 4]
  const roots = quick ? [FEW_HANDLES, 1_000_000] : [FEW_HANDLES, 1000, 100_000, 1_000_000]
  const seconds = (liveMiB: number): number => (quick ? 1 : liveMiB > 256 ? 16 : 8)
  const runsOn = (system: string, liveMiB: number, handles: number): boolean => {
    if (system === 'concurrent') return true
    const most = quick ? sizes[0] : system === 'stop-the-world' ? PORTABLE_MIB : COMPARED_MIB
    return handles === FEW_HANDLES && liveMiB <= most
  }
  const made = (system: string, workload: string, parameters: Omit<Parameters, 'seconds'>): Case => ({
    bench: 'pauses',
    workload,
    system,
    parameters: { ...parameters, seconds: seconds(parameters.liveMiB), quick },
    runs: 3,
  })
  const [, liveMiB] = sizes
  const weakSlots = !collectors.includes('concurrent') ? [] : quick ? [1_000_000] : [1000, 100_000, 1_000_000]
  return [
    ...sizes.flatMap((liveMiB) =>
      roots.flatMap((handles) =>
        [...collectors, 'v8', ...JAVA]
          .filter((system) => runsOn(system, liveMiB, handles))
          .map((system) => made(system, `${liveMiB} MiB live, ${handles} handles`, { liveMiB, handles, weak: 0 })),
      ),
    ),
    ...weakSlots.map((weak) =>
      made('concurrent', `${liveMiB} MiB live, ${weak} weak slots`, { liveMiB, handles: FEW_HANDLES, weak }),
    ),
  ]
}

const listsOf = (liveMiB: number): number => Math.floor((liveMiB * MiB) / NODE_BYTES / LIST)

function onHeap(heap: Heap, clock: StepClock, { liveMiB, handles, weak, seconds }: Parameters): void {
  const node = heap.defineShape('Node', { left: 'ref', right: 'ref', key: 'f64' })
  const refs = heap.defineArray('Refs', 'ref')
  const weakRefs = heap.defineArray('WeakRefs', 'ref', { weak: 'elements' })
  const lists = listsOf(liveMiB)
  heap.run((m) => {
    const { i32, rootsI32, cards, control, pollIndex } = m
    const table = m.roots.table('ref', handles)
    const stack = m.roots.stack('ref', 16)
    const allocate = m.allocator(node)
    const { base } = stack
    const { left } = node.at
    stack.top = 3
    rootsI32[base] = m.allocArray(refs, lists)
    rootsI32[base + 2] = m.allocArray(weakRefs, weak)

    /** Replaces list `slot` by a new one. The list under construction lives in a root slot across allocations. */
    const replace = (slot: number): void => {
      rootsI32[base + 1] = 0
      for (let i = 0; i < LIST; i++) {
        const made = allocate()
        i32[made + left] = rootsI32[base + 1]
        rootsI32[base + 1] = made
      }
      const at = rootsI32[base] + refs.elementsAt + slot
      i32[at] = rootsI32[base + 1]
      cards[at >>> 8] = 1
      for (let h = slot; h < handles; h += lists) table.set(h, rootsI32[base + 1] as never)
      const elements = rootsI32[base + 2] + weakRefs.elementsAt
      for (let word = elements + slot; word < elements + weak; word += lists) {
        if ((word & 1) !== 0 && i32[word] !== 0) continue
        i32[word] = rootsI32[base + 1]
        cards[word >>> 8] = 1
      }
    }
    for (let slot = 0; slot < lists; slot++) replace(slot)
    heap.collectSync()
    const random = randomNumbers(1)
    const end = performance.now() + seconds * 1000
    clock.start()
    while (performance.now() < end) {
      replace(random() % lists)
      if (control[pollIndex] !== 0) m.poll()
      clock.step()
    }
  })
}

class Node {
  right: Node | null = null
  key = 0
  constructor(readonly left: Node | null) {}
}

function onPlainObjects(clock: StepClock, { liveMiB, handles, seconds }: Parameters): void {
  const lists = listsOf(liveMiB)
  const directory = new Array<Node | null>(lists).fill(null)
  const table = new Array<Node | null>(handles).fill(null)
  const replace = (slot: number): void => {
    let head: Node | null = null
    for (let i = 0; i < LIST; i++) head = new Node(head)
    directory[slot] = head
    for (let h = slot; h < handles; h += lists) table[h] = head
  }
  for (let slot = 0; slot < lists; slot++) replace(slot)
  const random = randomNumbers(1)
  const end = performance.now() + seconds * 1000
  clock.start()
  while (performance.now() < end) {
    replace(random() % lists)
    clock.step()
  }
}

async function run({ system, parameters }: Case): Promise<Outcome> {
  const numbers = parameters as unknown as Parameters
  const { liveMiB, seconds } = numbers
  if (isPeer(system)) {
    // A JVM gets twice of what is said here. Its objects are larger, most of all ZGC's: 40 bytes instead of 24.
    return runPeer(
      { name: 'pauses', progress: null },
      { parameters: { liveMiB, handles: numbers.handles, seconds }, heapMiB: Math.max(32, liveMiB * 1.5) },
      system,
    )
  }
  const clock = new StepClock()
  const v8 = watchV8()
  const elapsed = stopwatch()
  if (system === 'v8') {
    onPlainObjects(clock, numbers)
    const time = elapsed()
    const stops = await v8.stop()
    return {
      figures: { ...time, peakRssMiB: peakRssMiB(), stepsPerS: clock.steps / seconds, collections: stops.length },
      histograms: { latencyUs: clock.latency(), v8StopUs: summarise(stops) },
      series: { latency: clock.curve(), v8StopUs: histogramOf(stops) },
    }
  }
  using heap = tuned({ reuse: 0 }, () =>
    Heap.create({
      maxBytes: Math.min(Math.max(64, liveMiB * 2), LARGEST_MIB) * MiB,
      maxRootBytes: '64m',
      collector: system as HeapOptions['collector'],
    }),
  )
  onHeap(heap, clock, numbers)
  const time = elapsed()
  const { figures, histograms, series } = heapFigures(heap)
  return {
    figures: { ...time, peakRssMiB: peakRssMiB(), stepsPerS: clock.steps / seconds, ...figures },
    histograms: { latencyUs: clock.latency(), ...histograms, v8StopUs: summarise(await v8.stop()) },
    series: { latency: clock.curve(), mmu: clock.mmu(), ...series },
  }
}

export const pauses: Bench = {
  name: 'pauses',
  summary: 'remark and flip against the size of the heap and the number of roots',
  cases: ({ quick }, skip) => cases(quick, collectorsHere(['concurrent', 'stop-the-world'], skip)),
  prepare: peersHere,
  run,
}
