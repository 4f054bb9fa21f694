// Free pages of the portable collectors: given back they are whole again, and in a time that grows with their number.
import { expect, it } from 'vitest'
import { FreePages, type Interval } from '../dist/gc/portable/free-pages.js'

const PAGE = 1024

/** A region of `count` objects of a page each, all taken. */
function full(count: number, fromTop: boolean): FreePages {
  const pages = new FreePages(0, count * PAGE, fromTop)
  for (let i = 0; i < count; i++) expect(pages.take(PAGE, 0)).toBe((fromTop ? count - 1 - i : i) * PAGE)
  expect(pages.take(PAGE, 0)).toBe(-1)
  return pages
}
const page = (i: number): Interval => ({ start: i * PAGE, end: (i + 1) * PAGE })
const everySecond = (count: number, first: number): Interval[] =>
  Array.from({ length: count / 2 }, (_, i) => page(2 * i + first))

it.each([false, true])('what is given back is coalesced, whatever its order (from the top: %s)', (fromTop) => {
  const pages = full(10, fromTop)
  pages.give([])
  pages.give([page(7), page(2), page(3)])
  expect(pages.intervals()).toEqual([{ start: 2 * PAGE, end: 4 * PAGE }, page(7)])
  expect(pages.take(2 * PAGE, 0)).toBe(2 * PAGE)
  pages.give([page(6), page(0), page(8)])
  expect(pages.intervals()).toEqual([page(0), { start: 6 * PAGE, end: 9 * PAGE }])
  pages.give([page(1), { start: 2 * PAGE, end: 4 * PAGE }, page(9), page(5), page(4)])
  expect(pages.intervals()).toEqual([{ start: 0, end: 10 * PAGE }])
})

it('many that come back at once do not look for their places one by one', () => {
  const time = (count: number): number => {
    const pages = new FreePages(0, count * PAGE, false)
    pages.take(count * PAGE, 0)
    const begin = performance.now()
    pages.give(everySecond(count, 0))
    pages.give(everySecond(count, 1))
    expect(pages.intervals()).toEqual([{ start: 0, end: count * PAGE }])
    return performance.now() - begin
  }
  time(1000)
  // One by one this is seconds; at once some milliseconds.
  expect(time(100_000)).toBeLessThan(1000)
})
