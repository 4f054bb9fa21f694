// What `--stats` and `--gc-log` say about the heap.

import { STATISTICS_DOCS, type HeapStatistics } from 'glissade'

const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`

/** The statistics as aligned lines: name, figure, what it is. */
export function describeStatistics(stats: HeapStatistics): string {
  const rows = Object.entries(STATISTICS_DOCS).map(([name, doc]) => {
    const figure = name.split('.').reduce<unknown>((at, key) => (at as Record<string, unknown>)[key], stats)
    return [name, show(name, figure), doc]
  })
  rows.unshift(['collector', stats.collector, ''])
  const width = (column: number): number => Math.max(...rows.map((row) => row[column].length))
  const [first, second] = [width(0), width(1)]
  return rows.map(([name, figure, doc]) => `${name.padEnd(first)}  ${figure.padStart(second)}  ${doc}\n`).join('')
}

function show(name: string, figure: unknown): string {
  if (typeof figure === 'number') return name.startsWith('bytes') ? mebibytes(figure) : String(figure)
  const { count, p50, max } = figure as { count: number; p50: number; max: number }
  return count === 0 ? '-' : `${count} × ${p50.toFixed(0)} µs, longest ${max.toFixed(0)}`
}

/** One line for a collection that has just been noticed. */
export function describeCollection(stats: HeapStatistics, seconds: number): string {
  const { collections, bytesLive, bytesAllocated, pages } = stats
  const placed = pages.moved + pages.copied + pages.kept
  return `[gc ${seconds.toFixed(3)} s] ${collections}: ${mebibytes(bytesLive)} live, ${mebibytes(bytesAllocated)} allocated, ${placed} pages placed\n`
}
