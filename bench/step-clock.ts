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

/** Windows of the utilisation curve, in milliseconds. */
export const MMU_WINDOWS = [1, 2, 5, 10, 20, 50, 100] as const

export class StepClock {
  readonly #counts = new Uint32Array(BUCKETS)
  readonly #bins = new Uint32Array(MAX_BINS)
  /** Phase of the collector in each bin, as the last step of it saw it. */
  readonly #phases = new Uint8Array(MAX_BINS)
  #control: Int32Array = new Int32Array(1)
  #phaseIndex = 0
  /** last reading, start, interval between due times, time the next step is due, maximum in ns. */
  readonly #state = new Float64Array(5)
  #steps = 0

  /** Steps a second, or 0 for full speed. */
  constructor(readonly rate = 0) {}

  get steps(): number {
    return this.#steps
  }
  /** Seconds since `start`, as of the last step. */
  get elapsedS(): number {
    return (this.#state[0] - this.#state[1]) / 1000
  }

  /** From now on steps note the collector's phase: one load from the heap's control words. */
  watchPhase(control: Int32Array, index: number): void {
    this.#control = control
    this.#phaseIndex = index
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
    if (bin < MAX_BINS) {
      this.#bins[bin]++
      this.#phases[bin] = this.#control[this.#phaseIndex]
    }
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

  /** When the collector was in which phase: [[from ms, to ms, phase]…], idle left out; the first thousand spans. */
  phases(): Points {
    const bins = Math.min(Math.floor((this.#state[0] - this.#state[1]) * BINS_PER_MS), MAX_BINS)
    const spans: number[][] = []
    let from = 0
    let phase = 0
    for (let i = 0; i <= bins && spans.length < 1000; i++) {
      // A bin in which no step ended continues the one before.
      const now = i === bins ? 0 : this.#bins[i] === 0 ? phase : this.#phases[i]
      if (now === phase) continue
      if (phase !== 0) spans.push([from / BINS_PER_MS, i / BINS_PER_MS, phase])
      from = i
      phase = now
    }
    return spans
  }

  /** Steps finished in each of at most `most` equal slices: [[ms, steps per ms]…]. */
  progress(most = 400): Points {
    const bins = Math.min(Math.floor((this.#state[0] - this.#state[1]) * BINS_PER_MS), MAX_BINS)
    const width = Math.max(1, Math.ceil(bins / most))
    const points: number[][] = []
    for (let i = 0; i < bins; i += width) {
      let sum = 0
      for (let k = i; k < Math.min(i + width, bins); k++) sum += this.#bins[k]
      points.push([i / BINS_PER_MS, (sum / Math.min(width, bins - i)) * BINS_PER_MS])
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
