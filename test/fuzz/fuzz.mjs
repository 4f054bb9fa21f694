// Fuzzing of everything that takes text or options from outside. What must hold is in targets/; the corpus of each target
// is a folder of small files below corpus/, inputs that were interesting once and every one that failed.
//
//   node test/fuzz/fuzz.mjs [--seconds N] [--target NAMES] [--seed S] [--replay FILE] [--keep]
//
// Every run begins with the corpus, unchanged, in the order of names; then inputs are made from it by mutation, drawn from
// the seed, and those that reach code that nothing reached before are mutated further (coverage: V8 tells which blocks
// ran). Inputs run in a process of their own: it may crash or hang, and the input that it had is known.
// A failure prints the target, the seed, the input and the command that replays it, which has been stored as a file.
//
// --seconds N      for all targets together (default 15)
// --target NAMES   separated by commas (default: all)
// --seed S         of the mutations (default: from the clock)
// --replay FILE    runs this one input; with --target
// --keep           stores inputs that reached new code in the corpus
// Exit status: 0 all held, 1 a failure, 2 wrong use.
import { fork } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { TARGETS } from './targets.mjs'

/** An input that takes longer hangs: targets bound the time of what may run for ever. */
const HANG_MS = 20_000
const usage = 'usage: fuzz.mjs [--seconds N] [--target NAMES] [--seed S] [--replay FILE] [--keep]'

function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        seconds: { type: 'string', default: '15' },
        target: {
          type: 'string',
          default: TARGETS.filter(({ hidden }) => !hidden)
            .map(({ name }) => name)
            .join(','),
        },
        seed: { type: 'string', default: String(Date.now() >>> 0) },
        replay: { type: 'string' },
        keep: { type: 'boolean', default: false },
      },
    })
    const targets = values.target.split(',')
    const unknown = targets.find((name) => !TARGETS.some((target) => target.name === name))
    if (unknown !== undefined) throw new Error(`no target '${unknown}': ${TARGETS.map(({ name }) => name).join(', ')}`)
    if (!(Number(values.seconds) > 0)) throw new Error('--seconds takes a number above 0')
    if (!Number.isInteger(Number(values.seed))) throw new Error('--seed takes a whole number')
    if (values.replay !== undefined && targets.length !== 1) throw new Error('--replay needs one --target')
    return { ...values, targets, seconds: Number(values.seconds), seed: Number(values.seed) >>> 0 }
  } catch (error) {
    console.error(`${error.message}\n${usage}`)
    process.exit(2)
  }
}

const options = readOptions()
const scratch = mkdtempSync(join(tmpdir(), 'glissade-fuzz-'))
const corpus = fileURLToPath(new URL('corpus/', import.meta.url))

/** Runs one target in a process; resolves to { runs, kept, failure }, failure undefined if all held. */
function fuzz(name, ms) {
  const current = join(scratch, name)
  writeFileSync(current, '')
  const child = fork(fileURLToPath(new URL('process.mjs', import.meta.url)), {
    stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
  })
  let complaints = ''
  child.stderr.setEncoding('utf8').on('data', (text) => (complaints = (complaints + text).slice(-2000)))
  return new Promise((resolve) => {
    let report = { runs: 0, kept: [] }
    let alarm
    const watch = () => {
      clearTimeout(alarm)
      alarm = setTimeout(() => {
        end({ what: `no answer for ${HANG_MS / 1000} seconds`, input: readFileSync(current, 'latin1') })
        child.kill('SIGKILL')
      }, HANG_MS)
    }
    const end = (failure) => {
      clearTimeout(alarm)
      child.removeAllListeners()
      resolve({ ...report, failure })
    }
    child.on('message', (message) => {
      if (message.kind === 'report') report = message
      if (message.kind === 'failed') end({ what: message.what, input: readFileSync(current, 'latin1') })
      else if (message.kind === 'done') end(undefined)
      else watch()
    })
    child.once('exit', (code, signal) => {
      const how = `the process died: ${signal ?? `exit status ${code}`}\n${complaints}`.trim()
      // Its last messages may arrive after the news of its end.
      clearTimeout(alarm)
      alarm = setTimeout(() => end({ what: how, input: readFileSync(current, 'latin1') }), 1000)
    })
    watch()
    const replay = options.replay === undefined ? undefined : readFileSync(options.replay, 'latin1')
    child.send({ name, ms, seed: options.seed, corpus: join(corpus, name), current, replay })
  })
}

/** In the corpus; what the planted target finds is kept out of it, in a folder of its own: others may be testing the fuzzer, too. */
function store(name, input) {
  const hidden = TARGETS.find((target) => target.name === name).hidden
  const folder = hidden ? mkdtempSync(join(tmpdir(), `glissade-${name}-`)) : join(corpus, name)
  const file = join(folder, createHash('sha256').update(input, 'latin1').digest('hex').slice(0, 12))
  mkdirSync(folder, { recursive: true })
  writeFileSync(file, input, 'latin1')
  return relative('.', file)
}

let status = 0
try {
  console.log(`seed ${options.seed}`)
  for (const name of options.targets) {
    const { runs, kept, failure } = await fuzz(name, (options.seconds * 1000) / options.targets.length)
    if (failure === undefined) {
      console.log(`${name.padEnd(12)} ${runs} inputs, ${kept.length} of them reached new code`)
      if (options.keep) for (const input of kept) store(name, input)
      continue
    }
    status = 1
    const file = options.replay ?? store(name, failure.input)
    console.log(`${name.padEnd(12)} FAILED, seed ${options.seed}: ${failure.what}`)
    console.log(`input: ${JSON.stringify(failure.input.slice(0, 2000))}`)
    console.log(`replay: node test/fuzz/fuzz.mjs --target ${name} --replay ${file}`)
  }
} finally {
  rmSync(scratch, { recursive: true, force: true })
}
process.exit(status)
