#!/usr/bin/env node
// Checks the Promela models with SPIN: the correct protocol must hold in every interleaving, every mutant must not.
//
//   node test/model/check.mjs [--quick] [--only TEXT] [--jobs N] [--keep] [--skip-if-missing]
//
// --quick            two mutators instead of three (seconds instead of minutes); the mutants are the same
// --only TEXT        runs whose name contains TEXT
// --jobs N           searches at a time (default 2; one needs up to 1.3 GiB)
// --keep             keeps the working directory, with a counterexample's trail for `spin -t -p`
// --skip-if-missing  without spin or a C compiler: prints "skipped" and exits 0 instead of 1
import { spawn, spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

let options
try {
  options = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string', default: '' },
      jobs: { type: 'string', default: '2' },
      keep: { type: 'boolean', default: false },
      'skip-if-missing': { type: 'boolean', default: false },
    },
  }).values
  if (!(Number(options.jobs) >= 1)) throw new Error('--jobs takes a number of at least 1')
} catch (error) {
  console.error(`${error.message}\nusage: check.mjs [--quick] [--only TEXT] [--jobs N] [--keep] [--skip-if-missing]`)
  process.exit(2)
}

const here = dirname(fileURLToPath(import.meta.url))
// Why a mutant must be rejected: what SPIN says, and what that means.
const deadlock = [/invalid end state/, 'deadlock: a thread waits for ever']
const sources = [/content\[p\]/, 'a builder reads a source page that was overwritten or released']
const unfinished = [
  /content\[f\]|tmp==|state\[p\]==2/,
  'the kernel is given a buffer that is no longer the finished page',
]
const zeroFill = [/assertion violated registered/, 'a mutator touches an unmapped page after the unregistering']
const ahead = [/space\[p\]!=0/, 'a page word says mapped and the page is missing']
const twice = [/pool&\(1<</, 'a buffer goes back to the pool twice']
const inPause = [
  /inside|pausing|due|pending>=0/,
  'a mutator runs during the operation, the operation runs twice, or a running mutator’s words are written',
]

// name, model, flags; `quick` replaces them with --quick (null: left out)
const correct = [
  ['move, 2 cycles', 'page-protocol', '-DCYCLES=2', '-DCYCLES=2 -DMUTATORS=2'],
  ['copy', 'page-protocol', '-DCOPY', '-DCOPY -DMUTATORS=2'],
  ['copy, 2 cycles, ENOMEM', 'page-protocol', '-DCOPY -DCYCLES=2 -DENOMEMS=1 -DMUTATORS=2', null],
  ['move, 2 cycles, 2 touches', 'page-protocol', '-DCYCLES=2 -DTOUCHES=2 -DMUTATORS=2', null],
  ['move, 3 pages', 'page-protocol', '-DPAGES=3 -DMUTATORS=2', null],
  ['move, 3 pages, least reserve', 'page-protocol', '-DPAGES=3 -DRESERVE=2 -DMUTATORS=2', null],
  ['move, 2 pages, least reserve', 'page-protocol', '-DRESERVE=1', '-DRESERVE=1 -DMUTATORS=2'],
  ['slide (zero copies)', 'page-protocol', '-DSLIDE', '-DSLIDE -DMUTATORS=2'],
  ['slide, copy, 2 cycles', 'page-protocol', '-DSLIDE -DCOPY -DCYCLES=2 -DMUTATORS=2'],
  ['a thread stops for ever', 'page-protocol', '-DSTALL', '-DSTALL -DMUTATORS=2'],
  ['safepoint', 'safepoint', '', '-DMUTATORS=2'],
  ['safepoint, 3 pauses', 'safepoint', '-DREQUESTERS=1 -DSTOPS=3', '-DREQUESTERS=1 -DSTOPS=3 -DMUTATORS=2'],
  [
    'safepoint, inspections',
    'safepoint',
    '-DREQUESTERS=1 -DINSPECTIONS=2',
    '-DREQUESTERS=1 -DINSPECTIONS=2 -DMUTATORS=2',
  ],
]

// name, model, flags besides the mutation and -DMUTATORS=2, why it must be rejected
const mutants = [
  ['RELEASE_AT_PUBLISH', 'page-protocol', '', sources],
  ['OVERTAKE_UNCOUNTED', 'page-protocol', '', sources],
  ['CLAIM_WITHOUT_CAS', 'page-protocol', '', sources],
  ['CLAIM_BEFORE_BUFFER', 'page-protocol', '-DRESERVE=2', deadlock],
  ['NO_OVERTAKE', 'page-protocol', '-DSTALL', deadlock],
  ['OVERTAKER_OVERWRITES', 'page-protocol', '', unfinished],
  ['PLACE_OWN_BUFFER', 'page-protocol', '', unfinished],
  ['REUSE_BEFORE_PLACE', 'page-protocol', '', unfinished],
  ['EVERY_PLACER_RETURNS', 'page-protocol', '-DCOPY', twice],
  ['ENOMEM_DROPS_BUFFER', 'page-protocol', '-DENOMEMS=1', unfinished],
  ['MAPPED_BEFORE_PLACE', 'page-protocol', '', zeroFill],
  ['LOSER_RELEASES_SLID', 'page-protocol', '-DSLIDE', unfinished],
  ['SLID_SOURCE_RECYCLED', 'page-protocol', '-DSLIDE -DCOPY', sources],
  ['UNREGISTER_EARLY', 'page-protocol', '', zeroFill],
  ['NO_COLLECTOR_JOIN', 'page-protocol', '', sources],
  ['READ_BEFORE_ENTER', 'page-protocol', '', sources],
  ['NO_ACTIVE_CHECK', 'page-protocol', '', sources],
  ['ACTIVE_AFTER_DRAIN', 'page-protocol', '', sources],
  ['ACTIVE_UNFENCED', 'page-protocol', '', sources],
  ['RESET_BEFORE_DRAIN', 'page-protocol', '', sources],
  ['RELEASE_BEFORE_DRAIN', 'page-protocol', '', sources],
  ['FLIP_BEFORE_RESET', 'page-protocol', '-DCYCLES=2', ahead],
  ['ENTER_WITHOUT_CAS', 'safepoint', '', inPause],
  ['ENTER_IGNORES_REQUEST', 'safepoint', '', inPause],
  ['PUBLISH_UNCHECKED', 'safepoint', '', deadlock],
  ['PUBLISH_UNFENCED', 'safepoint', '', deadlock],
  ['LEAVE_BY_STORE', 'safepoint', '', deadlock],
  ['NO_STOP_MUTEX', 'safepoint', '', inPause],
  ['NO_OWN_HOLD', 'safepoint', '', inPause],
  ['REQUEST_WITHOUT_RMW', 'safepoint', '', inPause],
  ['PARKED_WAITED_FOR', 'safepoint', '', deadlock],
  ['ASK_BEFORE_COUNTING', 'safepoint', '', inPause],
  ['OPERATION_BEFORE_LAST', 'safepoint', '', inPause],
  ['WAKE_BEFORE_STATE', 'safepoint', '', deadlock],
  ['RESTORE_AFTER_STATE', 'safepoint', '', inPause],
  ['PARKED_RESUMED', 'safepoint', '', deadlock],
  ['FINISHED_BEFORE_RESUME', 'safepoint', '', inPause],
  ['ATTACH_WITHOUT_MUTEX', 'safepoint', '', inPause],
  ['DETACH_WHILE_RUNNING', 'safepoint', '', deadlock],
  ['INSPECT_WITHOUT_LEAVING', 'safepoint', '-DREQUESTERS=1 -DINSPECTIONS=1', deadlock],
  ['UNLOCK_BEFORE_RESUME', 'safepoint', '-DREQUESTERS=1 -DINSPECTIONS=1', deadlock],
]

// Every mutation in the models has its line above, and the other way round.
const named = new Set(mutants.map(([name, model]) => `${model} ${name}`))
const written = new Set()
for (const model of ['page-protocol', 'safepoint']) {
  const text = readFileSync(join(here, `${model}.pml`), 'utf8')
  for (const [, name] of text.matchAll(/MUTANT_([A-Z_]+)/g)) written.add(`${model} ${name}`)
}
const lost = [...named, ...written].filter((name) => !named.has(name) || !written.has(name))
if (lost.length) {
  console.error(`mutants in only one of model and check.mjs: ${lost.join(', ')}`)
  process.exit(1)
}

const missing = [
  ['spin', '-V'],
  ['gcc', '--version'],
].filter(([tool, flag]) => spawnSync(tool, [flag]).error)
if (missing.length) {
  const what = `${missing.map(([tool]) => tool).join(' and ')} not installed (Debian: apt-get install spin gcc)`
  if (options['skip-if-missing']) {
    console.log(`skipped: models not checked, ${what}`)
    process.exit(0)
  }
  console.error(`${what}; --skip-if-missing makes this a skip`)
  process.exit(1)
}

const runs = [
  ...correct
    .filter(([, , , quick]) => !(options.quick && quick === null))
    .map(([name, model, full, quick]) => ({ name, model, flags: (options.quick && quick) || full })),
  ...mutants.map(([name, model, flags, reason]) => ({
    name: `mutant ${name}`,
    model,
    flags: `-DMUTATORS=2 -DMUTANT_${name} ${flags}`,
    reason,
  })),
].filter((run) => run.name.toLowerCase().includes(options.only.toLowerCase()))
if (!runs.length) {
  console.error(`no run is called ${options.only}`)
  process.exit(2)
}

const work = mkdtempSync(join(tmpdir(), 'glissade-model-'))
const children = new Set()
for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
]) {
  process.on(signal, () => {
    for (const child of children) child.kill('SIGKILL')
    rmSync(work, { recursive: true, force: true })
    process.exit(code)
  })
}

function command(directory, program, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: directory, stdio: ['ignore', 'pipe', 'pipe'] })
    children.add(child)
    let output = ''
    child.stdout.on('data', (data) => (output += data))
    child.stderr.on('data', (data) => (output += data))
    child.on('error', reject)
    child.on('close', (code, signal) => {
      children.delete(child)
      resolve({ code, signal, output })
    })
  })
}

async function check(run, directory) {
  const flags = run.flags.split(' ').filter(Boolean)
  mkdirSync(directory)
  copyFileSync(join(here, `${run.model}.pml`), join(directory, `${run.model}.pml`))
  const spin = await command(directory, 'spin', [...flags, '-a', `${run.model}.pml`])
  if (spin.code !== 0) return { problem: `spin -a: ${spin.output.trim()}` }
  // Exhaustive: no bitstate, no hash compaction; COLLAPSE is lossless. Deadlocks and assertions, hence SAFETY.
  const gcc = await command(directory, 'gcc', [
    run.reason ? '-O0' : '-O2',
    '-w',
    '-DSAFETY',
    '-DCOLLAPSE',
    '-DMEMLIM=4000',
    '-o',
    'pan',
    'pan.c',
  ])
  if (gcc.code !== 0) return { problem: `gcc: ${gcc.output.trim()}` }
  const started = performance.now()
  const pan = await command(directory, './pan', ['-m100000', '-w24'])
  const seconds = (performance.now() - started) / 1000
  const number = (pattern) => Number(pan.output.match(pattern)?.[1] ?? Number.NaN)
  const result = {
    seconds,
    states: number(/(\d+) states, stored/),
    transitions: number(/(\d+) transitions/),
    depth: number(/depth reached (\d+)/),
    error: pan.output.match(/^pan:\d+: (.*?)(?: \(at depth (\d+)\))?$/m)?.[1]?.trim() ?? '',
  }
  const errors = number(/errors: (\d+)/)
  if (pan.code !== 0 || Number.isNaN(errors))
    result.problem = `pan ended with ${pan.signal ?? pan.code}: ${pan.output.trim().slice(-400)}`
  else if (run.reason) {
    if (errors === 0) result.problem = 'SPIN accepts this mutant'
    else if (!run.reason[0].test(result.error))
      result.problem = `rejected, but not as expected (${run.reason[1]}): ${result.error}`
  } else if (errors !== 0) result.problem = `violated: ${result.error}`
  else if (/max search depth too small|Search not completed|out of memory|reached -DMEMLIM/.test(pan.output)) {
    result.problem = 'the search was not exhaustive'
  }
  return result
}

const widths = [-29, -13, 9, 11, 5, 7]
const row = (...cells) =>
  cells
    .map((cell, i) => {
      const width = widths[i] ?? 0
      return width < 0 ? String(cell).padEnd(-width) : String(cell).padStart(width)
    })
    .join('  ')
console.log(row('run', 'model', 'states', 'transitions', 'depth', 'seconds', 'verdict'))

let failures = 0
let next = 0
const began = performance.now()
async function worker() {
  while (next < runs.length) {
    const index = next++
    const run = runs[index]
    const directory = join(work, String(index))
    const result = await check(run, directory)
    const count = (value) => (value === undefined || Number.isNaN(value) ? '-' : value)
    const verdict = result.problem ? `FAILED: ${result.problem}` : run.reason ? `rejected: ${run.reason[1]}` : 'holds'
    if (result.problem) failures++
    console.log(
      row(
        run.name,
        run.model,
        count(result.states),
        count(result.transitions),
        count(result.depth),
        result.seconds === undefined ? '-' : result.seconds.toFixed(1),
        verdict,
      ),
    )
    if (!options.keep) rmSync(directory, { recursive: true, force: true })
  }
}
await Promise.all(Array.from({ length: Math.min(Number(options.jobs), runs.length) }, worker))

if (options.keep) console.log(`kept: ${work}`)
else rmSync(work, { recursive: true, force: true })
console.log(
  `${runs.length - failures} of ${runs.length} as expected, ${((performance.now() - began) / 1000).toFixed(0)} s`,
)
process.exit(failures ? 1 : 0)
