// What `glissade bench --json` writes: the shape of every row, and how several runs of one case become one row.
//
// A row carries medians over its runs. Percentiles are medians of each run's percentile, never a percentile of medians'
// neighbours: a run that was disturbed moves one value, not the tail of all. `spread` has the smallest and the largest
// run of each figure, of durations of their maximum, so that a difference smaller than the noise can be seen for what it is.

/** Percentiles of one kind of duration, in microseconds. */
export interface Latency {
  readonly count: number
  readonly p50: number
  readonly p99: number
  readonly p999: number
  readonly p9999: number
  readonly max: number
}

/** One line of a benchmark's result. What does not apply is absent. */
export interface Row {
  readonly bench: string
  readonly workload: string
  readonly system: string
  readonly runs: number
  readonly wallS: number
  readonly cpuS: number
  readonly peakRssMiB: number
  /** One operation of the program, from the end of the one before it (or, metered, from when it was due). */
  readonly latencyUs?: Latency
  /** A thread stopped for a pause, as it feels it; `remarkUs` and `flipUs` are the work of the concurrent collector's two. */
  readonly stopUs?: Latency
  readonly remarkUs?: Latency
  readonly flipUs?: Latency
  readonly timeToSafepointUs?: Latency
  readonly faultUs?: Latency
  readonly allocationStallUs?: Latency
  /** Collections of V8's own heap in the same process. */
  readonly v8StopUs?: Latency
  /** Smallest and largest run, by the name of the figure. */
  readonly spread?: { readonly [figure: string]: readonly [number, number] }
  /** For the report: `latency` [[fraction, µs]…], `mmu` [[ms, share]…], histograms by the name of the stall, timelines. */
  readonly series?: Series
  /** Everything else a benchmark adds: nsPerOp, moveOverCopy, faultOverFirstTouch, opsPerS, collections … */
  readonly [figure: string]: unknown
}

export type Points = readonly (readonly number[])[]
export interface Series {
  readonly [name: string]: Points
}

/** What one run of one case found. */
export interface Outcome {
  readonly figures: { readonly [name: string]: number }
  readonly histograms?: { readonly [name: string]: Latency | undefined }
  readonly series?: Series
}

/** What the whole command writes. */
export interface Report {
  readonly machine: { readonly [what: string]: string | number }
  readonly rows: readonly Row[]
  /** Cases that were not run, and why. */
  readonly skipped: readonly string[]
  /** Cases that ended with an error: crashed, computed something else than they should, or came to no end. */
  readonly failed: readonly string[]
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/** Four significant digits, or whole numbers from 1000 on: more than the measurements support. */
function rounded(value: number): number {
  return Math.abs(value) >= 1000 ? Math.round(value) : Number(value.toPrecision(4))
}

const NONE: Latency = { count: 0, p50: 0, p99: 0, p999: 0, p9999: 0, max: 0 }

function mergeLatency(runs: readonly Latency[]): Latency {
  const of = (pick: (one: Latency) => number): number => rounded(median(runs.map(pick)))
  return {
    count: Math.round(median(runs.map((r) => r.count))),
    p50: of((r) => r.p50),
    p99: of((r) => r.p99),
    p999: of((r) => r.p999),
    p9999: of((r) => r.p9999),
    max: of((r) => r.max),
  }
}

/** The row of a case from its runs (at least one). */
export function mergeRuns(
  of: { readonly bench: string; readonly workload: string; readonly system: string },
  outcomes: readonly Outcome[],
): Row {
  const { bench, workload, system } = of
  const spread: { [figure: string]: readonly [number, number] } = {}
  const figures: { [figure: string]: unknown } = {}
  const range = (name: string, values: readonly number[]): void => {
    if (values.length > 1) spread[name] = [rounded(Math.min(...values)), rounded(Math.max(...values))]
  }
  for (const name of new Set(outcomes.flatMap(({ figures }) => Object.keys(figures)))) {
    const values = outcomes.map(({ figures }) => figures[name]).filter((v) => v !== undefined && !Number.isNaN(v))
    if (values.length === 0) continue
    figures[name] = rounded(median(values))
    range(name, values)
  }
  for (const name of new Set(outcomes.flatMap(({ histograms }) => Object.keys(histograms ?? {})))) {
    // A run without any counts, too: where one run of three waited, the median is no wait.
    const all = outcomes.map(({ histograms }) => histograms?.[name] ?? NONE)
    if (all.every(({ count }) => count === 0)) continue
    figures[name] = mergeLatency(all)
    range(
      `${name}.max`,
      all.map(({ max }) => max),
    )
  }
  // Curves cannot be averaged without inventing a run: the report shows the run whose wall time is the median.
  const byWall = [...outcomes].sort((a, b) => (a.figures['wallS'] ?? 0) - (b.figures['wallS'] ?? 0))
  const typical = byWall[(byWall.length - 1) >> 1]
  return {
    bench,
    workload,
    system,
    runs: outcomes.length,
    ...(figures as { wallS: number; cpuS: number; peakRssMiB: number }),
    ...(Object.keys(spread).length > 0 && { spread }),
    ...(typical.series !== undefined && { series: typical.series }),
  }
}
