// Lox programs, timed: `node dist/bench/lox/main.js [--runs N] [--json FILE] [--against NAME=COMMAND]… [PROGRAM]…`
//
// Each run is a process of its own. Systems take turns within a round, so that a machine that slows down slows all of
// them; the figures are medians. A system is `lox` on one of the collectors, or any other Lox given by --against, whose
// command gets the path of the program (`--against clox=/path/to/clox`).

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
  readonly peakRssMiB: number
}

/** One run under `/usr/bin/time`, where there is one, for the peak of memory. */
function measure({ command }: System, program: string): Run | null {
  const start = performance.now()
  const child = spawnSync('/usr/bin/time', ['-f', '%M', ...command, program], { encoding: 'utf8' })
  if (child.error) {
    const plain = spawnSync(command[0], [...command.slice(1), program], { encoding: 'utf8' })
    return plain.status === 0 ? { wallS: (performance.now() - start) / 1000, peakRssMiB: 0 } : null
  }
  if (child.status !== 0) return null
  return { wallS: (performance.now() - start) / 1000, peakRssMiB: Number(child.stderr.trim().split('\n').pop()) / 1024 }
}

const median = (numbers: number[]): number => numbers.sort((a, b) => a - b)[numbers.length >> 1]

const wanted = positionals.length > 0 ? positionals : readdirSync(programs).map((name) => name.replace('.lox', ''))
const runs = Number(values.runs)
const rows: Row[] = []
console.log(`${'seconds, process start included'.padEnd(34)}${systems.map(({ name }) => name.padStart(16)).join('')}`)
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
    if (of.length < runs) return '-'.padStart(16)
    const wallS = median(of.map((run) => run.wallS))
    const peakRssMiB = median(of.map((run) => run.peakRssMiB))
    rows.push({ bench: 'lox', workload, system: systems[s].name, runs, wallS, cpuS: 0, peakRssMiB })
    return wallS.toFixed(3).padStart(16)
  })
  console.log(workload.padEnd(34) + cells.join(''))
}
if (values.json) writeFileSync(values.json, JSON.stringify({ rows }, null, 2))
