// What it costs to compact a heap when pages are moved, when they are copied, and when they are copied one by one.
//
// The same heap is built from the same seed (survivors.ts) and a collection compacts it; then all is dropped, and it is built
// again for the next. The heap is told not to collect by itself, the program
// is parked meanwhile and one thread compacts, so that all three do the same work: the same pages, built from the same
// sources, in every cycle; `pagesPlaced` of a cycle shows it.
//
// The whole, from the flip to the close, is processor time of the compacting thread, which other work on the machine does
// not lengthen. In it are the time spent building pages (reading sources, translating references) and placing them (MOVE or
// COPY), read from the clock on the wall; the rest is the flip, and giving evacuated pages on to the heap (MOVE) or back to
// the kernel (COPY). Figures by page are those of the cycle that was disturbed least, of each run; a page placed once counts
// once, whether it is one of the objects' or of the table that holds them, which is itself a large object full of references
// (`tableShare` of all pages).
//
//   moveOverCopy          the whole, MOVE / COPY in batches
//   moveOverCopyByPage    the whole, MOVE / COPY page by page
//   placeMoveOverCopy     placing alone, MOVE / COPY, both in batches

import { Heap, type HeapOptions } from 'glissade'
import { tuned } from 'glissade/testing'
import type { Bench, Case } from './bench.js'
import { heapFigures, peakRssMiB, stopwatch } from './measure.js'
import type { Outcome, Row } from './rows.js'
import { CONTENTS, Survivors, type Content } from './survivors.js'
import { canMove, collectorsHere } from './systems.js'

/** Bytes of an object, header included. */
const SIZES = { small: 64, large: 2048 } as const
const SYSTEMS = [
  { name: 'MOVE', relocation: 'move', batch: 0 },
  { name: 'COPY', relocation: 'copy', batch: 0 },
  { name: 'COPY page by page', relocation: 'copy', batch: 1 },
] as const

function cases(quick: boolean): Case[] {
  const shares = quick ? [50] : [25, 50, 75, 95]
  return Object.keys(SIZES).flatMap((size) =>
    CONTENTS.flatMap((content) =>
      shares.flatMap((live) =>
        SYSTEMS.map(({ name, relocation, batch }) => ({
          bench: 'relocation',
          workload: `${size} objects, ${content}, ${live} % live`,
          system: name,
          parameters: { size, content, live, relocation, batch, heapMiB: quick ? 24 : 48, cycles: quick ? 3 : 5 },
          runs: 3,
        })),
      ),
    ),
  )
}

function run({ parameters }: Case): Outcome {
  const { size, relocation } = parameters as { [name: string]: string }
  const content = parameters['content'] as Content
  const { live, heapMiB, cycles, batch } = parameters as { [name: string]: number }
  const total = heapMiB * 2 ** 20
  const maxBytes = total * 8
  const elapsed = stopwatch()
  const options = { maxBytes, relocation: relocation as HeapOptions['relocation'], collectorThreads: 1 }
  using heap = tuned({ minBytes: maxBytes, ...(batch > 0 && { placingBatch: batch }) }, () =>
    Heap.create({ collector: 'concurrent', ...options }),
  )
  const survivors = new Survivors(heap, { bytes: SIZES[size as keyof typeof SIZES], content, live, total })
  const counted = (): { readonly [name: string]: number } => heap.stats().raw.counters
  const best = { build: Infinity, place: Infinity, whole: Infinity, wall: Infinity }
  let placed = 0
  let kept = 0
  let calls = 0
  let copied = 0
  for (let cycle = 0; cycle < cycles; cycle++) {
    survivors.fill()
    const before = counted()
    heap.collectSync()
    const after = counted()
    const more = (name: string): number => after[name] - before[name]
    placed = more('pagesMoved') + more('pagesCopied')
    kept = more('pagesKept')
    calls = more('moveCalls')
    copied = more('pagesCopied')
    if (placed === 0) throw new Error('nothing was compacted')
    const us = (name: string): number => more(name) / 1000 / placed
    best.build = Math.min(best.build, us('buildNs'))
    best.place = Math.min(best.place, us('placeNs'))
    best.whole = Math.min(best.whole, us('compactCpuNs'))
    best.wall = Math.min(best.wall, us('compactNs'))
    survivors.drop()
  }
  const { figures } = heapFigures(heap)
  return {
    figures: {
      ...elapsed(),
      peakRssMiB: peakRssMiB(),
      ...figures,
      compactionMs: (best.wall * placed) / 1000,
      pagesPlaced: placed,
      tableShare: survivors.tablePages / placed,
      keptShare: kept / placed,
      bytesCopied: copied * 4096,
      pagesPerCall: placed / Math.max(1, calls),
      buildUsPerPage: best.build,
      placeUsPerPage: best.place,
      compactUsPerPage: best.whole,
    },
  }
}

function compare(rows: readonly Row[]): Row[] {
  return rows.map((row) => {
    if (row.system !== 'MOVE') return row
    const ratio = (system: string, figure: string): number | undefined => {
      const other = rows.find((candidate) => candidate.workload === row.workload && candidate.system === system)
      return other && Number(((row[figure] as number) / (other[figure] as number)).toPrecision(3))
    }
    return {
      ...row,
      moveOverCopy: ratio('COPY', 'compactUsPerPage'),
      moveOverCopyByPage: ratio('COPY page by page', 'compactUsPerPage'),
      placeMoveOverCopy: ratio('COPY', 'placeUsPerPage'),
    }
  })
}

export const relocation: Bench = {
  name: 'relocation',
  summary: 'compaction with MOVE, with COPY, and with COPY page by page, of the same heaps',
  cases({ quick }, skip) {
    if (collectorsHere(['concurrent'], skip).length === 0) return []
    const moves = canMove(skip)
    return cases(quick).filter(({ parameters }) => moves || parameters['relocation'] !== 'move')
  },
  run,
  compare,
}
