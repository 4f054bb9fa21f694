// Lox programs, timed: `node dist/bench/lox/main.js [--runs N] [--json FILE] [--against NAME=COMMAND]… [PROGRAM]…`
//
// Each run is a process of its own. Systems take turns within a round, so that a machine that slows down slows all of
// them; the figures are medians. A system is `lox` on one of the collectors, or any other Lox given by --against, whose
// command gets the path of the program (`--against clox=/path/to/clox`).
//
// Three figures, because they answer different questions: the whole process on the clock, which has Node's start in it;
// its processor time, all threads together, which is what counts on a machine that others use; and the time that the
// program itself measures and prints last, which knows nothing of starts. (`zoo_batch` prints the time of a batch: it runs for
// one second whatever happens.)

import { spawnSync } from 'node:child_process'
import { readdirSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import type { Row } from '../rows.js'

const root = new URL('../../../', import.meta.url)
const programs = new URL('bench/lox/programs/', root)
const lox = fileURLToPath(new URL('dist/bin/lox.cjs', root))

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    runs: { type: 'string', default: '5' },
    heap: { type: 'string', default: '256m' },
    json: { type: 'string' },
    against: { type: 'string', multiple: true, default: [] },
  },
})

interface System {
  readonly name: string
  readonly command: readonly string[]
}
const onCollector = (collector: string, heap: string): System => ({
  name: collector,
  command: [process.execPath, lox, '--collector', collector, '--heap', heap],
})
const systems: System[] = [
  onCollector('concurrent', values.heap),
  onCollector('stop-the-world', values.heap),
  // Room for everything a program allocates: the mutator alone.
  onCollector('none', '1g'),
  ...values.against.map((text) => {
    const [name, ...command] = text.split('=')
    return { name, command: command.join('=').split(' ') }
  }),
]

interface Run {
  readonly wallS: number
  readonly cpuS: number
  readonly ownS: number
  readonly peakRssMiB: number
}

/** One run under `/usr/bin/time`, for its processor time and the peak of its memory. */
function measure({ command }: System, program: string): Run | null {
  const start = performance.now()
  const child = spawnSync('/usr/bin/time', ['-f', '%U %S %M', ...command, program], { encoding: 'utf8' })
  const wallS = (performance.now() - start) / 1000
  if (child.error) throw child.error
  if (child.status !== 0) return null
  const lastLine = (text: string): string => text.trimEnd().split('\n').pop()!
  const [userS, systemS, peakKiB] = lastLine(child.stderr).split(' ').map(Number)
  return { wallS, cpuS: userS + systemS, ownS: Number(lastLine(child.stdout)), peakRssMiB: peakKiB / 1024 }
}

const median = (numbers: number[]): number => numbers.sort((a, b) => a - b)[numbers.length >> 1]

const wanted = positionals.length > 0 ? positionals : readdirSync(programs).map((name) => name.replace('.lox', ''))
const runs = Number(values.runs)
const rows: Row[] = []
const FIGURES = ['wallS', 'cpuS', 'ownS'] as const
const WIDTH = 24
console.log('seconds: the whole process, its processor time, the time that the program measures itself')
console.log(`${''.padEnd(16)}${systems.map(({ name }) => name.padStart(WIDTH)).join('')}`)
for (const workload of wanted) {
  const path = fileURLToPath(new URL(`${workload}.lox`, programs))
  const results = systems.map((): Run[] => [])
  for (let i = 0; i < runs; i++) {
    systems.forEach((system, s) => {
      const run = measure(system, path)
      if (run) results[s].push(run)
    })
  }
  const cells = results.map((of, s) => {
    if (of.length < runs) return '-'.padStart(WIDTH)
    const middle = (figure: keyof Run): number => median(of.map((run) => run[figure]))
    const [wallS, cpuS, ownS] = FIGURES.map(middle)
    rows.push({ bench: 'lox', workload, system: systems[s].name, runs, wallS, cpuS, peakRssMiB: middle('peakRssMiB') })
    return [wallS, cpuS, ownS].map((figure) => figure.toPrecision(2).padStart(WIDTH / 3)).join('')
  })
  console.log(workload.padEnd(16) + cells.join(''))
}
if (values.json) writeFileSync(values.json, JSON.stringify({ rows }, null, 2))
