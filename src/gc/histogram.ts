// A histogram of durations in microseconds with a relative error of at most 1.6 %, in fixed memory.
//
// Logarithmic buckets: 64 linear steps per power of two, of nanoseconds. Portable collectors record into it; native
// histograms arrive in the form of `summary`.

import type { HistogramSummary } from './collector.js'

const STEPS = 64
const POWERS = 40

export class Histogram {
  readonly #counts = new Uint32Array(STEPS * POWERS)
  #count = 0
  #sumNs = 0
  #maxNs = 0

  recordNs(ns: number): void {
    const value = Math.max(0, Math.round(ns))
    this.#counts[bucketOf(value)]++
    this.#count++
    this.#sumNs += value
    if (value > this.#maxNs) this.#maxNs = value
  }

  get count(): number {
    return this.#count
  }

  summary(): HistogramSummary {
    return {
      count: this.#count,
      sum: this.#sumNs / 1000,
      p50: this.#percentile(0.5),
      p99: this.#percentile(0.99),
      p999: this.#percentile(0.999),
      p9999: this.#percentile(0.9999),
      max: this.#maxNs / 1000,
      buckets: this.#filled(),
    }
  }

  #filled(): HistogramSummary['buckets'] {
    const filled: (readonly [number, number])[] = []
    for (let b = 0; b < this.#counts.length; b++) {
      if (this.#counts[b] > 0) filled.push([upperEdge(b) / 1000, this.#counts[b]])
    }
    return filled
  }

  /** Upper edge of the bucket that holds the percentile, never above the maximum. */
  #percentile(fraction: number): number {
    const rank = Math.ceil(this.#count * fraction)
    let seen = 0
    for (let b = 0; b < this.#counts.length; b++) {
      seen += this.#counts[b]
      if (seen >= rank && seen > 0) return Math.min(upperEdge(b), this.#maxNs) / 1000
    }
    return 0
  }
}

/** Buckets 0…63 are 0…63 ns exactly; then 64 steps for each doubling. */
function bucketOf(ns: number): number {
  if (ns < STEPS) return ns
  const power = Math.floor(Math.log2(ns))
  const step = Math.floor((ns / 2 ** power - 1) * STEPS)
  return Math.min((power - 5) * STEPS + step, STEPS * POWERS - 1)
}
function upperEdge(bucket: number): number {
  if (bucket < STEPS) return bucket
  const power = Math.floor(bucket / STEPS) + 5
  return 2 ** power * (1 + ((bucket % STEPS) + 1) / STEPS)
}

export const EMPTY_HISTOGRAM: HistogramSummary = {
  count: 0,
  sum: 0,
  p50: 0,
  p99: 0,
  p999: 0,
  p9999: 0,
  max: 0,
  buckets: [],
}
