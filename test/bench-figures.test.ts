// How benchmarks make figures of what they measured: percentiles, latency that leaves nothing out, medians, ratios, tables.
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'

interface Latency {
  readonly count: number
  readonly p50: number
  readonly p99: number
  readonly p999: number
  readonly p9999: number
  readonly max: number
}
type Points = readonly (readonly number[])[]
type Row = Record<string, unknown>
interface Outcome {
  readonly figures: Record<string, number>
  readonly histograms?: Record<string, Latency>
  readonly series?: Record<string, Points>
}
interface Clock {
  readonly steps: number
  readonly startedAt: number
  start(): void
  step(): void
  skip(): void
  due(): boolean
  latency(): Latency
  mmu(during?: Points): Points
  over(seconds: number): boolean
}
const load = async <T>(name: string): Promise<T> =>
  (await import(new URL(`../dist/bench/${name}.js`, import.meta.url).href)) as T
const { peakRssMiB, summarise } = await load<{
  peakRssMiB(): number
  summarise(values: readonly number[]): Latency
}>('measure')
const { median, mergeRuns } = await load<{
  median(values: readonly number[]): number
  mergeRuns(of: { bench: string; workload: string; system: string }, outcomes: readonly Outcome[]): Row
}>('rows')
const { StepClock } = await load<{
  StepClock: { new (rate?: number): Clock; of(recorded: Record<string, unknown>, rate: number): Clock }
}>('step-clock')
const { micro } = await load<{ micro: { compare(rows: readonly Row[]): Row[] } }>('micro')
const { relocation } = await load<{ relocation: { compare(rows: readonly Row[]): Row[] } }>('relocation')
const { barrier } = await load<{ barrier: { rows(one: Row, outcomes: readonly unknown[]): Row[] } }>('barrier')
const { compareWithNone } = await load<{ compareWithNone(rows: readonly Row[]): Row[] }>('workload-bench')
const { basisOf, cellsOf } = await load<{
  basisOf(rows: readonly Row[]): string
  cellsOf(bench: string, rows: readonly Row[]): string[][]
}>('report/tables')

const upTo = (last: number): number[] => Array.from({ length: last }, (_, i) => i + 1)

describe('percentiles of a list', () => {
  it('are the values that so many are not longer than, in whatever order they come', () => {
    expect(summarise([3, 1, 2])).toEqual({ count: 3, p50: 2, p99: 3, p999: 3, p9999: 3, max: 3 })
    const many = summarise(upTo(20_000).reverse())
    expect(many).toEqual({ count: 20_000, p50: 10_000, p99: 19_800, p999: 19_980, p9999: 19_998, max: 20_000 })
    expect(summarise([])).toEqual({ count: 0, p50: 0, p99: 0, p999: 0, p9999: 0, max: 0 })
  })
})

it.runIf(process.platform === 'linux')('peak memory is what the kernel says, in units of 1024 × 1024', () => {
  const kernel = (): number =>
    Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) / 1024
  const before = kernel()
  const told = peakRssMiB()
  expect(told).toBeGreaterThanOrEqual(before)
  expect(told).toBeLessThanOrEqual(kernel())
})

describe('the clock of steps', () => {
  /** A clock on a time of its own, in milliseconds. */
  function onTime(rate = 0): { clock: Clock; at: (ms: number) => void } {
    let now = 1000
    class ClockOnTime extends StepClock {
      protected now(): number {
        return now
      }
    }
    const clock = new ClockOnTime(rate)
    clock.start()
    return { clock, at: (ms) => void (now = 1000 + ms) }
  }
  const near = (us: number, expected: number): void => {
    expect(us).toBeGreaterThanOrEqual(expected * 0.999)
    expect(us).toBeLessThanOrEqual(expected * 1.016)
  }

  it('counts a step from the end of the one before it, and nothing of what is skipped', () => {
    const { clock, at } = onTime()
    for (let k = 1; k <= 99; k++) {
      at(k)
      clock.step()
    }
    at(500)
    clock.skip()
    at(505)
    clock.step()
    const { count, p50, p99, p999, max } = clock.latency()
    expect(count).toBe(100)
    near(p50, 1000)
    near(p99, 1000)
    near(p999, 5000)
    expect(max).toBe(5000)
  })

  it('that is metered counts from when a step was due: one pause makes many late', () => {
    const { clock, at } = onTime(1000)
    expect(clock.due()).toBe(true)
    // The first step takes ten milliseconds, in which ten others are due; each of them then takes a tenth of one.
    at(10)
    clock.step()
    for (let k = 1; k <= 10; k++) {
      expect(clock.due()).toBe(true)
      at(10 + k / 10)
      clock.step()
    }
    const { count, p50, max } = clock.latency()
    expect([count, max]).toEqual([11, 10_000])
    near(p50, 5500)
    // The next one is due after eleven milliseconds.
    at(10.99)
    expect(clock.due()).toBe(false)
    at(11)
    expect(clock.due()).toBe(true)
  })

  it('that is metered is over when all that came is done, also what a pause at the end made late', () => {
    const { clock, at } = onTime(1000)
    for (let k = 1; k <= 1900; k++) {
      at(k)
      expect([clock.over(2), clock.due()]).toEqual([false, true])
      clock.step()
    }
    // A pause of half a second, across the end.
    at(2400)
    let late = 0
    for (; !clock.over(2); late++) {
      expect(clock.due()).toBe(true)
      clock.step()
    }
    expect([late, clock.latency().count]).toEqual([100, 2000])
    near(clock.latency().p99, 480_000)
  })

  it('at full speed is over when the time is, which it looks at every sixteenth step', () => {
    const { clock, at } = onTime()
    at(1900)
    for (let k = 1; k <= 16; k++) clock.step()
    expect(clock.over(2)).toBe(false)
    at(2100)
    clock.step()
    expect(clock.over(2)).toBe(false)
    for (let k = 18; k <= 32; k++) clock.step()
    expect(clock.over(2)).toBe(true)
  })

  it('goes with the clock of the process, on the same scale', () => {
    const clock = new StepClock()
    const before = performance.now()
    clock.start()
    expect(clock.startedAt).toBeGreaterThanOrEqual(before - 1)
    expect(clock.startedAt).toBeLessThanOrEqual(performance.now() + 1)
  })

  it('takes of a peer no more time than it kept', () => {
    // 200 seconds of steady work, of which a peer keeps 150.
    const bins = Array.from({ length: 1_500_000 }, (_, bin) => [bin, 10]).flat()
    const recorded = { steps: 20_000_000, elapsedMs: 200_000, maxNs: 1e6, counts: [], bins, grain: 1, skips: [] }
    expect(
      StepClock.of(recorded, 0)
        .mmu()
        .map(([, share]) => share),
    ).toEqual(new Array(7).fill(1))
  })

  it('has steps of any length in their place', () => {
    for (const ms of [0.03, 1, 700, 2147, 2148, 3000, 20_000, 60_000]) {
      const { clock, at } = onTime()
      at(ms)
      clock.step()
      at(2 * ms)
      clock.step()
      at(12 * ms)
      clock.step()
      near(clock.latency().p50, ms * 1000)
    }
  })

  it('has the percentiles that their names say', () => {
    const counts = [1, 9_000, 2, 899, 3, 90, 4, 9, 5, 1, 6, 1]
    const recorded = { steps: 10_000, elapsedMs: 1, maxNs: 6, counts, bins: [], grain: 1, skips: [] }
    expect(StepClock.of(recorded, 0).latency()).toEqual({
      count: 10_000,
      p50: 0.001,
      p99: 0.003,
      p999: 0.004,
      p9999: 0.005,
      max: 0.006,
    })
  })

  it('takes for undisturbed work what the best tenth of the time gets done', () => {
    // Most of the time the program is at half of its speed.
    const bins = Array.from({ length: 10_000 }, (_, bin) => [bin, bin < 6000 ? 5 : 10]).flat()
    const clock = StepClock.of({ steps: 70_000, elapsedMs: 1000, maxNs: 1e6, counts: [], bins, grain: 1, skips: [] }, 0)
    expect(clock.mmu().map(([, share]) => share)).toEqual(new Array(7).fill(0.5))
  })
})

describe('several runs of a case', () => {
  const of = { bench: 'b', workload: 'w', system: 's' }
  const latency = (base: number): Latency => ({
    count: base,
    p50: base + 1,
    p99: base + 2,
    p999: base + 3,
    p9999: base + 4,
    max: base + 5,
  })

  it('have the median in the middle, or between the two there', () => {
    expect([median([3, 1, 2]), median([4, 1, 3, 2]), median([10]), median([10, 9])]).toEqual([2, 2.5, 10, 9.5])
  })

  it('are medians figure by figure, with the smallest and the largest, and the curves of one of them', () => {
    const run = (wallS: number, base: number, more = {}): Outcome => ({
      figures: { wallS, cpuS: 10 - wallS, ...more },
      histograms: { stopUs: latency(base) },
      series: { mmu: [[1, wallS]] },
    })
    expect(mergeRuns(of, [run(3, 100), run(1, 300, { once: 7 }), run(2, 200), run(5, 400)])).toEqual({
      ...of,
      runs: 4,
      wallS: 2.5,
      cpuS: 7.5,
      once: 7,
      stopUs: latency(250),
      spread: { wallS: [1, 5], cpuS: [5, 9], 'stopUs.max': [105, 405] },
      series: { mmu: [[1, 2]] },
    })
    // A run in which nothing waited is one without waits, not one of which nothing is known.
    const waits: Outcome[] = [
      { figures: {}, histograms: {} },
      { figures: {} },
      { figures: {}, histograms: { stopUs: latency(7) } },
    ]
    expect(mergeRuns(of, waits)).toMatchObject({ stopUs: { count: 0, max: 0 }, spread: { 'stopUs.max': [0, 12] } })
    // One run has no spread; what was not counted is left out.
    const empty = { ...latency(0), count: 0 }
    expect(mergeRuns(of, [{ figures: { wallS: 1, nothing: NaN }, histograms: { stopUs: empty } }])).toEqual({
      ...of,
      runs: 1,
      wallS: 1,
    })
  })

  it('are compared with the same program that never collects, in processor time', () => {
    const row = (system: string, workload: string, cpuS: number, wallS: number): Row => ({
      system,
      workload,
      cpuS,
      wallS,
    })
    const rows = [
      row('concurrent', 'a', 3, 2),
      row('stop-the-world', 'a', 4, 4),
      row('none', 'a', 2, 1),
      row('v8', 'a', 9, 9),
      row('concurrent', 'b', 5, 5),
    ]
    expect(compareWithNone(rows)).toEqual([
      { ...rows[0], overNone: 1.5, wallOverNone: 2 },
      { ...rows[1], overNone: 2, wallOverNone: 4 },
      ...rows.slice(2),
    ])
  })

  it('of micro are compared with plain objects: how many times their cost', () => {
    const row = (workload: string, system: string, nsPerOp: number): Row => ({ workload, system, nsPerOp })
    const rows = [row('read', 'concurrent', 3), row('read', 'v8', 2), row('store', 'concurrent', 5)]
    expect(micro.compare(rows)).toEqual([{ ...rows[0], overV8: 1.5 }, rows[1], rows[2]])
  })

  it('of relocation are compared with copying: MOVE is the dividend, in batches, by page, and placing alone', () => {
    const row = (system: string, compactUsPerPage: number, placeUsPerPage: number): Row => ({
      ...{ workload: 'w', system, compactUsPerPage, placeUsPerPage, buildUsPerPage: 100 },
    })
    const rows = [row('MOVE', 3, 0.5), row('COPY', 4, 2), row('COPY page by page', 10, 8)]
    expect(relocation.compare(rows)).toEqual([
      { ...rows[0], moveOverCopy: 0.75, moveOverCopyByPage: 0.3, placeMoveOverCopy: 0.25 },
      ...rows.slice(1),
    ])
  })

  it('of the bare barrier are compared with a first touch of the same run', () => {
    const timed = (p50: number, perPage: number): Record<string, number> => ({ ...latency(0), count: 1, p50, perPage })
    const outcome = (touch: number): unknown => ({
      figures: { wallS: 1, cpuS: 1, peakRssMiB: 1 },
      histograms: {
        'first touch': timed(touch, touch),
        'bare SIGBUS': timed(3, 3),
        'sigbus MOVE 1': timed(6, 6),
        'thread COPY 16': timed(20, 0.5),
        'place MOVE 64': timed(9, 0.1),
      },
    })
    const rows = barrier.rows({ bench: 'barrier', workload: 'bare' }, [outcome(2), outcome(1), outcome(3)])
    const shown = rows.map(({ workload, system, perPageUs, faultOverFirstTouch, perPageWithFaultAround }) => [
      ...[workload, system, perPageUs, faultOverFirstTouch, perPageWithFaultAround],
    ])
    // Medians over the runs of each run's ratio.
    expect(shown).toEqual([
      ['first touch', 'native', 2, undefined, undefined],
      ['bare SIGBUS', 'native', 3, undefined, undefined],
      ['bare: a fault places one page', 'sigbus, MOVE', 6, 3, undefined],
      ['bare: a fault places 16 pages', 'thread, COPY', 0.5, undefined, 0.25],
      ['bare: placing 64 pages, no fault', 'MOVE', 0.1, undefined, undefined],
    ])
  })

  it('stand in the table under what they are', () => {
    const row = (system: string, more: Row = {}): Row => ({
      ...{ bench: 'quads', workload: 'w', system, runs: 3, wallS: 2, cpuS: 3, peakRssMiB: 70 },
      latencyUs: latency(10),
      [system === 'v8' ? 'v8StopUs' : 'stopUs']: latency(200),
      ...more,
    })
    const rows = [
      row('concurrent', {
        overNone: 1.25,
        spread: { wallS: [1.8, 2.2], 'latencyUs.max': [14, 99] },
        series: {
          mmu: [
            [1, 0.1],
            [10, 0.5],
            [100, 0.9],
          ],
          mmuCompacting: [[10, 0.25]],
        },
      }),
      row('v8', { runs: 1 }),
    ]
    const [headings, first, second] = cellsOf('quads', rows)
    const by = (cells: string[]): [string, string][] => headings.map((heading, i) => [heading, cells[i]])
    expect(by(first)).toEqual([
      ['', 'w'],
      ['', 'concurrent'],
      ['wall s', '2.00'],
      ['±', '10 %'],
      ['cpu s', '3.00'],
      ['× none', '1.25'],
      ['rss MiB', '70'],
      ['p50 µs', '11.0'],
      ['p99', '12.0'],
      ['p99.9', '13.0'],
      ['p99.99', '14.0'],
      ['worst', '15.0'],
      ['of any run', '99.0'],
      ['stop p50', '201'],
      ['stop max', '205'],
      ['MMU 1 ms', '10 %'],
      ['10 ms', '50 %'],
      ['100 ms', '90 %'],
      ['10 ms', '25 %'],
      ['runs', '3'],
    ])
    expect(second.slice(0, 4)).toEqual(['', 'v8', '2.00', ''])
    expect(by(second)).toContainEqual(['stop max', '205'])
    expect(basisOf(rows)).toBe('medians of 1, 3 runs; of a single one nothing is known of the spread')
    expect(basisOf(rows.slice(1))).toBe('one run of each, so nothing is known of the spread')
  })
})
