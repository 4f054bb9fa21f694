// The Lox programs of bench/lox/programs, each in its own process: a whole language on the heap. What they print is dropped.
// They have no version on plain objects; the figure to watch is `overNone`.

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Heap, HeapOptions } from 'glissade'
import type { Bench, Case } from '../bench.js'
import { heapFigures, peakRssMiB, stopwatch } from '../measure.js'
import type { Outcome } from '../rows.js'
import { collectorsHere } from '../systems.js'
import { compareWithNone } from '../workload-bench.js'

const lox = new URL('../../examples/lox/lox.js', import.meta.url)
const programs = fileURLToPath(new URL('../../../bench/lox/programs/', import.meta.url))
/** Enough to be typical, quick enough for --quick. */
const QUICK = ['fib.lox', 'binary_trees.lox', 'zoo.lox']

/** What examples/lox/lox.ts exports, as far as it is used here. */
interface LoxModule {
  readonly Lox: new (options: {
    readonly heap: HeapOptions
    readonly output: { byte(): void; text(): void; newline(): void; flush(): void }
    readonly error: (text: string) => void
  }) => { readonly heap: Heap; run(source: string): string; close(): void }
}

async function run({ workload, system }: Case): Promise<Outcome> {
  const { Lox } = (await import(lox.href)) as LoxModule
  const source = readFileSync(`${programs}${workload}`, 'latin1')
  let complaint = ''
  const silent = (): void => {}
  const elapsed = stopwatch()
  const language = new Lox({
    // `none` holds everything that a program ever allocates.
    heap: { collector: system as HeapOptions['collector'], maxBytes: system === 'none' ? '4095m' : '64m' },
    output: { byte: silent, text: silent, newline: silent, flush: silent },
    error: (text) => (complaint += text),
  })
  const outcome = language.run(source)
  if (outcome !== 'ok') throw new Error(`${workload} ended with a ${outcome}: ${complaint}`)
  const time = elapsed()
  const { figures, histograms } = heapFigures(language.heap)
  language.close()
  return { figures: { ...time, peakRssMiB: peakRssMiB(), ...figures }, histograms }
}

export const loxPrograms: Bench = {
  name: 'lox',
  summary: 'the Lox programs of bench/lox on each collector',
  cases({ quick }, skip) {
    if (!existsSync(fileURLToPath(lox)) || !existsSync(programs)) {
      skip('the Lox programs of bench/lox are in a checkout of the repository only')
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
