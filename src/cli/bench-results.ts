// Results of `glissade bench --json`, read back: everything that the tables and the report rely on is checked here, so that
// what is wrong with a file is said by its name, the row and the figure.

import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { UsageError } from './command.js'

/** The part of bench/rows.ts that the tables need. */
export interface Row {
  readonly bench: string
  readonly workload: string
  readonly system: string
  readonly runs: number
  readonly [figure: string]: unknown
}
export interface Report {
  readonly machine: { readonly [what: string]: unknown }
  readonly rows: readonly Row[]
  readonly skipped: readonly string[]
  readonly failed: readonly string[]
}

/** Reports that were written with --json: of one file, or of every .json file of a folder, taken together. */
export function readReports(path: string, benches: readonly string[]): Report {
  if (!existsSync(path))
    throw new UsageError(`--from takes a file or a folder of --json results; '${path}' is not there`)
  const files = statSync(path).isDirectory()
    ? readdirSync(path)
        .filter((file) => file.endsWith('.json'))
        .sort()
        .map((file) => join(path, file))
        .filter((file) => statSync(file, { throwIfNoEntry: false })?.isFile() === true)
    : [path]
  const reports = files.map((file) => readReport(file, benches))
  if (reports.length === 0) throw new UsageError(`--from: no .json file in '${path}'`)
  refuseTwins(files, reports)
  return {
    machine: machineOf(reports),
    rows: reports.flatMap(({ rows }) => rows),
    skipped: [...new Set(reports.flatMap(({ skipped }) => skipped))],
    failed: [...new Set(reports.flatMap(({ failed }) => failed))],
  }
}

/** Of two rows of one case the tables would show both, and ratios would be of whichever comes first. */
function refuseTwins(files: readonly string[], reports: readonly Report[]): void {
  const seen = new Map<string, string>()
  for (const [i, { rows }] of reports.entries()) {
    for (const { bench, workload, system } of rows) {
      const name = `${bench}, ${workload}, ${system}`
      const other = seen.get(name)
      if (other !== undefined) {
        const where = other === files[i] ? `'${other}' has twice` : `'${other}' and '${files[i]}' both have`
        throw new UsageError(`--from: ${where} ${name}: a case can be taken from one of them only`)
      }
      seen.set(name, files[i])
    }
  }
}

/** What is known of the machine; where the files differ, each of what they say. */
function machineOf(reports: readonly Report[]): Report['machine'] {
  const names = new Set(reports.flatMap(({ machine }) => Object.keys(machine)))
  return Object.fromEntries(
    [...names].map((name) => {
      const said = [...new Set(reports.map(({ machine }) => machine[name]).filter((value) => value !== undefined))]
      if (said.length === 1) return [name, said[0]]
      const texts = said.map(String).sort()
      return [name, name === 'date' ? `${texts[0]} to ${texts.at(-1) as string}` : texts.join(' and ')]
    }),
  )
}

function readReport(file: string, benches: readonly string[]): Report {
  let report: unknown
  try {
    report = JSON.parse(readFileSync(file, 'utf8'))
  } catch (error) {
    if (!(error instanceof SyntaxError))
      throw new UsageError(`--from: '${file}' cannot be read: ${(error as Error).message}`)
    throw new UsageError(`--from: '${file}' is not JSON: ${error.message}`)
  }
  const wrong = whatIsWrong(report, benches)
  if (wrong !== undefined) throw new UsageError(`--from: '${file}' is not what --json writes: ${wrong}`)
  const read = report as Omit<Report, 'failed'> & Partial<Report>
  return { ...read, failed: read.failed ?? [] } // older files have none
}

type Fields = { readonly [name: string]: unknown }
const isObject = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
const isNumber = (value: unknown): boolean => typeof value === 'number' && Number.isFinite(value)
const areNumbers = (value: unknown): boolean => Array.isArray(value) && value.every(isNumber)

function whatIsWrong(report: unknown, benches: readonly string[]): string | undefined {
  if (!isObject(report)) return 'it is no object'
  const { machine, rows, skipped } = report
  if (!isObject(machine)) return "'machine' is no object"
  if (!Array.isArray(rows)) return "'rows' is no list"
  if (!Array.isArray(skipped) || !skipped.every((why) => typeof why === 'string'))
    return "'skipped' is no list of texts"
  const { failed } = report
  if (failed !== undefined && !(Array.isArray(failed) && failed.every((why) => typeof why === 'string')))
    return "'failed' is no list of texts"
  for (const [i, row] of rows.entries()) {
    const wrong = whatIsWrongWith(row, benches)
    if (wrong !== undefined) return `row ${i + 1}${nameOf(row)}: ${wrong}`
  }
  return undefined
}

function nameOf(row: unknown): string {
  if (!isObject(row)) return ''
  const names = [row['bench'], row['workload'], row['system']].filter((name) => typeof name === 'string')
  return names.length === 0 ? '' : ` (${names.join(', ')})`
}

const NUMBERS = ['runs', 'wallS', 'cpuS', 'peakRssMiB']
/** Those that the tables and the report read; a benchmark may have more. */
const DURATIONS = [
  'latencyUs',
  'stopUs',
  'remarkUs',
  'flipUs',
  'timeToSafepointUs',
  'faultUs',
  'allocationStallUs',
  'v8StopUs',
]
/** Milliseconds, phase, MiB in use, faults, waits. */
const TIMELINE_WIDTH = 5
const PERCENTILES = ['count', 'p50', 'p99', 'p999', 'p9999', 'max']

function whatIsWrongWith(row: unknown, benches: readonly string[]): string | undefined {
  if (!isObject(row)) return 'it is no object'
  for (const name of ['bench', 'workload', 'system']) {
    if (typeof row[name] !== 'string') return missingOr(row, name, 'a text')
  }
  if (!benches.includes(row['bench'] as string)) return `no benchmark is called '${row['bench'] as string}'`
  for (const name of NUMBERS) if (!isNumber(row[name])) return missingOr(row, name, 'a number')
  for (const [name, figure] of Object.entries(row)) {
    if (['bench', 'workload', 'system', ...NUMBERS].includes(name)) continue
    if (name === 'spread') {
      if (!isObject(figure) || !Object.values(figure).every((range) => areNumbers(range) && lengthOf(range) === 2))
        return "'spread' is not the smallest and the largest run by the name of the figure"
    } else if (name === 'series') {
      if (!isObject(figure)) return "'series' is not lists of points by name"
      for (const [of, points] of Object.entries(figure)) {
        const width = of === 'timeline' ? TIMELINE_WIDTH : 2
        const isPoint = (point: unknown): boolean => areNumbers(point) && lengthOf(point) === width
        if (!Array.isArray(points) || !points.every(isPoint))
          return `'series.${of}' is no list of points of ${width} numbers`
      }
      if (figure['timeline'] !== undefined && !isNumber(row['heapMiB'])) return missingOr(row, 'heapMiB', 'a number')
    } else if (DURATIONS.includes(name) || isObject(figure)) {
      if (!isObject(figure)) return `'${name}' is not ${PERCENTILES.join(', ')}`
      const wrong = PERCENTILES.find((p) => !isNumber(figure[p]))
      if (wrong !== undefined) return missingOr(figure, wrong, 'a number', `${name}.`)
    } else if (!isNumber(figure)) return missingOr(row, name, 'a number')
  }
  return undefined
}

const lengthOf = (list: unknown): number => (list as readonly unknown[]).length

function missingOr(of: Fields, name: string, what: string, prefix = ''): string {
  return Object.hasOwn(of, name) ? `'${prefix}${name}' is not ${what}` : `'${prefix}${name}' is missing`
}
