// The demo, `npm run demo [-- DAYS]`: a Lox program sends gigabytes through a heap of tens of megabytes, collected beside it.
// Each night the heap is compacted, and the next day's business does not wait for that: objects move while the program runs.
// Closes with what that cost.

import { readFileSync } from 'node:fs'
import { Lox } from '../lox.js'
import { BufferedOutput, writeAll } from '../runtime/output.js'

const HEAP = '32m'
/** Lox programs are not compiled: they are read where they were written, from the built copy as well. */
const program = new URL('../../../../examples/lox/demo/bank.lox', import.meta.url)

/** The days that the bank is open for. */
const days = process.argv[2] ?? '40'
if (!/^[1-9]\d{0,3}$/.test(days)) {
  console.error(`demo: a number of days, 1 to 9999, not '${days}'\nusage: npm run demo [-- DAYS]`)
  process.exit(2)
}

let printed = ''
const output = new BufferedOutput((bytes) => {
  printed += Buffer.from(bytes).toString('latin1')
  writeAll(1, bytes)
}, true)
const lox = new Lox({
  heap: { maxBytes: HEAP },
  output,
  error: (text) => writeAll(2, Buffer.from(text, 'latin1')),
})

console.log(
  `A bank with 2048 accounts makes 75 000 transfers on each of ${days} days; no account is ever overwritten, every change copies.`,
)
console.log(`Heap ${HEAP}, collector ${lox.heap.stats().collector}. This takes some seconds.\n`)

const start = performance.now()
let outcome = lox.run(readFileSync(program, 'latin1'))
for (let day = 1; day <= Number(days) && outcome === 'ok'; day++) {
  const compaction = lox.heap.collect()
  outcome = lox.run(`business(${day});`)
  await compaction
}
if (outcome === 'ok') outcome = lox.run('report();')
output.flush()
const seconds = (performance.now() - start) / 1000

const stats = lox.heap.stats()
const { pauses, pages } = stats
const longest = Math.max(...Object.values(pauses).map(({ max }) => max))
const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`
const milliseconds = (microseconds: number): string => `${(microseconds / 1000).toFixed(2)} ms`
const rows: [string, string][] = [
  ['time', `${seconds.toFixed(1)} s`],
  ['allocated', mebibytes(stats.bytesAllocated)],
  ['alive after the last collection', mebibytes(stats.bytesLive)],
  ['collections', String(stats.collections)],
  ['pages moved', String(pages.moved)],
  ['pages copied', String(pages.copied)],
  ['page faults', String(stats.barrierFaults)],
  ['longest stall', milliseconds(longest)],
]
if (pauses.flip.count > 0) rows.splice(7, 0, ['flip, 99 % of them', milliseconds(pauses.flip.p99)])
console.log()
for (const [name, figure] of rows) console.log(`${name.padEnd(32)} ${figure.padStart(14)}`)
lox.close()
process.exitCode = outcome === 'ok' && printed.startsWith('The books balance.') ? 0 : 1
