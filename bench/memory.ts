// Memory that compaction itself needs, beyond the pages that the heap has anyway.
//
// Pages are built in buffers, and an evacuated page is the next buffer: only while too few are free does a buffer come from
// the kernel. How many that are depends on the order of building. The collector builds from one end and frees as it goes;
// a mutator that touches pages at random builds here and there, and a source page is free only when all that read it are
// built. Two cases, of the same heaps:
//
//   collector builds          a collection while the program is parked
//   mutator touches a third   the cycle rests after its flip while the program touches a third of the pages, picked at
//                             random: they are built in faults, and pages beside them once those have taken much from
//                             the kernel (docs/decisions/015). The collector builds the rest. No order needs more of it
//   collector builds, COPY    the baseline: the kernel provides every page, and evacuated ones go back to it
//
// Two measures that do not know of each other. `buffersMiB` is counted by the collector. `peakOverMiB` is the kernel's: the
// process's peak of resident memory in the collection (its high-water mark, reset before) less what was resident before. In
// a heap's first collection that includes the collector's tables, of which no page has been touched until then: less
// buffers, it is `tablesMiB`, which stays for as long as the heap does. Buffers are of the worst of the later ones.

import { readFileSync, writeFileSync } from 'node:fs'
import { Heap, type HeapOptions } from 'glissade'
import { step, tuned } from 'glissade/testing'
import type { Bench, Case } from './bench.js'
import { heapFigures, peakRssMiB, stopwatch } from './measure.js'
import type { Outcome } from './rows.js'
import { Survivors } from './survivors.js'
import { canMove, collectorsHere } from './systems.js'

const MiB = 2 ** 20
const PAGE_BYTES = 4096
const WORDS_PER_PAGE = 1024
const OBJECT_BYTES = 64
/** One that commits the tables, and those that are measured. */
const COLLECTIONS = 3
/** Of the pages, the program touches one in so many. */
const TOUCHED = 3
const RANDOM = 'mutator touches a third'
const SYSTEMS = [
  { name: 'collector builds', relocation: 'move' },
  { name: RANDOM, relocation: 'move' },
  { name: 'collector builds, COPY', relocation: 'copy' },
] as const

function cases(quick: boolean): Case[] {
  const sizes = quick ? [64] : [256, 1024]
  const shares = quick ? [75] : [25, 50, 75, 90]
  return sizes.flatMap((heapMiB) =>
    shares.flatMap((live) =>
      SYSTEMS.map(({ name, relocation }) => ({
        bench: 'memory',
        workload: `${heapMiB} MiB of small objects, ${live} % live`,
        system: name,
        parameters: { heapMiB, live, relocation },
        runs: 3,
      })),
    ),
  )
}

function residentMiB(): number {
  const line = /VmRSS:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))
  return Number(line?.[1]) / 1024
}

/** What `collect` needs beyond what was resident before it, as the kernel saw it, in MiB. */
function peakOver(collect: () => void): number {
  // 5: the high-water mark of resident memory is what is resident now.
  writeFileSync('/proc/self/clear_refs', '5')
  const before = residentMiB()
  collect()
  return Math.max(0, peakRssMiB() - before)
}

/** A random share of the pages up to `pages`, in random order. */
function picked(pages: number): Uint32Array {
  const all = Uint32Array.from({ length: pages }, (_, page) => page)
  const count = Math.floor(pages / TOUCHED)
  let random = 1
  for (let i = 0; i < count; i++) {
    random = (Math.imul(random, 1664525) + 1013904223) >>> 0
    const other = i + (random % (pages - i))
    const page = all[other]
    all[other] = all[i]
    all[i] = page
  }
  return all.subarray(0, count)
}

/** A collection in which the program touches these pages before the collector has built any. */
function collectTouching(heap: Heap, pages: Uint32Array): void {
  heap.run(({ i32 }) => {
    let phase = step(heap)
    while (phase !== 'compact' && phase !== 'idle') phase = step(heap)
    if (phase === 'idle') throw new Error('nothing was moved')
    const { movingStart } = heap._core.collector.memory as unknown as { readonly movingStart: number }
    let sum = 0
    for (const page of pages) sum += i32[movingStart + page * WORDS_PER_PAGE]
    if (Number.isNaN(sum)) throw new Error('a page could not be read')
    while (step(heap) !== 'idle');
  })
}

function run({ system, parameters }: Case): Outcome {
  const { heapMiB, live } = parameters as { [name: string]: number }
  const relocation = parameters['relocation'] as HeapOptions['relocation']
  const total = heapMiB * MiB
  const maxBytes = Math.min(total * 4, 4095 * MiB)
  const random = system === RANDOM
  const elapsed = stopwatch()
  const options = { maxBytes, relocation, collectorThreads: 1, stepping: random }
  using heap = tuned({ minBytes: maxBytes }, () => Heap.create({ collector: 'concurrent', ...options }))
  const survivors = new Survivors(heap, { bytes: OBJECT_BYTES, content: 'sparse references', live, total })
  const counter = (name: string): number => heap.stats().raw.counters[name]
  // Survivors slide to the lowest pages.
  const touched = picked(Math.floor((total * live) / 100 / PAGE_BYTES))
  let tablesMiB = 0
  let buffersMiB = 0
  let over = 0
  let used = 0
  for (let cycle = 0; cycle < COLLECTIONS; cycle++) {
    survivors.fill()
    const before = counter('buffersFromKernel')
    used = heap.stats().bytesUsed / 2 ** 30
    const peak = peakOver(() => (random ? collectTouching(heap, touched) : heap.collectSync()))
    const buffers = ((counter('buffersFromKernel') - before) * PAGE_BYTES) / MiB
    if (cycle === 0) tablesMiB = Math.max(0, peak - buffers)
    else {
      buffersMiB = Math.max(buffersMiB, buffers)
      over = Math.max(over, peak)
    }
    survivors.drop()
  }
  const { figures } = heapFigures(heap)
  return {
    figures: {
      ...elapsed(),
      ...figures,
      peakRssMiB: peakRssMiB(),
      usedMiB: used * 1024,
      builtByMutators: counter('pagesBuiltByMutators') / counter('pagesBuilt'),
      buffersMiB,
      buffersMiBPerGiB: buffersMiB / used,
      peakOverMiB: over,
      peakOverMiBPerGiB: over / used,
      // COPY's pages are not buffers: what the first collection took says nothing of tables.
      ...(relocation !== 'copy' && { tablesMiB, tablesMiBPerGiB: tablesMiB / used }),
    },
  }
}

export const memory: Bench = {
  name: 'memory',
  summary: 'memory that compaction itself needs: buffers beyond recycled pages, and tables',
  cases({ quick }, skip) {
    if (collectorsHere(['concurrent'], skip).length === 0) return []
    const moves = canMove(skip)
    return cases(quick).filter(({ parameters }) => moves || parameters['relocation'] !== 'move')
  },
  run,
}
