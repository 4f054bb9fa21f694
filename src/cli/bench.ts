// `glissade bench`: pauses, throughput, relocation, barrier and single operations, beside what people would use instead.
//
// The benchmarks themselves are programs on the public API (bench/ of the repository, dist/bench when built) and are
// loaded when asked for: this file is their command line and the tables on the terminal.

import { closeSync, existsSync, openSync, realpathSync, unlinkSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { readReports, type Report, type Row } from './bench-results.js'
import { integer, UsageError, type CliCommand } from './command.js'
import { painter, StatusLine } from './screen.js'

/** What bench/suite.ts exports. */
interface Suite {
  list(): readonly { readonly name: string; readonly summary: string }[]
  compared(rows: readonly Row[]): Row[]
  runSuite(options: {
    readonly names: readonly string[]
    readonly quick: boolean
    readonly runs: number
    readonly filter: readonly string[]
    readonly without: readonly string[]
    readonly limitS: number
    readonly stop: AbortSignal
    readonly progress: (text: string) => void
    readonly complain: (text: string) => void
    readonly onRows: (bench: { readonly name: string; readonly summary: string }, rows: readonly Row[]) => void
  }): Promise<Report>
}

/** What bench/report/tables.ts exports. */
interface Tables {
  basisOf(rows: readonly Row[]): string
  cellsOf(bench: string, rows: readonly Row[]): string[][]
  markdown(report: Report, list: ReturnType<Suite['list']>): string
}

const NAMES = [
  'micro',
  'pauses',
  'barrier',
  'relocation',
  'memory',
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
      description: 'run nothing: take these rows of a --json file, or of all .json files of a folder',
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
    {
      flags: '--without <texts>',
      description: "no case that contains one of these texts: 'stop-the-world; semi-space'",
    },
    {
      flags: '--limit <seconds>',
      description: 'begin no further run after this time; what was run by then is reported',
      parse: integer('--limit', 1),
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
    const { basisOf, cellsOf, markdown } = await load<Tables>('report/tables')
    const status = new StatusLine()
    const show = (of: { readonly name: string; readonly summary: string }, rows: readonly Row[]): void => {
      if (rows.length === 0) return
      status.clear()
      console.log(table(of, basisOf(rows), cellsOf(of.name, rows)))
    }
    const filter = texts(given['filter'])
    const without = texts(given['without']).filter((text) => text !== '')
    const chosen = ({ rows, ...rest }: Report): Report => ({
      ...rest,
      rows: rows.filter(({ bench: name, workload, system }) => {
        const told = `${workload} ${system}`
        const wanted = operands.length === 0 || operands.includes(name)
        return wanted && filter.every((text) => told.includes(text)) && !without.some((text) => told.includes(text))
      }),
    })
    mustDiffer(given)
    for (const file of [given['json'], given['html'], given['markdown']]) mustBeWritable(file as string | undefined)
    const from = given['from'] as string | undefined
    const stopping = new AbortController()
    const measure = (): Promise<Report> =>
      measured(suite, status, stopping, {
        names: operands,
        quick: given['quick'] === true,
        runs: (given['runs'] as number | undefined) ?? 0,
        filter,
        without,
        limitS: (given['limit'] as number | undefined) ?? 0,
        onRows: show,
      })
    const read = (path: string): Report => {
      const report = readReports(path, NAMES)
      const ofThese = (told: string): boolean =>
        operands.length === 0 || operands.some((name) => told.startsWith(`${name}: `))
      const failed = report.failed.filter(ofThese)
      for (const told of failed) console.error(`FAILED: ${told}`)
      return chosen({
        ...report,
        rows: suite.compared(report.rows),
        skipped: report.skipped.filter(ofThese),
        failed,
      })
    }
    const report = from === undefined ? await measure() : read(from)
    if (from !== undefined) {
      for (const benchmark of suite.list())
        show(
          benchmark,
          report.rows.filter((row) => row.bench === benchmark.name),
        )
    }
    if (report.rows.length === 0 && from !== undefined) throw new UsageError(whyNothing(from, operands))
    if (report.rows.length + report.skipped.length + report.failed.length === 0)
      throw new UsageError('nothing was run: no case is left by --filter and --without (--help explains them)')
    const { htmlReport } = await load<{ htmlReport(of: Report): string }>('report/html')
    const written = [
      write('rows', given['json'], () => `${JSON.stringify(report, null, 1)}\n`),
      write('report', given['html'], () => htmlReport(report)),
      write('tables', given['markdown'], () => markdown(report, suite.list())),
    ]
    const whole = report.rows.length > 0 && report.failed.length === 0 && !stopping.signal.aborted
    return whole && written.every((done) => done) ? 0 : 1
  },
}

/** False: it could not be written. The others shall be all the same: they may be hours of work. */
function write(what: string, file: unknown, content: () => string): boolean {
  if (typeof file !== 'string') return true
  try {
    writeFileSync(file, content())
    console.error(`${what} written to ${file}`)
    return true
  } catch (error) {
    console.error(`glissade: the ${what} could not be written to '${file}': ${(error as Error).message}`)
    return false
  }
}

type SuiteOptions = Parameters<Suite['runSuite']>[0]

/** Runs the suite, and says on the terminal what it is at. */
async function measured(
  suite: Suite,
  status: StatusLine,
  stopping: AbortController,
  options: Omit<SuiteOptions, 'stop' | 'progress' | 'complain'>,
): Promise<Report> {
  // Ctrl-C ends the case that is running; what was run before it is reported. The second one ends everything, as these do.
  process.once('SIGINT', () => {
    stopping.abort()
    process.once('SIGINT', () => process.exit(128 + 2)) // not at once, as below
  })
  process.once('SIGTERM', () => process.exit(128 + 15)) // not at once: its listeners clear up
  process.once('SIGHUP', () => process.exit(128 + 1))
  const start = performance.now()
  let doing = ''
  const tick = (): void => status.update(() => `${((performance.now() - start) / 1000).toFixed(0)} s  ${doing}`)
  // A case may take a minute: the line shows that time goes by.
  const ticking = setInterval(tick, 1000)
  try {
    return await suite.runSuite({
      ...options,
      stop: stopping.signal,
      progress(text) {
        doing = text
        tick()
      },
      complain(text) {
        status.clear()
        console.error(text)
      },
    })
  } finally {
    clearInterval(ticking)
    status.clear()
  }
}

/** Why nothing of the rows of --from is left. */
function whyNothing(from: string, names: readonly string[]): string {
  const there = [...new Set(readReports(from, NAMES).rows.map(({ bench }) => bench))]
  if (there.length === 0) return `--from: there are no rows in '${from}'`
  if (names.length > 0 && !there.some((name) => names.includes(name)))
    return `--from: '${from}' has no rows of ${names.join(', ')}; it has ${there.join(', ')}`
  return `--from: no row of '${from}' is left by --filter and --without (--help explains them)`
}

/** The last of two that are written to one file would be all that is left. */
function mustDiffer(given: { readonly [option: string]: unknown }): void {
  const files = ['json', 'html', 'markdown'].filter((option) => typeof given[option] === 'string')
  for (const [i, option] of files.entries()) {
    const other = files
      .slice(0, i)
      .find((before) => resolve(given[before] as string) === resolve(given[option] as string))
    if (other !== undefined)
      throw new UsageError(
        `--${other} and --${option} are both '${given[option] as string}': each needs a file of its own`,
      )
  }
}

/** A measurement may take hours: it is not begun if its result could not be written. Nothing stays of the attempt. */
function mustBeWritable(file: string | undefined): void {
  if (file === undefined) return
  const isNew = !existsSync(file)
  try {
    closeSync(openSync(file, 'a'))
    if (isNew) unlinkSync(realpathSync(file)) // not a link to where nothing was
  } catch (error) {
    throw new UsageError(`'${file}' cannot be written: ${(error as Error).message}`)
  }
}

const texts = (given: unknown): string[] => ((given as string | undefined) ?? '').split(';').map((text) => text.trim())

/** The rows of one benchmark, for the terminal. */
function table(
  of: { readonly name: string; readonly summary: string },
  basis: string,
  lines: readonly (readonly string[])[],
): string {
  const paint = painter()
  const [headings, ...cells] = lines
  const widths = headings.map((heading, c) => Math.max(heading.length, ...cells.map((line) => line[c].length)))
  const pad = (line: readonly string[]): string =>
    line.map((cell, c) => (c < 2 ? cell.padEnd(widths[c]) : cell.padStart(widths[c]))).join('  ')
  return [
    '',
    `${paint('bold', of.name)}  ${paint('dim', `${of.summary}; ${basis}`)}`,
    paint('dim', pad(headings).trimEnd()),
    ...cells.map((line) => pad(line).trimEnd()),
  ].join('\n')
}
