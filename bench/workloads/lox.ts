// The Lox programs of bench/lox/programs, each run by the `lox` command in its own process: a whole language on the heap.
// They have no version on plain objects; the figure to watch is `overNone`.

import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Bench, Case } from '../bench.js'
import type { Outcome } from '../rows.js'
import { collectorsHere } from '../systems.js'
import { compareWithNone } from '../workload.js'

const lox = fileURLToPath(new URL('../../examples/lox/main.js', import.meta.url))
const programs = fileURLToPath(new URL('../../../bench/lox/programs/', import.meta.url))
/** Enough to be typical, quick enough for --quick. */
const QUICK = ['fib.lox', 'binary_trees.lox', 'zoo.lox']

interface Statistics {
  readonly collections: number
  readonly barrierFaults: number
}

function run({ workload, system }: Case): Outcome {
  // `none` holds everything that a program ever allocates.
  const size = system === 'none' ? '4095m' : '64m'
  // The child process of this case runs nothing else, so that resource usage of its children is this program's.
  const begin = performance.now()
  const { status, stderr } = spawnSync(
    process.execPath,
    [lox, '--collector', system, '--heap', size, '--stats=json', `${programs}${workload}`],
    { encoding: 'utf8', maxBuffer: 2 ** 26 },
  )
  const wallS = (performance.now() - begin) / 1000
  if (status !== 0) throw new Error(`Error: lox ended with status ${status}: ${stderr.slice(-300)}`)
  const usage = process.resourceUsage()
  const stats = JSON.parse(stderr.slice(stderr.indexOf('{'))) as Statistics & { pauses: { [kind: string]: never } }
  const { pauses } = stats
  return {
    figures: {
      wallS,
      cpuS: (usage.userCPUTime + usage.systemCPUTime) / 1e6,
      peakRssMiB: usage.maxRSS / 1024,
      collections: stats.collections,
      barrierFaults: stats.barrierFaults,
    },
    histograms: {
      stopUs: pauses[system === 'concurrent' ? 'flip' : 'pause'],
      faultUs: pauses['faultStall'],
      allocationStallUs: pauses['allocationStall'],
    },
  }
}

export const loxPrograms: Bench = {
  name: 'lox',
  summary: 'the Lox programs of bench/lox on each collector',
  cases({ quick }, skip) {
    if (!existsSync(lox) || !existsSync(programs)) {
      skip('the Lox example or its programs are not here')
      return []
    }
    const collectors = collectorsHere(['concurrent', 'stop-the-world', 'none'], skip)
    return readdirSync(programs)
      .filter((file) => file.endsWith('.lox') && (!quick || QUICK.includes(file)))
      .flatMap((workload) => collectors.map((system) => ({ bench: 'lox', workload, system, parameters: {}, runs: 3 })))
  },
  run,
  compare: compareWithNone,
}
