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
    : [path]
  const reports = files.map((file) => readReport(file, benches))
  if (reports.length === 0) throw new UsageError(`--from: no .json file in '${path}'`)
  return {
    machine: reports[0].machine,
    rows: reports.flatMap(({ rows }) => rows),
    skipped: [...new Set(reports.flatMap(({ skipped }) => skipped))],
  }
}

function readReport(file: string, benches: readonly string[]): Report {
  let report: unknown
  try {
    report = JSON.parse(readFileSync(file, 'utf8'))
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    throw new UsageError(`--from: '${file}' is not JSON: ${error.message}`)
  }
  const wrong = whatIsWrong(report, benches)
  if (wrong !== undefined) throw new UsageError(`--from: '${file}' is not what --json writes: ${wrong}`)
  return report as Report
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
      const isSeries = (points: unknown): boolean => Array.isArray(points) && points.every(areNumbers)
      if (!isObject(figure) || !Object.values(figure).every(isSeries)) return "'series' is not lists of points by name"
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
