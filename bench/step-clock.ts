// Latency of a program's steps, measured without looking away.
//
// Readings are chained: a step lasts from the end of the one before it to its own end, so that a pause between two steps,
// or between a reading and what follows it, belongs to a step. A pair of readings around each operation misses most
// pauses. A metered clock lets step k start no earlier than k / rate and counts from that moment: a pause makes every step
// that was due in it late, as it does to the customers of a server (no coordinated omission).
//
// Recording allocates nothing (V8's collections must not come from here): a log-linear histogram, 64 steps to the
// doubling, and the units of work done in each tenth of a millisecond, from which utilisation follows. A unit is a step, or
// what steps of different size are made of: programs that build trees count nodes, and say so within a tree, too.
// Nor does reading the clock: each value of performance.now() is a new object of 16 bytes, which at a million readings a second
// made most of V8's collections in programs that make no garbage of their own.

import type { Latency, Points } from './rows.js'

const { hrtime } = process
// The array of the two numbers never comes to be where this is inlined.
const sinceBoot = (): number => {
  const [seconds, nanoseconds] = hrtime()
  return seconds * 1e3 + nanoseconds / 1e6
}
const origin = sinceBoot() - performance.now()

const SUB_BITS = 6
const SUB = 1 << SUB_BITS
/** Up to 2³⁶ ns, 68 seconds. */
const BUCKETS = SUB * 32
const BINS_PER_MS = 10
/** Ten minutes; zero pages until written. */
const MAX_BINS = BINS_PER_MS * 600_000
/** Peers keep less: there the table would be written when it is made. */
const PEER_BINS = BINS_PER_MS * 150_000

/** What a peer recorded: sparse arrays of index, value, index, value… */
export interface Recorded {
  readonly steps: number
  readonly elapsedMs: number
  readonly maxNs: number
  readonly counts: readonly number[]
  readonly bins: readonly number[]
  /** The most units counted at once. */
  readonly grain: number
  /** From and to, in ms since the start, of each pause that the program made for itself: from, to, from, to… */
  readonly skips: readonly number[]
}

/** Windows of the utilisation curve, in milliseconds. */
export const MMU_WINDOWS = [1, 2, 5, 10, 20, 50, 100] as const

export class StepClock {
  readonly #counts = new Uint32Array(BUCKETS)
  readonly #bins = new Uint32Array(MAX_BINS)
  /** last reading, start, interval between due times, time the next step is due, maximum in ns. */
  readonly #state = new Float64Array(5)
  #mostBins = MAX_BINS
  #steps = 0
  #grain = 1
  #skips: number[] = []

  /** Steps a second, or 0 for full speed. */
  constructor(readonly rate = 0) {}

  /** The clock of a peer, which records in the same form. */
  static of({ steps, elapsedMs, maxNs, counts, bins, grain, skips }: Recorded, rate: number): StepClock {
    const clock = new StepClock(rate)
    clock.#mostBins = PEER_BINS
    clock.#steps = steps
    clock.#grain = grain
    clock.#skips = [...skips]
    clock.#state.set([elapsedMs, 0, 0, 0, maxNs])
    for (let i = 0; i < counts.length; i += 2) clock.#counts[counts[i]] = counts[i + 1]
    for (let i = 0; i < bins.length; i += 2) clock.#bins[bins[i]] = bins[i + 1]
    return clock
  }

  /** Milliseconds on the scale of `performance.now()`. */
  protected now(): number {
    return sinceBoot() - origin
  }

  get steps(): number {
    return this.#steps
  }
  /** When `start` was called, on the scale of `performance.now()`. */
  get startedAt(): number {
    return this.#state[1]
  }
  /** Seconds since `start`, as of the last step. */
  get elapsedS(): number {
    return (this.#state[0] - this.#state[1]) / 1000
  }

  start(): void {
    const now = this.now()
    this.#counts.fill(0)
    this.#bins.fill(0, 0, BINS_PER_MS)
    this.#steps = 0
    this.#grain = 1
    this.#skips = []
    this.#state.set([now, now, this.rate > 0 ? 1000 / this.rate : 0, now, 0])
  }

  /** Ends a step, in which `units` of work were done that {@link work} has not counted. */
  step(units = 1): void {
    const state = this.#state
    const now = this.now()
    const ns = (now - (this.rate > 0 ? state[3] : state[0])) * 1e6
    state[0] = now
    if (ns > state[4]) state[4] = ns
    this.#counts[bucketOf(ns)]++
    this.#steps++
    this.#count(now, units)
  }

  /** Within a step: so much work has been done since the last call. */
  work(units: number): void {
    this.#count(this.now(), units)
  }

  #count(now: number, units: number): void {
    if (units > this.#grain) this.#grain = units
    const bin = ((now - this.#state[1]) * BINS_PER_MS) | 0
    if (bin < MAX_BINS) this.#bins[bin] += units
  }

  /** What the program did since the last step is no step, and no lack of utilisation: the next begins now. */
  skip(): void {
    const now = this.now()
    this.#skips.push(this.#state[0] - this.#state[1], now - this.#state[1])
    this.#state[0] = now
  }

  /** Metered: true when the next step is due; the caller polls its heap meanwhile. Full speed: always true. */
  due(): boolean {
    if (this.rate === 0) return true
    const state = this.#state
    const next = state[1] + this.#steps * state[2]
    if (this.now() < next) return false
    state[3] = next
    return true
  }

  /**
   * Whether a program of so many seconds is over. Metered: when it has done all that came in them, also what a pause at the end made
   * late. At full speed it looks at the clock at every sixteenth step.
   */
  over(seconds: number): boolean {
    if (this.rate > 0) return this.#steps >= this.rate * seconds
    return (this.#steps & 15) === 0 && this.#state[0] - this.#state[1] > seconds * 1000
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
   * Minimum mutator utilisation by progress: the work done in the worst window, as a share of what the program does when
   * nothing disturbs it (the 90th percentile of its milliseconds). It contains every kind of disturbance, also a storm of
   * faults that are each short. With `during`, spans in ms since the start, only of windows that touch one of them. [[window
   * in ms, share]…]; empty for runs too short to tell, and for metered ones.
   */
  mmu(during?: Points): Points {
    const recorded = Math.min(Math.floor((this.#state[0] - this.#state[1]) * BINS_PER_MS), this.#mostBins)
    if (this.rate > 0 || recorded < 200 * BINS_PER_MS) return []
    const skipped = this.#inSpans(pairs(this.#skips), recorded)
    const wanted = during === undefined ? undefined : this.#inSpans(during, recorded)
    // Work and wanted bins before each bin that counts: what the program skipped is cut out of its time.
    const before = [0]
    const marked = [0]
    for (let i = 0; i < recorded; i++) {
      if (skipped[i] === 1) continue
      before.push((before.at(-1) as number) + this.#bins[i])
      marked.push((marked.at(-1) as number) + (wanted?.[i] ?? 1))
    }
    const bins = before.length - 1
    const perMs: number[] = []
    for (let i = 0; i + BINS_PER_MS <= bins; i += BINS_PER_MS) perMs.push(before[i + BINS_PER_MS] - before[i])
    const nominal = perMs.sort((a, b) => a - b)[Math.floor(perMs.length * 0.9)] ?? 0
    // With little work to the millisecond a window cannot tell a long step from a pause.
    return MMU_WINDOWS.filter((ms) => nominal * ms >= 20 * this.#grain).flatMap((ms) => {
      let worst = Infinity
      for (let i = 0, end = ms * BINS_PER_MS; end <= bins; i++, end++)
        if (marked[end] > marked[i]) worst = Math.min(worst, before[end] - before[i])
      return worst === Infinity ? [] : [[ms, Math.min(1, worst / (nominal * ms))]]
    })
  }

  /** 1 for every bin that a span, in ms, lies in. */
  #inSpans(spans: Points, bins: number): Uint8Array {
    const found = new Uint8Array(bins)
    for (const [from, to] of spans)
      found.fill(1, Math.max(0, Math.floor(from * BINS_PER_MS)), Math.max(0, Math.ceil(to * BINS_PER_MS)))
    return found
  }

  /** Work done in each of at most `most` equal slices of `[from, to)` milliseconds: [[ms, units per ms]…]. */
  progress(most = 120, from = 0, to = this.elapsedS * 1000): Points {
    const first = Math.floor(from * BINS_PER_MS)
    const end = Math.min(Math.floor(to * BINS_PER_MS), this.#mostBins)
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

function pairs(flat: readonly number[]): Points {
  return Array.from({ length: flat.length >> 1 }, (_, i) => [flat[2 * i], flat[2 * i + 1]])
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
