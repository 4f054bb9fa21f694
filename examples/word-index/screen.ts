// What the demo shows: a status line while it works (on a terminal), and the page at the end. All figures are the
// heap's own; what a collector does not do (no flip, no faults) is left out and not shown as a zero that looks good.

import { styleText } from 'node:util'
import type { Heap } from 'glissade'
import type { HeapIndex } from './heap-index.js'

export type Stats = ReturnType<Heap['stats']>

export interface Report {
  readonly files: number
  readonly rounds: number
  readonly bytes: number
  readonly words: number
  readonly seconds: number
  readonly window: { readonly files: number; readonly postings: number; readonly words: number }
  readonly capabilities: Heap['capabilities']
  readonly maxBytes: number | string
  readonly stats: Stats
  readonly differences: readonly string[]
  readonly matches: boolean
}

type Style = Parameters<typeof styleText>[0]

const colour = process.stdout.isTTY === true && !process.env['NO_COLOR'] && process.env['TERM'] !== 'dumb'
const paint = (style: Style, text: string): string => (colour ? styleText(style, text) : text)

const grouped = (n: number): string => Math.round(n).toLocaleString('en-US')
const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`

/** A line on standard error that is written over; nothing where that is no terminal. */
export class Progress {
  readonly #total: number
  #done = 0
  #shownAt = 0

  constructor(total: number) {
    this.#total = total
  }

  /** One more file has been taken in. */
  update(index: HeapIndex, words: number, stats: () => Stats): void {
    this.#done++
    if (!process.stderr.isTTY) return
    const now = performance.now()
    if (now - this.#shownAt < 80) return
    this.#shownAt = now
    const share = this.#done / this.#total
    const bar = '━'.repeat(Math.round(share * 24)).padEnd(24, '╌')
    const { collections } = stats()
    this.#write(
      `  ${bar} ${String(Math.floor(share * 100)).padStart(3)} %   ${grouped(words)} words, ` +
        `${grouped(index.postings)} in the window, ${collections} collections`,
    )
  }

  comparing(index: HeapIndex): void {
    this.#write(`  comparing ${grouped(index.postings)} places with plain Maps`)
  }

  end(): void {
    if (process.stderr.isTTY) process.stderr.write('\r\x1b[2K')
  }

  #write(text: string): void {
    if (process.stderr.isTTY) process.stderr.write(`\r\x1b[2K${text.slice(0, (process.stderr.columns ?? 80) - 1)}`)
  }
}

// Typed by what the heap counts: a kind that is added there and not here does not compile.
const PAGES: { readonly [how in keyof Stats['pages']]: string } = {
  moved: 'moved',
  copied: 'copied',
  zeroFilled: 'zeroed',
  kept: 'kept',
}
const LABELS: { readonly [kind in keyof Stats['pauses']]: string } = {
  stop: 'thread stopped',
  pause: 'stop the world',
  remark: 'remark',
  flip: 'flip',
  timeToSafepoint: 'time to safepoint',
  faultStall: 'one such fault',
  allocationStall: 'allocation stall',
}

const entriesOf = <K extends string, V>(record: { readonly [key in K]: V }): [K, V][] =>
  Object.entries(record) as [K, V][]

export function render(report: Report): string {
  const { capabilities, stats, window } = report
  const lines: string[] = []
  const row = (name: string, value: string): void => void lines.push(`  ${paint('dim', name.padEnd(14))}${value}`)
  const section = (title: string): void => void lines.push('', paint('bold', title))

  lines.push('', paint('bold', 'A word index in a managed heap'))
  const mode = [capabilities.relocation, capabilities.faults].filter((part) => part !== 'none')
  row('heap', `${report.maxBytes}, collector ${paint('cyan', capabilities.collector)} (${mode.join(', ')})`)
  if (capabilities.collector !== 'concurrent') for (const reason of capabilities.reasons) row('', paint('dim', reason))
  row(
    'text',
    `${grouped(report.files)} files, ${mebibytes(report.bytes / report.rounds)}, ${report.rounds} times round`,
  )
  const rate = report.words / report.seconds / 1e6
  row(
    'indexed',
    `${grouped(report.words)} words in ${report.seconds.toFixed(1)} s (${rate.toFixed(2)} million a second)`,
  )
  row(
    'window',
    `the newest ${grouped(window.files)} files: ${grouped(window.postings)} places of ${grouped(window.words)} words`,
  )

  section('While it ran')
  row('collections', grouped(stats.collections))
  for (const [how, count] of entriesOf(stats.pages)) if (count > 0) row(`pages ${PAGES[how]}`, grouped(count))
  if (stats.barrierFaults > 0) row('faults taken', `${grouped(stats.barrierFaults)} on pages not yet compacted`)
  const fallbacks = Object.entries(stats.fallbacks).map(([errno, count]) => `${errno} ${grouped(count)}`)
  if (fallbacks.length > 0) row('dealt with', fallbacks.join(', '))

  const stalls = entriesOf(stats.pauses).filter(([, stall]) => stall.count > 0)
  if (stalls.length > 0) {
    section('What the program felt, in microseconds')
    const cells = (...values: (number | string)[]): string =>
      values.map((v) => (typeof v === 'number' ? (v < 10 ? v.toFixed(1) : grouped(v)) : v).padStart(10)).join('')
    lines.push(paint('dim', `  ${''.padEnd(20)}${cells('count', 'p50', 'p99', 'p99.9', 'max')}`))
    for (const [kind, stall] of stalls) {
      lines.push(
        `  ${LABELS[kind].padEnd(20)}${grouped(stall.count).padStart(10)}${cells(stall.p50, stall.p99, stall.p999, stall.max)}`,
      )
    }
  }

  section('Compared with plain JavaScript Maps')
  if (report.matches) {
    lines.push(
      `  ${paint('green', '✓')} the same ${grouped(window.words)} words at the same ${grouped(window.postings)} places`,
    )
  } else {
    for (const difference of report.differences) lines.push(`  ${paint('red', '✗')} ${difference}`)
    if (report.differences.length === 0) lines.push(`  ${paint('red', '✗')} the number of words differs`)
  }
  lines.push('')
  return lines.join('\n')
}
