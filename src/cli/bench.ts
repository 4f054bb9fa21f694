// `glissade bench`: pauses, throughput, relocation, barrier and single operations, beside what people would use instead.
//
// The benchmarks themselves are programs on the public API (bench/ of the repository, dist/bench when built) and are
// loaded when asked for: this file is their command line and the tables on the terminal.

import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
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
  readonly machine: { readonly [what: string]: unknown }
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
    { flags: '--markdown <file>', description: 'write the tables as Markdown' },
    {
      flags: '--from <path>',
      description: 'run nothing: take the rows of a --json file, or of all .json files of a folder',
    },
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
    let doing = ''
    const tick = (): void => status.update(() => `${((performance.now() - start) / 1000).toFixed(0)} s  ${doing}`)
    // A case may take a minute: the line shows that time goes by.
    const ticking = setInterval(tick, 1000)
    const runAll = (): Promise<Report> =>
      suite.runSuite({
        names: operands,
        quick: given['quick'] === true,
        runs: (given['runs'] as number | undefined) ?? 0,
        filter: ((given['filter'] as string | undefined) ?? '').split(';').map((text) => text.trim()),
        progress(text) {
          doing = text
          tick()
        },
        complain(text) {
          status.clear()
          console.error(text)
        },
        onRows: (of, rows) => say(table(of, rows)),
      })
    const from = given['from'] as string | undefined
    const report = from === undefined ? await runAll() : readReports(from)
    clearInterval(ticking)
    status.clear()
    if (from !== undefined) {
      for (const of of suite.list()) {
        const rows = report.rows.filter((row) => row.bench === of.name)
        if (rows.length > 0) say(table(of, rows))
      }
    }
    const json = given['json'] as string | undefined
    const html = given['html'] as string | undefined
    const text = given['markdown'] as string | undefined
    if (json !== undefined) {
      writeFileSync(json, `${JSON.stringify(report, null, 1)}\n`)
      console.error(`rows written to ${json}`)
    }
    if (html !== undefined) {
      const { htmlReport } = await load<{ htmlReport(of: Report): string }>('report/html')
      writeFileSync(html, htmlReport(report))
      console.error(`report written to ${html}`)
    }
    if (text !== undefined) {
      writeFileSync(
        text,
        markdown(report, () => suite.list()),
      )
      console.error(`tables written to ${text}`)
    }
    return report.rows.length > 0 ? 0 : 1
  },
}

/** Reports that were written with --json: of one file, or of every .json file of a folder, taken together. */
function readReports(path: string): Report {
  if (!existsSync(path))
    throw new UsageError(`--from takes a file or a folder of --json results; '${path}' is not there`)
  const files = statSync(path).isDirectory()
    ? readdirSync(path)
        .filter((file) => file.endsWith('.json'))
        .sort()
        .map((file) => join(path, file))
    : [path]
  const reports = files.map((file) => JSON.parse(readFileSync(file, 'utf8')) as Report)
  if (reports.length === 0) throw new UsageError(`--from: no .json file in '${path}'`)
  return {
    machine: reports[0].machine,
    rows: reports.flatMap(({ rows }) => rows),
    skipped: [...new Set(reports.flatMap(({ skipped }) => skipped))],
  }
}

const at = (row: Row, histogram: string, percentile: string): number | undefined =>
  (row[histogram] as { readonly [percentile: string]: number } | undefined)?.[percentile]
const micros = (v: number): string =>
  v >= 10_000 ? `${(v / 1000).toFixed(1)} ms` : v >= 100 ? v.toFixed(0) : v.toFixed(1)
/** On plain objects the stops are those of V8's collector. */
const stops = (row: Row): string => (row.system.startsWith('v8') ? 'v8StopUs' : 'stopUs')
const percent = (v: number): string => `${(v * 100).toFixed(0)} %`
const mmu = (row: Row, ms: number): number | undefined =>
  (row['series'] as { readonly mmu?: readonly (readonly number[])[] } | undefined)?.mmu?.find(
    ([window]) => window === ms,
  )?.[1]

type Column = readonly [heading: string, pick: (row: Row) => unknown, write: (value: number) => string]
const stall = (name: string, histogram: string, ...percentiles: readonly string[]): Column[] =>
  percentiles.map((p) => [`${name} ${p}`, (row) => at(row, histogram, p), micros])

/** Columns of the tables: heading, where the figure comes from, how it is written. Times are µs but where they say ms. */
const COLUMNS: readonly Column[] = [
  ['wall s', (row) => row['wallS'], (v) => v.toFixed(2)],
  ['cpu s', (row) => row['cpuS'], (v) => v.toFixed(2)],
  ['× none', (row) => row['overNone'], (v) => v.toFixed(2)],
  ['rss MiB', (row) => row['peakRssMiB'], (v) => v.toFixed(0)],
  ['steps/s', (row) => row['stepsPerS'], (v) => Math.round(v).toLocaleString('en-US')],
  ['p50 µs', (row) => at(row, 'latencyUs', 'p50'), micros],
  ['p99', (row) => at(row, 'latencyUs', 'p99'), micros],
  ['p99.9', (row) => at(row, 'latencyUs', 'p999'), micros],
  ['p99.99', (row) => at(row, 'latencyUs', 'p9999'), micros],
  ['worst', (row) => at(row, 'latencyUs', 'max'), micros],
  ['stop p50', (row) => at(row, stops(row), 'p50'), micros],
  ['stop max', (row) => at(row, stops(row), 'max'), micros],
  ...stall('fault', 'faultUs', 'p50', 'max'),
  ...stall('wait', 'allocationStallUs', 'max'),
  ['MMU 1 ms', (row) => mmu(row, 1), percent],
  ['10 ms', (row) => mmu(row, 10), percent],
  ['100 ms', (row) => mmu(row, 100), percent],
  ['× first touch', (row) => row['faultOverFirstTouch'], (v) => v.toFixed(2)],
  ['a page', (row) => row['perPageWithFaultAround'], (v) => v.toFixed(3)],
]
/** Benchmarks that are about something else than running a program have columns of their own. */
const OWN_COLUMNS: { readonly [bench: string]: readonly Column[] } = {
  micro: [
    ['ns/op', (row) => row['nsPerOp'], (v) => v.toFixed(2)],
    ['× V8', (row) => row['overV8'], (v) => v.toFixed(2)],
    ['± %', (row) => row['errorPercent'], (v) => v.toFixed(0)],
  ],
  pauses: [
    ...stall('flip', 'flipUs', 'p50', 'p99', 'max'),
    ...stall('remark', 'remarkUs', 'p50', 'p99', 'max'),
    ...stall('safepoint', 'timeToSafepointUs', 'p50', 'p99'),
    ...stall('stop', 'stopUs', 'p50', 'p99', 'max'),
    ...stall('fault', 'faultUs', 'p50', 'p99'),
    ['collections', (row) => row['collections'], (v) => v.toFixed(0)],
  ],
  relocation: [
    ['compact ms', (row) => row['compactionMs'], (v) => v.toFixed(1)],
    ['µs a page', (row) => row['compactUsPerPage'], (v) => v.toFixed(2)],
    ['build µs', (row) => row['buildUsPerPage'], (v) => v.toFixed(2)],
    ['place µs', (row) => row['placeUsPerPage'], (v) => v.toFixed(3)],
    ['move/copy', (row) => row['moveOverCopy'], (v) => v.toFixed(2)],
    ['placing', (row) => row['placeMoveOverCopy'], (v) => v.toFixed(2)],
  ],
}

/** The rows of one benchmark as text, headings first; only columns that say something. */
function cellsOf(bench: string, rows: readonly Row[]): string[][] {
  const columns = (OWN_COLUMNS[bench] ?? COLUMNS).filter(([, pick]) => rows.some((row) => pick(row) !== undefined))
  const lines = rows.map((row, i) => [
    i > 0 && rows[i - 1].workload === row.workload ? '' : row.workload,
    row.system,
    ...columns.map(([, pick, write]) => {
      const value = pick(row)
      return value === undefined ? '' : write(value as number)
    }),
  ])
  return [['', '', ...columns.map(([heading]) => heading)], ...lines]
}

/** The rows of one benchmark, for the terminal. */
export function table(of: { readonly name: string; readonly summary: string }, rows: readonly Row[]): string {
  const paint = painter()
  const [headings, ...cells] = cellsOf(of.name, rows)
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

/** All rows as tables of Markdown, one to a benchmark, to be pasted. */
export function markdown({ machine, rows, skipped }: Report, list: Suite['list']): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  const sections = list().flatMap(({ name, summary }) => {
    const own = rows.filter((row) => row.bench === name)
    if (own.length === 0) return []
    const [headings, ...cells] = cellsOf(name, own)
    const rule = headings.map((_, c) => (c < 2 ? '---' : '--:'))
    const runs = [...new Set(own.map((row) => row.runs))].sort((a, b) => a - b).join(' to ')
    const head = `### ${name}\n\n${summary}; runs of each: ${runs}.\n`
    return [[head, line(headings), line(rule), ...cells.map(line), ''].join('\n')]
  })
  const facts = Object.entries(machine).map(([what, value]) => `${what} ${String(value)}`)
  const missing = skipped.map((why) => `- not run: ${why}`)
  return `${[`${facts.join(' · ')}\n`, ...sections, ...missing].join('\n').trimEnd()}\n`
}
