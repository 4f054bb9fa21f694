// The percentiles of a histogram: the smallest duration that so large a share of all is not longer than.
import { describe, expect, it } from 'vitest'
import { Histogram } from '../dist/gc/histogram.js'

function summaryOf(durations: readonly number[]): ReturnType<Histogram['summary']> {
  const histogram = new Histogram()
  for (const ns of durations) histogram.recordNs(ns)
  return histogram.summary()
}
const upTo = (last: number, unit = 1): number[] => Array.from({ length: last }, (_, i) => (i + 1) * unit)

describe('a histogram', () => {
  it('is exact below 64 nanoseconds', () => {
    expect(summaryOf(upTo(3))).toMatchObject({ count: 3, sum: 0.006, p50: 0.002, p99: 0.003, p9999: 0.003, max: 0.003 })
    expect(summaryOf(upTo(50))).toMatchObject({ count: 50, p50: 0.025, p99: 0.05, max: 0.05 })
    expect(summaryOf(upTo(50)).buckets).toEqual(upTo(50).map((ns) => [ns / 1000, 1]))
    expect(summaryOf([...upTo(50), ...upTo(50)])).toMatchObject({ p50: 0.025, p99: 0.05 })
  })

  it('has every percentile to 1.6 %, and the longest exactly', () => {
    const { count, sum, p50, p99, p999, p9999, max } = summaryOf(upTo(100_000, 1000))
    expect({ count, max }).toEqual({ count: 100_000, max: 100_000 })
    expect(sum).toBeCloseTo((100_000 * 100_001) / 2, 3)
    for (const [found, expected] of [
      [p50, 50_000],
      [p99, 99_000],
      [p999, 99_900],
      [p9999, 99_990],
    ]) {
      expect(found).toBeGreaterThanOrEqual(expected)
      expect(found).toBeLessThanOrEqual(expected * 1.016)
    }
  })

  it('tells one long duration of many from those of which there are more', () => {
    // 1 ms in so many of 1 µs.
    const tail = (long: number, all: number): number[] => [
      ...new Array<number>(all - long).fill(1000),
      ...new Array<number>(long).fill(1e6),
    ]
    const isLong = (us: number): boolean => us > 500
    const shape = ({ p50, p99, p999, p9999, max }: ReturnType<typeof summaryOf>): boolean[] =>
      [p50, p99, p999, p9999, max].map(isLong)
    expect(shape(summaryOf(tail(1, 100)))).toEqual([false, false, true, true, true])
    expect(shape(summaryOf(tail(2, 100)))).toEqual([false, true, true, true, true])
    expect(shape(summaryOf(tail(1, 10_000)))).toEqual([false, false, false, false, true])
    expect(shape(summaryOf(tail(2, 10_000)))).toEqual([false, false, false, true, true])
    expect(shape(summaryOf(tail(51, 100)))).toEqual([true, true, true, true, true])
  })

  it('takes what no clock should give for nothing, and the longest for what they are', () => {
    expect(summaryOf([-5, 0, 0.4])).toMatchObject({ count: 3, sum: 0, p50: 0, max: 0, buckets: [[0, 3]] })
    const { p50, max } = summaryOf([2 ** 40])
    expect([p50, max]).toEqual([2 ** 40 / 1000, 2 ** 40 / 1000])
    expect(summaryOf([])).toEqual({ count: 0, sum: 0, p50: 0, p99: 0, p999: 0, p9999: 0, max: 0, buckets: [] })
  })
})
