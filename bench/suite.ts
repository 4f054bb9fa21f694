// Runs cases in fresh processes, several times, in an order that alternates, and makes rows of what they found.
//
// A shared machine drifts: frequency, neighbours, memory. Round k runs every case once, forward when k is even and
// backward when it is odd, so that drift falls on all systems alike and no system always follows the same one.

import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { arch, availableParallelism, cpus, release, totalmem } from 'node:os'
import { fileURLToPath } from 'node:url'
import type { Bench, Case } from './bench.js'
import { BENCHES } from './catalogue.js'
import { peerVersions } from './peers.js'
import { mergeRuns, type Outcome, type Report, type Row } from './rows.js'

export interface SuiteOptions {
  /** Empty: all. */
  readonly names: readonly string[]
  readonly quick: boolean
  /** Runs of each case; 0: as each says (one with `quick`). */
  readonly runs: number
  /** Only cases whose `workload` and `system` together contain each of these texts. */
  readonly filter: readonly string[]
  /** No case in which one of these occurs. */
  readonly without: readonly string[]
  /** Seconds after which no further run begins; 0: no limit. What was run by then is reported. */
  readonly limitS: number
  /** Aborted: no further run begins. */
  readonly stop: AbortSignal
  readonly progress: (text: string) => void
  /** A case that failed, or was skipped. */
  readonly complain: (text: string) => void
  readonly onRows: (bench: Bench, rows: readonly Row[]) => void
}

/** Seconds after which a case is taken for stuck. */
const PATIENCE_S = 900

export function machine(): Report['machine'] {
  let kernel = release()
  try {
    kernel = readFileSync('/proc/sys/kernel/osrelease', 'utf8').trim()
  } catch {
    // Not Linux.
  }
  return {
    processors: availableParallelism(),
    model: cpus()[0]?.model ?? arch(),
    memoryMiB: Math.round(totalmem() / 2 ** 20),
    kernel,
    node: process.versions.node,
    v8: process.versions.v8,
    ...peerVersions(),
    date: new Date().toISOString(),
  }
}

/**
 * Runs a case in a process group of its own, with the peer that it may start: whatever ends it, its time, the user or this process,
 * nothing of it runs beside what is measured next.
 */
function run(one: Case, stop: AbortSignal): Promise<Outcome> {
  const child = fileURLToPath(new URL('./child.js', import.meta.url))
  const process_ = spawn(process.execPath, [...(one.nodeFlags ?? []), child, JSON.stringify(one)], {
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  let out = ''
  let error = ''
  let late = false
  process_.stdout.setEncoding('utf8').on('data', (text: string) => (out += text))
  process_.stderr.setEncoding('utf8').on('data', (text: string) => (error = (error + text).slice(-4000)))
  const kill = (): void => killGroup(process_.pid)
  const patience = setTimeout(() => {
    late = true
    kill()
  }, PATIENCE_S * 1000)
  stop.addEventListener('abort', kill)
  process.once('exit', kill)
  return new Promise<Outcome>((resolve, reject) => {
    process_.on('error', reject)
    process_.on('exit', kill)
    process_.on('close', (status, signal) => {
      if (status === 0) resolve(JSON.parse(out.trimEnd().split('\n').at(-1) as string) as Outcome)
      else if (late) reject(new Error(`it took longer than ${PATIENCE_S} s`))
      else
        reject(new Error([signal ?? `status ${status}`, firstSentence(error)].filter((part) => part !== '').join(': ')))
    })
  }).finally(() => {
    clearTimeout(patience)
    stop.removeEventListener('abort', kill)
    process.off('exit', kill)
  })
}

function killGroup(leader: number | undefined): void {
  if (leader === undefined) return
  try {
    process.kill(-leader, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error // none of it is left
  }
}

/** The line of a stack trace or of V8's out-of-memory report that says what happened. */
function firstSentence(error: string): string {
  const lines = error.split('\n').map((line) => line.trim())
  return lines.find((line) => /^\w*Error\b.*:|FATAL ERROR|error:/.test(line)) ?? lines.find((line) => line !== '') ?? ''
}

/** What there is to say of cases without a result. */
interface Missing {
  readonly skipped: string[]
  readonly failed: string[]
}

async function runBench(
  bench: Bench,
  options: SuiteOptions,
  { skipped, failed }: Missing,
  isLate: () => boolean,
): Promise<Row[]> {
  const skip = (why: string): void => {
    // What many benchmarks miss is said once.
    const said = skipped.some((other) => other.endsWith(`: ${why}`))
    skipped.push(`${bench.name}: ${why}`)
    if (!said) options.complain(`${bench.name}: skipped: ${why}`)
  }
  const chosen = bench.cases({ quick: options.quick }, skip).filter(({ workload, system }) => {
    const name = `${workload} ${system}`
    return options.filter.every((text) => name.includes(text)) && !options.without.some((text) => name.includes(text))
  })
  const cases = bench.prepare?.(chosen, skip) ?? chosen
  const wanted = ({ runs }: Case): number => options.runs || (options.quick ? 1 : (runs ?? 5))
  const outcomes = new Map<Case, Outcome[]>(cases.map((one) => [one, []]))
  const ended = new Set<Case>()
  const total = cases.reduce((sum, one) => sum + wanted(one), 0)
  let done = 0
  for (let round = 0; round < Math.max(0, ...cases.map(wanted)); round++) {
    for (const one of round % 2 === 0 ? cases : [...cases].reverse()) {
      if (round >= wanted(one) || ended.has(one)) continue
      if (isLate()) {
        if (round === 0)
          skip(`${one.workload} on ${one.system}: ${options.stop.aborted ? 'stopped' : 'the time was up'}`)
        continue
      }
      options.progress(`${bench.name} ${++done}/${total}: ${one.workload}, ${one.system}`)
      try {
        outcomes.get(one)?.push(await run(one, options.stop))
      } catch (error) {
        ended.add(one)
        const what = `${one.workload} on ${one.system}`
        if (options.stop.aborted) {
          skip(`${what} stopped`)
          continue
        }
        failed.push(`${bench.name}: ${what}: ${(error as Error).message}`)
        options.complain(`${bench.name}: FAILED: ${what}: ${(error as Error).message}`)
      }
    }
  }
  const rows = cases
    .map((one) => [one, outcomes.get(one) as Outcome[]] as const)
    .filter(([, found]) => found.length > 0)
    .flatMap(([one, found]) => bench.rows?.(one, found) ?? [mergeRuns(one, found)])
  return compared(rows)
}

/** Names of all benchmarks and what they are. */
export function list(): readonly { readonly name: string; readonly summary: string }[] {
  return BENCHES
}

/** Rows with their ratios to others of these, which may have been measured in steps. */
export function compared(rows: readonly Row[]): Row[] {
  return BENCHES.flatMap((bench) => {
    const own = rows.filter((row) => row.bench === bench.name)
    return [...(bench.compare?.(own) ?? own)]
  })
}

export async function runSuite(options: SuiteOptions): Promise<Report> {
  const rows: Row[] = []
  const missing: Missing = { skipped: [], failed: [] }
  // The limit begins with the first run, which so takes place whatever the limit is.
  let deadline = 0
  const isLate = (): boolean => {
    if (deadline === 0) deadline = options.limitS > 0 ? performance.now() + options.limitS * 1000 : Infinity
    return options.stop.aborted || performance.now() > deadline
  }
  for (const bench of BENCHES) {
    if (options.stop.aborted || (options.names.length > 0 && !options.names.includes(bench.name))) continue
    const found = await runBench(bench, options, missing, isLate)
    options.onRows(bench, found)
    rows.push(...found)
  }
  return { machine: machine(), rows, ...missing }
}
