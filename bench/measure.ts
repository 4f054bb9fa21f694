// What a process costs, seen from inside it: wall and CPU time, peak memory, V8's own pauses, and a heap's stalls.
//
// CPU time is of all threads, the collector's included: a concurrent collector that is free on the wall is not free. Peak
// memory is the kernel's high-water mark of resident pages (VmHWM); getrusage's survives exec and would report the parent.

import { readFileSync } from 'node:fs'
import { PerformanceObserver } from 'node:perf_hooks'
import type { Heap, HistogramSummary } from 'glissade'
import type { Latency, Outcome, Points } from './rows.js'

export function peakRssMiB(): number {
  try {
    const line = /VmHWM:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))
    if (line) return Number(line[1]) / 1024
  } catch {
    // Not Linux.
  }
  return process.resourceUsage().maxRSS / 1024
}

/** Exact percentiles of a list of microseconds. */
export function summarise(values: readonly number[]): Latency {
  const sorted = Float64Array.from(values).sort()
  const at = (fraction: number): number => sorted[Math.max(0, Math.ceil(sorted.length * fraction) - 1)] ?? 0
  return { count: sorted.length, p50: at(0.5), p99: at(0.99), p999: at(0.999), p9999: at(0.9999), max: at(1) }
}

/** Columns of a drawn histogram to a factor of ten. */
const COLUMNS = 12

/** Counts by columns of equal width on a logarithmic axis: [[upper edge in µs, count]…], empty ones left out. */
function columns(buckets: Iterable<readonly [us: number, count: number]>): Points {
  const counts = new Map<number, number>()
  for (const [us, count] of buckets) {
    const column = Math.ceil(Math.log10(Math.max(us, 0.01)) * COLUMNS)
    counts.set(column, (counts.get(column) ?? 0) + count)
  }
  const sorted = [...counts].sort(([a], [b]) => a - b)
  return sorted.map(([column, count]) => [Number((10 ** (column / COLUMNS)).toPrecision(4)), count])
}
export function histogramOf(values: readonly number[]): Points {
  return columns(values.map((us) => [us, 1] as const))
}

/** Listens to V8's collections; `stop` gives the durations in microseconds (entries arrive when the event loop turns). */
export function watchV8(): { stop(): Promise<number[]> } {
  const durations: number[] = []
  const observer = new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) durations.push(duration * 1000)
  })
  observer.observe({ entryTypes: ['gc'] })
  return {
    async stop() {
      await new Promise((resolve) => setImmediate(resolve))
      await new Promise((resolve) => setImmediate(resolve))
      observer.disconnect()
      return durations
    },
  }
}

/** Wall and CPU seconds since the call. */
export function stopwatch(): () => { wallS: number; cpuS: number } {
  const cpu = process.cpuUsage()
  const start = performance.now()
  return () => {
    const wallS = (performance.now() - start) / 1000
    const { user, system } = process.cpuUsage(cpu)
    return { wallS, cpuS: (user + system) / 1e6 }
  }
}

/** Percentiles alone: the buckets are drawn, see {@link columns}. */
function percentiles({ count, p50, p99, p999, p9999, max }: HistogramSummary): Latency {
  return { count, p50, p99, p999, p9999, max }
}

/** Everything a heap counted that a row shows. */
export function heapFigures(heap: Heap): Pick<Outcome, 'figures' | 'histograms' | 'series'> {
  const { pauses, pages, collections, barrierFaults, maxBytes, raw, fallbacks } = heap.stats()
  const { counters } = raw
  const milliseconds = (name: string): number => (counters[name] ?? 0) / 1e6
  const kinds = {
    // What a thread feels: to the work of a pause come the waiting for others and the waking up.
    stopUs: pauses.pause.count > 0 ? pauses.pause : pauses.stop,
    remarkUs: pauses.remark,
    flipUs: pauses.flip,
    timeToSafepointUs: pauses.timeToSafepoint,
    faultUs: pauses.faultStall,
    allocationStallUs: pauses.allocationStall,
  }
  const entries = Object.entries(kinds).filter(([, { count }]) => count > 0)
  return {
    figures: {
      heapMiB: maxBytes / 2 ** 20,
      collections,
      barrierFaults,
      faultsReady: counters['faultsReady'] ?? 0,
      pagesMoved: pages.moved,
      pagesCopied: pages.copied,
      pagesZeroFilled: pages.zeroFilled,
      pagesKept: pages.kept,
      pagesBuiltByMutators: counters['pagesBuiltByMutators'] ?? 0,
      buffersFromKernel: counters['buffersFromKernel'] ?? 0,
      ...('buffersPeak' in counters && { buffersPeakMiB: (counters['buffersPeak'] * 4096) / 2 ** 20 }),
      pagesRecycled: counters['pagesRecycled'] ?? 0,
      markMs: milliseconds('markNs'),
      prepareMs: milliseconds('prepareNs'),
      compactMs: milliseconds('compactNs'),
      fallbacks: Object.values(fallbacks).reduce((sum, n) => sum + n, 0),
    },
    histograms: Object.fromEntries(entries.map(([name, found]) => [name, percentiles(found)])),
    series: Object.fromEntries(entries.map(([name, { buckets }]) => [name, columns(buckets)])),
  }
}
