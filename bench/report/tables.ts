// The tables of results: which figures a benchmark shows, in which order, and how they are written. The terminal, Markdown
// and the report in HTML show the same cells.

import type { Latency, Points, Report, Row } from '../rows.js'

const at = (row: Row, histogram: string, percentile: string): number | undefined =>
  (row[histogram] as Latency | undefined)?.[percentile as keyof Latency]
const micros = (v: number): string =>
  v >= 10_000 ? `${(v / 1000).toFixed(1)} ms` : v >= 100 ? v.toFixed(0) : v.toFixed(1)
/** On plain objects the stops are those of V8's collector. */
const stops = (row: Row): string => (row.system.startsWith('v8') ? 'v8StopUs' : 'stopUs')
/** V8's own collections stop our mutator, too, for what the program has of JavaScript objects. */
const isOurs = (row: Row): boolean => ['concurrent', 'stop-the-world', 'none'].includes(row.system)
const percent = (v: number): string => `${(v * 100).toFixed(0)} %`
const mmu = (row: Row, ms: number, series = 'mmu'): number | undefined =>
  (row.series?.[series] as Points | undefined)?.find(([window]) => window === ms)?.[1]

/** Smallest and largest run of a figure; absent where there was one run. */
const spread = (row: Row, figure: string): readonly [number, number] | undefined => row.spread?.[figure]
/** Half of the way from the smallest to the largest run, as a share of the median. */
function halfWidth(row: Row, figure: string): number | undefined {
  const range = spread(row, figure)
  return range && (range[1] - range[0]) / 2 / (row[figure] as number)
}

type Column = readonly [heading: string, pick: (row: Row) => unknown, write: (value: number) => string]
const stall = (name: string, histogram: string, ...percentiles: readonly string[]): Column[] =>
  percentiles.map((p) => [`${name} ${p}`, (row) => at(row, histogram, p), micros])

/** Columns of the tables: heading, where the figure comes from, how it is written. Times are µs but where they say ms. */
const COLUMNS: readonly Column[] = [
  ['wall s', (row) => row['wallS'], (v) => v.toFixed(2)],
  ['±', (row) => halfWidth(row, 'wallS'), percent],
  ['cpu s', (row) => row['cpuS'], (v) => v.toFixed(2)],
  ['× none', (row) => row['overNone'], (v) => v.toFixed(2)],
  ['rss MiB', (row) => row['peakRssMiB'], (v) => v.toFixed(0)],
  ['buffers', (row) => row['buffersPeakMiB'], (v) => v.toFixed(1)],
  ['steps/s', (row) => row['stepsPerS'], (v) => Math.round(v).toLocaleString('en-US')],
  ['p50 µs', (row) => at(row, 'latencyUs', 'p50'), micros],
  ['p99', (row) => at(row, 'latencyUs', 'p99'), micros],
  ['p99.9', (row) => at(row, 'latencyUs', 'p999'), micros],
  ['p99.99', (row) => at(row, 'latencyUs', 'p9999'), micros],
  ['worst', (row) => at(row, 'latencyUs', 'max'), micros],
  ['of any run', (row) => spread(row, 'latencyUs.max')?.[1], micros],
  ['stop p50', (row) => at(row, stops(row), 'p50'), micros],
  ['stop max', (row) => at(row, stops(row), 'max'), micros],
  ...stall('fault', 'faultUs', 'p50', 'max'),
  ...stall('wait', 'allocationStallUs', 'max'),
  ['V8 stop max', (row) => (isOurs(row) ? at(row, 'v8StopUs', 'max') : undefined), micros],
  ['MMU 1 ms', (row) => mmu(row, 1), percent],
  ['10 ms', (row) => mmu(row, 10), percent],
  ['100 ms', (row) => mmu(row, 100), percent],
  ['compacting 1 ms', (row) => mmu(row, 1, 'mmuCompacting'), percent],
  ['10 ms', (row) => mmu(row, 10, 'mmuCompacting'), percent],
  ['100 ms', (row) => mmu(row, 100, 'mmuCompacting'), percent],
]
/** Benchmarks that are about something else than running a program have columns of their own. */
const OWN_COLUMNS: { readonly [bench: string]: readonly Column[] } = {
  micro: [
    ['ns/op', (row) => row['nsPerOp'], (v) => v.toFixed(2)],
    ['× V8', (row) => row['overV8'], (v) => v.toFixed(2)],
    ['±', (row) => halfWidth(row, 'nsPerOp'), percent],
  ],
  pauses: [
    ...stall('flip', 'flipUs', 'p50', 'p99', 'max'),
    ...stall('remark', 'remarkUs', 'p50', 'p99', 'max'),
    ...stall('safepoint', 'timeToSafepointUs', 'p50', 'p99'),
    ['stop p50', (row) => at(row, stops(row), 'p50'), micros],
    ['stop p99', (row) => at(row, stops(row), 'p99'), micros],
    ['stop max', (row) => at(row, stops(row), 'max'), micros],
    ['stops', (row) => (row[stops(row)] as Latency | undefined)?.count, (v) => v.toFixed(0)],
    ...stall('fault', 'faultUs', 'p50', 'p99'),
    ...stall('wait', 'allocationStallUs', 'p50', 'max'),
    ['worst step', (row) => at(row, 'latencyUs', 'max'), micros],
    ['steps/s', (row) => row['stepsPerS'], (v) => Math.round(v).toLocaleString('en-US')],
    ['collections', (row) => row['collections'], (v) => v.toFixed(0)],
  ],
  barrier: [
    ...stall('touch', 'latencyUs', 'p50', 'p99', 'p9999', 'max'),
    ['× first touch', (row) => row['faultOverFirstTouch'], (v) => v.toFixed(2)],
    ['µs a page', (row) => row['perPageUs'], (v) => v.toFixed(2)],
    ['a page / first touch', (row) => row['perPageWithFaultAround'], (v) => v.toFixed(3)],
    ...stall('handler', 'faultUs', 'p50', 'p99'),
  ],
  relocation: [
    ['compact ms', (row) => row['compactionMs'], (v) => v.toFixed(1)],
    ['µs a page', (row) => row['compactUsPerPage'], (v) => v.toFixed(2)],
    ['build µs', (row) => row['buildUsPerPage'], (v) => v.toFixed(2)],
    ['place µs', (row) => row['placeUsPerPage'], (v) => v.toFixed(3)],
    ['move/copy', (row) => row['moveOverCopy'], (v) => v.toFixed(2)],
    ['by page', (row) => row['moveOverCopyByPage'], (v) => v.toFixed(2)],
    ['placing', (row) => row['placeMoveOverCopy'], (v) => v.toFixed(2)],
  ],
  memory: [
    ['heap MiB', (row) => row['usedMiB'], (v) => v.toFixed(0)],
    ['built in faults', (row) => row['builtByMutators'], percent],
    ['buffers MiB', (row) => row['buffersMiB'], (v) => v.toFixed(2)],
    ['MiB a GiB', (row) => row['buffersMiBPerGiB'], (v) => v.toFixed(1)],
    ['peak over MiB', (row) => row['peakOverMiB'], (v) => v.toFixed(1)],
    ['MiB a GiB', (row) => row['peakOverMiBPerGiB'], (v) => v.toFixed(1)],
    ['tables MiB', (row) => row['tablesMiB'], (v) => v.toFixed(1)],
    ['MiB a GiB', (row) => row['tablesMiBPerGiB'], (v) => v.toFixed(1)],
  ],
}

/** How far the figures of a row can be trusted: one run says nothing of its own spread. */
const RUNS: Column = ['runs', (row) => row.runs, (v) => v.toFixed(0)]

/** What the figures of these rows are. */
export function basisOf(rows: readonly Row[]): string {
  const runs = [...new Set(rows.map((row) => row.runs))].sort((a, b) => a - b)
  if (runs.at(-1) === 1) return 'one run of each, so nothing is known of the spread'
  return `medians of ${runs.join(', ')} runs${runs[0] === 1 ? '; of a single one nothing is known of the spread' : ''}`
}

/** The rows of one benchmark as text, headings first; only columns that say something. */
export function cellsOf(bench: string, rows: readonly Row[]): string[][] {
  const all = [...(OWN_COLUMNS[bench] ?? COLUMNS), RUNS]
  const columns = all.filter(([, pick]) => rows.some((row) => pick(row) !== undefined))
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

/** All rows as tables of Markdown, one to a benchmark, to be pasted. */
export function markdown(
  { machine, rows, skipped, failed }: Report,
  list: readonly { readonly name: string; readonly summary: string }[],
): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  const sections = list.flatMap(({ name, summary }) => {
    const own = rows.filter((row) => row.bench === name)
    if (own.length === 0) return []
    const [headings, ...cells] = cellsOf(name, own)
    const rule = headings.map((_, c) => (c < 2 ? '---' : '--:'))
    const head = `### ${name}\n\n${summary}; ${basisOf(own)}.\n`
    return [[head, line(headings), line(rule), ...cells.map(line), ''].join('\n')]
  })
  const facts = Object.entries(machine).map(([what, value]) => `${what} ${String(value)}`)
  const missing = [...failed.map((why) => `- FAILED: ${why}`), ...skipped.map((why) => `- not run: ${why}`)]
  return `${[`${facts.join(' · ')}\n`, ...sections, ...missing].join('\n').trimEnd()}\n`
}
