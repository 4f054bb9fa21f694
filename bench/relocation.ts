// What it costs to compact a heap when pages are moved and when they are copied.
//
// The same heap is built from the same seed: objects in allocation order, of which a share survives, picked at random; then
// a collection compacts them. This is repeated with fresh garbage, and the collector's own clock is
// read: compaction as a whole, the part spent building pages (reading sources, translating references) and the part spent
// placing them (MOVE or COPY). COPY is batched here like MOVE; `barrier` has page-by-page figures of both. A stop-the-world
// collection in JavaScript (the portable collector) is the same work without the MMU.
//
//   moveOverCopy        compaction time by page placed, MOVE / COPY, of the medians
//   placeMoveOverCopy   the same of placing alone

import { Heap, type HeapOptions } from 'glissade'
import type { Bench, Case } from './bench.js'
import { heapFigures, peakRssMiB, stopwatch } from './measure.js'
import { median, type Outcome, type Row } from './rows.js'
import { collectorsHere } from './systems.js'

/** Objects by what they refer to and how large they are. Granules are of 8 bytes, headers included. */
const CONTENTS = ['no references', 'sparse references', 'dense references'] as const
const SIZES = { small: 32, large: 1024 } as const

function cases(quick: boolean): Case[] {
  const shares = quick ? [50] : [25, 50, 75, 95]
  const all: Case[] = []
  for (const size of Object.keys(SIZES)) {
    for (const content of CONTENTS) {
      for (const live of shares) {
        for (const relocation of ['move', 'copy']) {
          all.push({
            bench: 'relocation',
            workload: `${size} objects, ${content}, ${live} % live`,
            system: relocation === 'move' ? 'MOVE' : 'COPY',
            parameters: { size, content, live, relocation, heapMiB: quick ? 32 : 128, cycles: quick ? 2 : 5 },
            runs: 3,
          })
        }
      }
    }
  }
  return all
}

/** Arrays of 32-bit slots: references or numbers. Sparse: one reference in eight slots, the others null. */
function run({ parameters }: Case): Outcome {
  const { size, content, relocation } = parameters as { [name: string]: string }
  const { live, heapMiB, cycles } = parameters as { [name: string]: number }
  const bytes = SIZES[size as keyof typeof SIZES]
  const total = heapMiB * 2 ** 20
  const elapsed = stopwatch()
  using heap = Heap.create({
    // Large, so that few collections begin by themselves. Some do, and not as many on both: hence figures by page placed.
    maxBytes: Math.min(total * 24, 4 * 2 ** 30 - 2 ** 20),
    collector: 'concurrent',
    relocation: relocation as HeapOptions['relocation'],
  })
  const refs = heap.defineArray('Refs', 'ref')
  const numbers = heap.defineArray('Numbers', 'i32')
  const holds = content !== 'no references'
  const shape = holds ? refs : numbers
  const slots = (bytes - 8) / 4
  const every = content === 'dense references' ? 1 : 8
  const count = Math.floor(total / bytes)
  const kept = Math.floor((count * live) / 100)
  const timesMs: number[] = []
  let random = 7
  const next = (below: number): number => {
    random = (Math.imul(random, 1664525) + 1013904223) >>> 0
    return random % below
  }
  heap.run((m) => {
    const { i32, rootsI32, cards } = m
    const stack = m.roots.stack('ref', 16)
    const { base } = stack
    stack.top = 1
    rootsI32[base] = m.allocArray(refs, kept)
    const allocate = m.arrayAllocator(shape)
    const at = refs.elementsAt

    /** A new object; every `every`-th slot refers to one made before, wherever that lies now. */
    const make = (known: number): number => {
      const made = allocate(slots)
      const table = rootsI32[base] + at
      if (!holds) {
        for (let s = 0; s < slots; s += 4) i32[made + at + s] = s
      } else if (known > 0) {
        for (let s = 0; s < slots; s += every) i32[made + at + s] = i32[table + next(known)]
        for (let s = 0; s < slots; s += 256) cards[(made + at + s) >>> 8] = 1
        cards[(made + at + slots - 1) >>> 8] = 1
      }
      return made
    }
    for (let cycle = 0; cycle < cycles; cycle++) {
      // Survivors are spread evenly over what dies; each cycle replaces half of them, and so opens holes everywhere.
      let survivor = cycle === 0 ? 0 : cycle % 2
      const step = cycle === 0 ? 1 : 2
      const made = cycle === 0 ? count : Math.ceil(count / 2)
      for (let i = 0; i < made; i++) {
        const object = make(Math.min(survivor, kept))
        if (next(100) < live && survivor < kept) {
          const slot = rootsI32[base] + at + survivor
          i32[slot] = object
          cards[slot >>> 8] = 1
          survivor += step
        }
      }
      const before = heap.stats().raw.counters['compactNs'] ?? 0
      heap.collectSync()
      timesMs.push(((heap.stats().raw.counters['compactNs'] ?? 0) - before) / 1e6)
    }
  })
  const { counters } = heap.stats().raw
  const pages = (counters['pagesMoved'] ?? 0) + (counters['pagesCopied'] ?? 0)
  const built = counters['pagesBuilt'] ?? 0
  const { figures } = heapFigures(heap)
  return {
    figures: {
      ...elapsed(),
      peakRssMiB: peakRssMiB(),
      ...figures,
      compactionMs: median(timesMs.filter((ms) => ms > 0)),
      pagesPlaced: pages,
      bytesCopied: (counters['pagesCopied'] ?? 0) * 4096,
      pagesPerCall: pages / Math.max(1, counters['moveCalls'] ?? 0),
      buildUsPerPage: (counters['buildNs'] ?? 0) / 1000 / Math.max(1, built),
      placeUsPerPage: (counters['placeNs'] ?? 0) / 1000 / Math.max(1, pages),
      compactUsPerPage: (counters['compactNs'] ?? 0) / 1000 / Math.max(1, pages),
    },
  }
}

function compare(rows: readonly Row[]): Row[] {
  return rows.map((row) => {
    const copy = rows.find(({ workload, system }) => workload === row.workload && system === 'COPY')
    if (row.system !== 'MOVE' || copy === undefined) return row
    const ratio = (figure: string): number =>
      Number(((row[figure] as number) / (copy[figure] as number)).toPrecision(3))
    return { ...row, moveOverCopy: ratio('compactUsPerPage'), placeMoveOverCopy: ratio('placeUsPerPage') }
  })
}

export const relocation: Bench = {
  name: 'relocation',
  summary: 'compaction with MOVE and with COPY of the same heaps',
  cases: ({ quick }, skip) => (collectorsHere(['concurrent'], skip).length === 0 ? [] : cases(quick)),
  run,
  compare,
}
