// Plants known bugs one by one and shows that the tests find each: who checks the tests themselves?
//
//   node scripts/mutation-check.mjs [--only TEXT] [--seconds N] [--list] [--keep] [--table FILE]
//
// A bug is one textual patch, or a few that make one bug, in a scratch copy of the repository that is built and then
// examined: first by `glissade stress` (at most N seconds, default 60, with options that make the bug's circumstances
// likely; not at all where the bug says so), then by the parts of `npm test` that the bug concerns. Whoever fails first
// has caught it. A bug that survives is a missing test. A patch whose text is no longer in the file is stale: fix it
// here, it is not evidence of anything.
//
// --only TEXT   bugs whose name contains TEXT
// --seconds N   the longest stress for one bug
// --list        the names, and what each stands for
// --keep        keeps the scratch copy
// --table FILE  writes the verdicts as a table in Markdown
// Exit status: 0 all caught, 1 a survivor, a stale patch or a baseline that fails by itself, 2 wrong use.
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs, stripVTControlCharacters } from 'node:util'
import { MUTANTS } from './mutants.mjs'

const usage = 'usage: mutation-check.mjs [--only TEXT] [--seconds N] [--list] [--keep] [--table FILE]'
let options
try {
  options = parseArgs({
    options: {
      only: { type: 'string', default: '' },
      seconds: { type: 'string', default: '60' },
      list: { type: 'boolean', default: false },
      keep: { type: 'boolean', default: false },
      table: { type: 'string' },
    },
  }).values
  if (!(Number(options.seconds) >= 1)) throw new Error('--seconds takes a number of at least 1')
} catch (error) {
  console.error(`${error.message}\n${usage}`)
  process.exit(2)
}

const chosen = MUTANTS.filter(({ name }) => name.includes(options.only))
if (chosen.length === 0) {
  console.error(`no bug's name contains '${options.only}'\n${usage}`)
  process.exit(2)
}
if (options.list) {
  for (const { name, what } of chosen) console.log(`${name.padEnd(28)} ${what}`)
  process.exit(0)
}

// npm tells node-gyp where Node's headers are; started directly, this script asks npm to start it again.
if (process.env['npm_execpath'] === undefined) {
  const again = spawnSync('npm', ['exec', '--', 'node', ...process.argv.slice(1)], { stdio: 'inherit' })
  process.exit(again.status ?? 1)
}

const scratch = mkdtempSync(join(tmpdir(), 'glissade-mutants-'))
const here = resolve('.')
const copied = ['native', 'src', 'scripts', 'examples', 'bench', 'test', 'build', 'dist', 'package.json', 'binding.gyp']
for (const name of [...copied, 'tsconfig.json', 'tsconfig.base.json', 'vitest.config.ts']) {
  if (existsSync(name)) cpSync(name, join(scratch, name), { recursive: true, preserveTimestamps: true })
}
symlinkSync(join(here, 'node_modules'), join(scratch, 'node_modules'))

const run = (command, args, ms = 600_000) =>
  spawnSync(command, args, { cwd: scratch, encoding: 'utf8', timeout: ms, killSignal: 'SIGKILL', maxBuffer: 1 << 26 })

/** Files put back since the last build: what they belong to is still built from their broken text. */
const restored = new Set()

/** Builds what a change of `files` asks for; returns what went wrong, or undefined. */
function build(files) {
  const stale = [...files, ...restored]
  restored.clear()
  const commands = []
  if (stale.some((file) => file.startsWith('native/'))) commands.push([process.execPath, ['scripts/build-native.mjs']])
  if (stale.some((file) => file.startsWith('src/'))) commands.push(['npx', ['tsc', '-b', 'src']])
  for (const command of commands) {
    const { status, stdout, stderr } = run(...command)
    if (status !== 0) return `${stdout}${stderr}`
  }
  return undefined
}

/** Who fails, and how; undefined if nobody does. */
function examine({ stress, tests = [] }) {
  return (stress && examineByStress(stress)) ?? examineByTests(tests)
}

function examineByStress(stress) {
  const args = ['dist/cli/main.js', 'stress', '--seconds', options.seconds, '--seed', '1', '--json', ...stress]
  const seconds = Number(options.seconds)
  const begin = Date.now()
  const stressed = run(process.execPath, args, (seconds + 180) * 1000)
  const took = `${Math.round((Date.now() - begin) / 1000)} s`
  if (stressed.status !== 0) {
    let what = stressed.stderr.trim().split('\n')[0] || stressed.signal || 'no answer'
    try {
      what = JSON.parse(stressed.stdout).failures[0].what.split('\n')[0]
    } catch {
      // It died without a report: what it left on standard error has to do.
    }
    return `stress, ${took}: ${what}`
  }
  return undefined
}

function examineByTests(tests) {
  for (const test of tests) {
    const [command, ...rest] = test.startsWith('test/')
      ? ['npx', 'vitest', 'run', test]
      : ['build/Release/selftest', test]
    const { status, signal, stdout, stderr } = run(command, rest)
    if (status !== 0) return `${test}: ${signal ?? whatFailed(stdout + stderr)}`
  }
  return undefined
}

/** The test that failed, out of what vitest or the self-test printed. */
function whatFailed(output) {
  const lines = stripVTControlCharacters(output).trim().split('\n')
  const line = lines.find((line) => /^\s*FAIL /.test(line)) ?? lines.at(-1)
  return line.trim().replace(/^FAIL +(\S+ > )?/, '')
}

/** Anew after every verdict: a run takes an hour. */
function tableOf(verdicts) {
  const cell = (text) => text.replaceAll('|', '\\|').slice(0, 110)
  const lines = verdicts.map(([name, verdict, detail, what]) => {
    const [by, ...how] = detail.split(': ')
    return `| ${name} | ${cell(what)} | ${verdict} | ${cell(by)} | ${cell(how.join(': '))} |`
  })
  return ['| planted bug | what it is | verdict | by | as |', '| --- | --- | --- | --- | --- |', ...lines, ''].join(
    '\n',
  )
}

const rows = []
let faults = 0
const tell = (name, verdict, detail, what = '') => {
  rows.push([name, verdict, detail, what])
  if (options.table !== undefined) writeFileSync(options.table, tableOf(rows.slice(1)))
  if (verdict !== 'caught' && verdict !== 'passes') faults++
  console.log(`${name.padEnd(28)} ${verdict.padEnd(9)} ${detail.slice(0, 150)}`)
}

try {
  const failure = build(['native/', 'src/'])
  if (failure !== undefined) throw new Error(`the unchanged copy does not build:\n${failure}`)
  const found = examine({ stress: ['--seconds', String(Math.min(20, Number(options.seconds)))] })
  tell('(unchanged)', found === undefined ? 'passes' : 'FAILS', found ?? '')

  for (const mutant of chosen) {
    const { name, what } = mutant
    const patches = (mutant.patches ?? [mutant]).map((patch) => {
      const path = join(scratch, patch.file)
      const original = readFileSync(path, 'utf8')
      return { ...patch, path, original, times: original.split(patch.find).length - 1 }
    })
    const stale = patches.find(({ times }) => times !== 1)
    if (stale !== undefined) {
      tell(name, 'STALE', `its text stands ${stale.times} times in ${stale.file}`, what)
      continue
    }
    const files = patches.map(({ file }) => file)
    for (const { path, original, find, replace } of patches) {
      writeFileSync(
        path,
        original.replace(find, () => replace),
      )
    }
    try {
      const broken = build(files)
      if (broken !== undefined) {
        const reason = broken.split('\n').find((line) => line.includes('error')) ?? broken.trim().split('\n')[0]
        tell(name, 'STALE', `does not compile: ${reason}`, what)
        continue
      }
      const caught = examine(mutant)
      tell(name, caught === undefined ? 'SURVIVES' : 'caught', caught ?? '', what)
    } finally {
      for (const { path, file, original } of patches) {
        writeFileSync(path, original)
        restored.add(file)
      }
    }
  }
} finally {
  if (options.keep) console.log(`scratch copy: ${scratch}`)
  else rmSync(scratch, { recursive: true, force: true })
}

const count = (verdict) => rows.filter(([, v]) => v === verdict).length
console.log(`${count('caught')} caught, ${count('SURVIVES')} survive, ${count('STALE')} stale`)
process.exit(faults === 0 ? 0 : 1)
