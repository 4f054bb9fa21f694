// `glissade bench`: pauses, throughput, relocation, barrier and single operations, beside what people would use instead.
//
// The benchmarks themselves are programs on the public API (bench/ of the repository, dist/bench when built) and are
// loaded when asked for: this file is their command line and the tables on the terminal.

import { existsSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { integer, UsageError, type CliCommand } from './command.js'
import { painter, StatusLine } from './screen.js'

/** The part of bench/rows.ts that the tables need. */
interface Row {
  readonly bench: string
  readonly workload: string
  readonly system: string
  readonly runs: number
  readonly [figure: string]: unknown
}
interface Report {
  readonly machine: object
  readonly rows: readonly Row[]
  readonly skipped: readonly string[]
}
/** What bench/suite.ts exports. */
interface Suite {
  list(): readonly { readonly name: string; readonly summary: string }[]
  runSuite(options: {
    readonly names: readonly string[]
    readonly quick: boolean
    readonly runs: number
    readonly filter: readonly string[]
    readonly progress: (text: string) => void
    readonly complain: (text: string) => void
    readonly onRows: (bench: { readonly name: string; readonly summary: string }, rows: readonly Row[]) => void
  }): Promise<Report>
}

const NAMES = [
  'micro',
  'pauses',
  'barrier',
  'relocation',
  'pusher',
  'binary-trees',
  'gcbench',
  'quads',
  'churn',
  'fragmentation',
  'hashtable',
  'multiples',
  'lox',
]

async function load<T>(name: string): Promise<T> {
  const url = new URL(`../bench/${name}.js`, import.meta.url)
  if (!existsSync(fileURLToPath(url))) throw new Error('the benchmarks are not built: npm run build')
  return (await import(url.href)) as T
}

export const bench: CliCommand = {
  name: 'bench',
  summary: 'pauses, throughput, relocation, barrier and micro benchmarks, beside other collectors',
  operands: '[names...]',
  options: [
    { flags: '--json <file>', description: 'write machine and rows as one JSON object' },
    { flags: '--html <file>', description: 'write a self-contained report with curves' },
    { flags: '--quick', description: 'small sizes, one run of each: two minutes for everything' },
    {
      flags: '--runs <n>',
      description: 'runs of each case (default: as each benchmark says, 3 to 5)',
      parse: integer('--runs', 1, 100),
    },
    {
      flags: '--filter <texts>',
      description: "only cases whose workload and system contain these texts, separated by semicolons: '2048 MiB; v8'",
    },
  ],
  notes: [
    `Benchmarks: ${NAMES.join(', ')}. Without names: all of them.`,
    'Every case runs in a process of its own; figures are medians, and the order of the cases alternates.',
    'docs/benchmarks.md says what each figure means.',
  ].join('\n'),
  async run(given, operands) {
    for (const name of operands) {
      if (!NAMES.includes(name)) throw new UsageError(`no benchmark is called '${name}': there are ${NAMES.join(', ')}`)
    }
    const suite = await load<Suite>('suite')
    const status = new StatusLine()
    const say = (text: string): void => {
      status.clear()
      console.log(text)
    }
    const start = performance.now()
    const report = await suite.runSuite({
      names: operands,
      quick: given['quick'] === true,
      runs: (given['runs'] as number | undefined) ?? 0,
      filter: ((given['filter'] as string | undefined) ?? '').split(';').map((text) => text.trim()),
      progress: (text) => status.update(() => `${((performance.now() - start) / 1000).toFixed(0)} s  ${text}`),
      complain(text) {
        status.clear()
        console.error(text)
      },
      onRows: (of, rows) => say(table(of, rows)),
    })
    status.clear()
    const json = given['json'] as string | undefined
    const html = given['html'] as string | undefined
    if (json !== undefined) {
      writeFileSync(json, `${JSON.stringify(report, null, 1)}\n`)
      console.error(`rows written to ${json}`)
    }
    if (html !== undefined) {
      const { htmlReport } = await load<{ htmlReport(of: Report): string }>('report/html')
      writeFileSync(html, htmlReport(report))
      console.error(`report written to ${html}`)
    }
    return report.rows.length > 0 ? 0 : 1
  },
}

const at = (row: Row, histogram: string, percentile: string): number | undefined =>
  (row[histogram] as { readonly [percentile: string]: number } | undefined)?.[percentile]
const micros = (v: number): string =>
  v >= 10_000 ? `${(v / 1000).toFixed(1)} ms` : v >= 100 ? v.toFixed(0) : v.toFixed(1)
/** On plain objects the stops are those of V8's collector. */
const stops = (row: Row): string => (row.system === 'v8' ? 'v8StopUs' : 'stopUs')
const percent = (v: number): string => `${(v * 100).toFixed(0)} %`
const mmu = (row: Row, ms: number): number | undefined =>
  (row['series'] as { readonly mmu?: readonly (readonly number[])[] } | undefined)?.mmu?.find(
    ([window]) => window === ms,
  )?.[1]

/** Columns of the terminal's table: heading, where the figure comes from, how it is written. */
const COLUMNS: readonly (readonly [string, (row: Row) => unknown, (value: number) => string])[] = [
  ['ns/op', (row) => row['nsPerOp'], (v) => v.toFixed(2)],
  ['× V8', (row) => row['overV8'], (v) => v.toFixed(2)],
  ['± %', (row) => row['errorPercent'], (v) => v.toFixed(0)],
  ['wall s', (row) => row['wallS'], (v) => v.toFixed(2)],
  ['cpu s', (row) => row['cpuS'], (v) => v.toFixed(2)],
  ['rss MiB', (row) => row['peakRssMiB'], (v) => v.toFixed(0)],
  ['steps/s', (row) => row['stepsPerS'], (v) => Math.round(v).toLocaleString('en-US')],
  ['p50 µs', (row) => at(row, 'latencyUs', 'p50'), micros],
  ['p99.9', (row) => at(row, 'latencyUs', 'p999'), micros],
  ['worst', (row) => at(row, 'latencyUs', 'max'), micros],
  ['stop p50', (row) => at(row, stops(row), 'p50'), micros],
  ['p99', (row) => at(row, stops(row), 'p99'), micros],
  ['max', (row) => at(row, stops(row), 'max'), micros],
  ['fault p50', (row) => at(row, 'faultUs', 'p50'), micros],
  ['max', (row) => at(row, 'faultUs', 'max'), micros],
  ['wait max', (row) => at(row, 'allocationStallUs', 'max'), micros],
  ['MMU 10 ms', (row) => mmu(row, 10), percent],
  ['100 ms', (row) => mmu(row, 100), percent],
  ['× first touch', (row) => row['faultOverFirstTouch'], (v) => v.toFixed(2)],
  ['a page', (row) => row['perPageWithFaultAround'], (v) => v.toFixed(3)],
  ['compact ms', (row) => row['compactionMs'], (v) => v.toFixed(1)],
  ['build µs', (row) => row['buildUsPerPage'], (v) => v.toFixed(2)],
  ['place µs', (row) => row['placeUsPerPage'], (v) => v.toFixed(3)],
  ['move/copy', (row) => row['moveOverCopy'], (v) => v.toFixed(2)],
  ['× none', (row) => row['overNone'], (v) => v.toFixed(2)],
]

/** How many of the columns belong to single operations; the others would say what the harness did. */
const SINGLE_OPERATION = 3

/** The rows of one benchmark; only columns that say something. */
export function table(of: { readonly name: string; readonly summary: string }, rows: readonly Row[]): string {
  const paint = painter()
  const single = rows.some((row) => row['nsPerOp'] !== undefined)
  const columns = COLUMNS.slice(0, single ? SINGLE_OPERATION : undefined).filter(([, pick]) =>
    rows.some((row) => pick(row) !== undefined),
  )
  const cells = rows.map((row, i) => [
    i > 0 && rows[i - 1].workload === row.workload ? '' : row.workload,
    row.system,
    ...columns.map(([, pick, write]) => {
      const value = pick(row)
      return value === undefined ? '' : write(value as number)
    }),
  ])
  const headings = ['', '', ...columns.map(([heading]) => heading)]
  const widths = headings.map((heading, c) => Math.max(heading.length, ...cells.map((line) => line[c].length)))
  const pad = (line: readonly string[]): string =>
    line.map((cell, c) => (c < 2 ? cell.padEnd(widths[c]) : cell.padStart(widths[c]))).join('  ')
  return [
    '',
    `${paint('bold', of.name)}  ${paint('dim', of.summary)}`,
    paint('dim', pad(headings).trimEnd()),
    ...cells.map((line) => pad(line).trimEnd()),
  ].join('\n')
}
