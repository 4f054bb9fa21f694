// Latency of a program's steps, measured without looking away.
//
// Readings are chained: a step lasts from the end of the one before it to its own end, so that a pause between two steps,
// or between a reading and what follows it, belongs to a step. A pair of readings around each operation misses most
// pauses. A metered clock lets step k start no earlier than k / rate and counts from that moment: a pause makes every step
// that was due in it late, as it does to the customers of a server (no coordinated omission).
//
// Recording allocates nothing (V8's collections must not come from here): a log-linear histogram, 64 steps to the
// doubling, and the number of steps finished in each tenth of a millisecond, from which utilisation follows.

import type { Latency, Points } from './rows.js'

const SUB_BITS = 6
const SUB = 1 << SUB_BITS
/** Up to 2³⁶ ns, 68 seconds. */
const BUCKETS = SUB * 32
const BINS_PER_MS = 10
/** Ten minutes; zero pages until written. */
const MAX_BINS = BINS_PER_MS * 600_000

/** What a peer recorded: sparse arrays of index, value, index, value… */
export interface Recorded {
  readonly steps: number
  readonly elapsedMs: number
  readonly maxNs: number
  readonly counts: readonly number[]
  readonly bins: readonly number[]
}

/** Windows of the utilisation curve, in milliseconds. */
export const MMU_WINDOWS = [1, 2, 5, 10, 20, 50, 100] as const

export class StepClock {
  readonly #counts = new Uint32Array(BUCKETS)
  readonly #bins = new Uint32Array(MAX_BINS)
  /** last reading, start, interval between due times, time the next step is due, maximum in ns. */
  readonly #state = new Float64Array(5)
  #steps = 0

  /** Steps a second, or 0 for full speed. */
  constructor(readonly rate = 0) {}

  /** The clock of a peer, which records in the same form. */
  static of({ steps, elapsedMs, maxNs, counts, bins }: Recorded, rate: number): StepClock {
    const clock = new StepClock(rate)
    clock.#steps = steps
    clock.#state.set([elapsedMs, 0, 0, 0, maxNs])
    for (let i = 0; i < counts.length; i += 2) clock.#counts[counts[i]] = counts[i + 1]
    for (let i = 0; i < bins.length; i += 2) clock.#bins[bins[i]] = bins[i + 1]
    return clock
  }

  get steps(): number {
    return this.#steps
  }
  /** When `start` was called, on the clock of `performance.now()`. */
  get startedAt(): number {
    return this.#state[1]
  }
  /** Seconds since `start`, as of the last step. */
  get elapsedS(): number {
    return (this.#state[0] - this.#state[1]) / 1000
  }

  start(): void {
    const now = performance.now()
    this.#counts.fill(0)
    this.#bins.fill(0, 0, BINS_PER_MS)
    this.#steps = 0
    this.#state.set([now, now, this.rate > 0 ? 1000 / this.rate : 0, now, 0])
  }

  /** Ends a step. */
  step(): void {
    const state = this.#state
    const now = performance.now()
    const ns = (now - (this.rate > 0 ? state[3] : state[0])) * 1e6
    state[0] = now
    if (ns > state[4]) state[4] = ns
    this.#counts[bucketOf(ns)]++
    this.#steps++
    const bin = ((now - state[1]) * BINS_PER_MS) | 0
    if (bin < MAX_BINS) this.#bins[bin]++
  }

  /** What the program did since the last step is no step: the next begins now. */
  skip(): void {
    this.#state[0] = performance.now()
  }

  /** Metered: true when the next step is due; the caller polls its heap meanwhile. Full speed: always true. */
  due(): boolean {
    if (this.rate === 0) return true
    const state = this.#state
    const next = state[1] + this.#steps * state[2]
    if (performance.now() < next) return false
    state[3] = next
    return true
  }

  latency(): Latency {
    const at = (fraction: number): number => this.#quantile(fraction) / 1000
    return {
      count: this.#steps,
      p50: at(0.5),
      p99: at(0.99),
      p999: at(0.999),
      p9999: at(0.9999),
      max: this.#state[4] / 1000,
    }
  }

  /** [[fraction, µs]…] towards 1, ten points to each further nine. */
  curve(): Points {
    const points: number[][] = []
    for (let i = 0; ; i++) {
      const fraction = 1 - 10 ** (-i / 10)
      if ((1 - fraction) * this.#steps < 1) break
      points.push([fraction, this.#quantile(fraction) / 1000])
    }
    points.push([1 - 1 / Math.max(2, this.#steps), this.#state[4] / 1000])
    return points
  }

  /**
   * Minimum mutator utilisation by progress: the steps finished in the worst window, as a share of what the program does
   * when nothing disturbs it (the 90th percentile of its milliseconds). It contains every kind of disturbance, also a
   * storm of faults that are each short. [[window in ms, share]…]; empty for runs too short to tell, and for metered ones.
   */
  mmu(): Points {
    const bins = Math.min(Math.floor((this.#state[0] - this.#state[1]) * BINS_PER_MS), MAX_BINS)
    if (this.rate > 0 || bins < 200 * BINS_PER_MS) return []
    const before = new Float64Array(bins + 1)
    for (let i = 0; i < bins; i++) before[i + 1] = before[i] + this.#bins[i]
    const perMs: number[] = []
    for (let i = 0; i + BINS_PER_MS <= bins; i += BINS_PER_MS) perMs.push(before[i + BINS_PER_MS] - before[i])
    const nominal = perMs.sort((a, b) => a - b)[Math.floor(perMs.length * 0.9)]
    // With few steps to the millisecond a window cannot tell a long step from a pause.
    return MMU_WINDOWS.filter((ms) => nominal * ms >= 20).map((ms) => {
      let worst = Infinity
      for (let i = 0; i + ms * BINS_PER_MS <= bins; i++)
        worst = Math.min(worst, before[i + ms * BINS_PER_MS] - before[i])
      return [ms, Math.min(1, worst / (nominal * ms))]
    })
  }

  /** Steps finished in each of at most `most` equal slices of `[from, to)` milliseconds: [[ms, steps per ms]…]. */
  progress(most = 120, from = 0, to = this.elapsedS * 1000): Points {
    const first = Math.floor(from * BINS_PER_MS)
    const end = Math.min(Math.floor(to * BINS_PER_MS), MAX_BINS)
    const width = Math.max(1, Math.ceil((end - first) / most))
    const points: number[][] = []
    for (let i = first; i < end; i += width) {
      let sum = 0
      for (let k = i; k < Math.min(i + width, end); k++) sum += this.#bins[k]
      points.push([i / BINS_PER_MS, Number(((sum / Math.min(width, end - i)) * BINS_PER_MS).toPrecision(3))])
    }
    return points
  }

  /** Upper edge of the bucket that holds the quantile, never above the maximum, in ns. */
  #quantile(fraction: number): number {
    const rank = Math.max(1, Math.ceil(this.#steps * fraction))
    let seen = 0
    for (let b = 0; b < BUCKETS; b++) {
      seen += this.#counts[b]
      if (seen >= rank) return Math.min(upperEdge(b), this.#state[4])
    }
    return this.#state[4]
  }
}

/** Below 2⁶ exactly; above, 64 buckets to each doubling. */
function bucketOf(ns: number): number {
  if (ns < SUB) return ns > 0 ? ns | 0 : 0
  let shift = 0
  if (ns >= 2 ** 31) {
    // Rare: over two seconds.
    shift = 8
    ns /= 256
  }
  const whole = ns | 0
  const power = 31 - Math.clz32(whole)
  const bucket = (power + shift - SUB_BITS + 1) * SUB + ((whole >>> (power - SUB_BITS)) & (SUB - 1))
  return bucket < BUCKETS ? bucket : BUCKETS - 1
}
function upperEdge(bucket: number): number {
  if (bucket < SUB) return bucket
  const power = Math.floor(bucket / SUB) + SUB_BITS - 1
  return (SUB + (bucket % SUB) + 1) * 2 ** (power - SUB_BITS)
}
