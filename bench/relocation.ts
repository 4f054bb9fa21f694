// What it costs to compact a heap when pages are moved, when they are copied, and when they are copied one by one.
//
// The same heap is built from the same seed: objects in allocation order, of which a share survives, picked at random; then
// a collection compacts them. This is repeated with fresh garbage. The heap is told not to collect by itself, the program
// is parked meanwhile and one thread compacts, so that all three do the same work: the same pages, built from the same
// sources, in every cycle; `pagesPlaced` and `collections` show it.
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

import { Heap, type HeapOptions, type RootStack } from 'glissade'
import { tuned } from 'glissade/testing'
import type { Bench, Case } from './bench.js'
import { heapFigures, peakRssMiB, stopwatch } from './measure.js'
import { type Outcome, type Row } from './rows.js'
import { collectorsHere } from './systems.js'

const CONTENTS = ['no references', 'sparse references', 'dense references'] as const
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

/** A program of one thread that fills the heap, and replaces half of what survived when asked to again. */
class Program {
  readonly #heap: Heap
  readonly #live: number
  readonly #holds: boolean
  readonly #slots: number
  readonly #every: number
  readonly #count: number
  readonly #kept: number
  readonly #numbers
  readonly #refs
  #stack: RootStack<'ref'> | undefined
  #random = 7
  #cycle = 0

  constructor(heap: Heap, bytes: number, content: string, live: number, total: number) {
    this.#heap = heap
    this.#live = live
    this.#refs = heap.defineArray('Refs', 'ref')
    this.#numbers = heap.defineArray('Numbers', 'i32')
    this.#holds = content !== 'no references'
    this.#slots = (bytes - 8) / 4
    // Sparse: one reference in eight slots, the others null.
    this.#every = content === 'dense references' ? 1 : 8
    this.#count = Math.floor(total / bytes)
    this.#kept = Math.floor((this.#count * live) / 100)
  }
  /** Pages of the table of survivors. */
  get tablePages(): number {
    return Math.ceil((this.#kept * 4 + 8) / 4096)
  }

  #next(below: number): number {
    // xorshift32: every bit is as good as any.
    this.#random ^= this.#random << 13
    this.#random ^= this.#random >>> 17
    this.#random ^= this.#random << 5
    return (this.#random >>> 0) % below
  }

  /** Survivors are spread evenly over what dies; each round but the first replaces half of them: holes everywhere. */
  fill(): void {
    const first = this.#cycle === 0
    const kept = this.#kept
    let survivor = first ? 0 : this.#cycle % 2
    const step = first ? 1 : 2
    const made = first ? this.#count : Math.ceil(this.#count / 2)
    this.#cycle++
    this.#heap.run((m) => {
      const { i32, rootsI32, cards } = m
      if (this.#stack === undefined) {
        this.#stack = m.roots.stack('ref', 16)
        this.#stack.top = 1
        rootsI32[this.#stack.base] = m.allocArray(this.#refs, kept)
      }
      const { base } = this.#stack
      const allocate = m.arrayAllocator(this.#holds ? this.#refs : this.#numbers)
      const at = this.#refs.elementsAt
      const slots = this.#slots
      const every = this.#every
      for (let i = 0; i < made; i++) {
        const object = allocate(slots)
        const table = rootsI32[base] + at
        if (!this.#holds) {
          for (let s = 0; s < slots; s += 4) i32[object + at + s] = s
        } else if (survivor > 1 || !first) {
          // Each reference is to one made before, wherever that lies now.
          const known = first ? survivor : kept
          for (let s = 0; s < slots; s += every) i32[object + at + s] = i32[table + this.#next(known)]
          for (let s = 0; s < slots; s += 256) cards[(object + at + s) >>> 8] = 1
          cards[(object + at + slots - 1) >>> 8] = 1
        }
        if (this.#next(100) < this.#live && survivor < kept) {
          const slot = table + survivor
          i32[slot] = object
          cards[slot >>> 8] = 1
          survivor += step
        }
      }
    })
  }
}

function run({ parameters }: Case): Outcome {
  const { size, content, relocation } = parameters as { [name: string]: string }
  const { live, heapMiB, cycles, batch } = parameters as { [name: string]: number }
  const total = heapMiB * 2 ** 20
  const maxBytes = total * 8
  const elapsed = stopwatch()
  const options = { maxBytes, relocation: relocation as HeapOptions['relocation'], collectorThreads: 1 }
  using heap = tuned({ minBytes: maxBytes, ...(batch > 0 && { placingBatch: batch }) }, () =>
    Heap.create({ collector: 'concurrent', ...options }),
  )
  const program = new Program(heap, SIZES[size as keyof typeof SIZES], content, live, total)
  const counted = (): { readonly [name: string]: number } => heap.stats().raw.counters
  const placedOf = (now: { readonly [name: string]: number }): number => now['pagesMoved'] + now['pagesCopied']
  let build = Infinity
  let place = Infinity
  let whole = Infinity
  let wall = Infinity
  for (let cycle = 0; cycle < cycles; cycle++) {
    program.fill()
    const before = counted()
    heap.collectSync()
    const after = counted()
    const pages = placedOf(after) - placedOf(before)
    if (pages === 0) continue
    const us = (name: string): number => (after[name] - before[name]) / 1000
    build = Math.min(build, us('buildNs') / pages)
    place = Math.min(place, us('placeNs') / pages)
    whole = Math.min(whole, us('compactCpuNs') / pages)
    wall = Math.min(wall, us('compactNs') / pages)
  }
  const { figures } = heapFigures(heap)
  const counters = counted()
  const placed = placedOf(counters)
  return {
    figures: {
      ...elapsed(),
      peakRssMiB: peakRssMiB(),
      ...figures,
      compactionMs: (wall * placed) / Math.max(1, counters['flips']) / 1000,
      pagesPlaced: placed,
      tableShare: (program.tablePages * counters['flips']) / placed,
      bytesCopied: counters['pagesCopied'] * 4096,
      pagesPerCall: placed / Math.max(1, counters['moveCalls']),
      buildUsPerPage: build,
      placeUsPerPage: place,
      compactUsPerPage: whole,
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
  cases: ({ quick }, skip) => (collectorsHere(['concurrent'], skip).length === 0 ? [] : cases(quick)),
  run,
  compare,
}
