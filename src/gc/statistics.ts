// `heap.stats()`: what every collector counts, under the same names whatever collector it is.
//
// One table says what each figure is and where it comes from; the type, the values and the documentation follow from it.
// A figure that a collector does not have is 0 (pages moved by a collector without userfaultfd); `raw` has everything the
// collector counts, under its own names. Durations are microseconds. Cheap; any time while the heap is open.

import type { HeapCore } from '../heap/heap-core.js'
import { Phase, PHASE_NAMES, Word } from '../heap/layout.js'
import type { CollectorName, HistogramSummary, RawStatistics } from './collector.js'
import { EMPTY_HISTOGRAM } from './histogram.js'

/** A counter's name in `raw`, which is its name here; what it is. */
const COUNTERS = {
  collections: 'collections completed',
  bytesAllocated:
    'bytes given out for allocation since creation: by the concurrent collector whole TLABs, so more than objects take',
  bytesLive: 'bytes found live by the last collection; objects that have died marked count until one traces everything',
  bytesUsed: 'bytes in use now: live, dead but not collected, and rests of TLABs',
  barrierFaults: 'page faults taken by threads that touched a page not compacted yet',
} as const
/** A name here: the counter's name in `raw`; what it is. */
const PAGES = {
  moved: ['pagesMoved', 'placed by UFFDIO_MOVE'],
  copied: ['pagesCopied', 'placed by UFFDIO_COPY, or by the portable collector'],
  zeroFilled: ['pagesZeroFilled', 'placed by UFFDIO_ZEROPAGE'],
  kept: ['pagesKept', 'changed by nothing: of those moved, or left in place by the portable collector'],
} as const
const PAUSES = {
  stop: 'one thread stopped, for whichever pause: from its arrival at the safepoint until it runs again',
  remark: 'the work of the pause that ends marking',
  flip: 'the work of the pause that exchanges from-space and to-space',
  timeToSafepoint: 'from the request of a stop to the last mutator’s stop',
  faultStall: 'time a mutator spent in one fault',
  allocationStall:
    'time a mutator waited for memory in one allocation, or for root areas that were freed in the collection under way',
  pause: 'whole collections of the stop-the-world collector',
} as const

type Figures<T, F = number> = { readonly [K in keyof T]: F }

/** What {@link COUNTERS}, {@link PAGES} and {@link PAUSES} describe, for one heap at one moment. */
export interface HeapStatistics extends Figures<typeof COUNTERS> {
  readonly collector: CollectorName
  /** The phase of the cycle under way, or `'idle'`. */
  readonly phase: (typeof PHASE_NAMES)[number]
  /** How often anything may have moved. */
  readonly epoch: number
  readonly maxBytes: number
  /** Pages by how they came to their place, over all collections; those that were kept and moved count in both. */
  readonly pages: Figures<typeof PAGES>
  /** System calls of relocation that returned an error, by errno: `{ EBUSY: 3 }`. All were dealt with. */
  readonly fallbacks: { readonly [errno: string]: number }
  /** Every kind of stall a mutator can feel, in microseconds. */
  readonly pauses: Figures<typeof PAUSES, HistogramSummary>
  /** Everything the collector counts, under its own names. */
  readonly raw: RawStatistics
}

/** The documentation of every figure: `{ 'pages.moved': 'placed by …' }`. */
export const STATISTICS_DOCS: { readonly [name: string]: string } = Object.fromEntries([
  ...Object.entries(COUNTERS),
  ...Object.entries(PAGES).map(([name, [, doc]]) => [`pages.${name}`, doc]),
  ...Object.entries(PAUSES).map(([name, doc]) => [`pauses.${name}`, doc]),
])

/** A figure for each entry of a table. */
function figures<T extends object, F>(table: T, figure: (name: string, entry: T[keyof T]) => F): Figures<T, F> {
  return Object.fromEntries(Object.entries(table).map(([name, entry]) => [name, figure(name, entry)])) as Figures<T, F>
}

export function statisticsOf(core: HeapCore): HeapStatistics {
  const { control } = core.views
  // First: a cycle that this finds over has been counted.
  const phase = PHASE_NAMES[control[Word.Phase]] ?? PHASE_NAMES[Phase.Idle]
  const raw = core.collector.statistics()
  const counter = (name: string): number => raw.counters[name] ?? 0
  const fallbacks: { [errno: string]: number } = {}
  for (const errnos of Object.values(raw.errors ?? {})) {
    for (const [errno, count] of Object.entries(errnos)) fallbacks[errno] = (fallbacks[errno] ?? 0) + count
  }
  return {
    collector: core.collector.name,
    phase,
    epoch: control[Word.Epoch],
    maxBytes: core.options.maxBytes,
    ...figures(COUNTERS, counter),
    pages: figures(PAGES, (_, [name]) => counter(name)),
    fallbacks,
    pauses: figures(PAUSES, (name) => raw.histograms[name] ?? EMPTY_HISTOGRAM),
    raw,
  }
}
