// Builds the core's self-test under each sanitizer and runs it: AddressSanitizer with
// UndefinedBehaviorSanitizer, then ThreadSanitizer; invariants asserted (GLISSADE_DEBUG) in both.
//
//   npm run check:native [-- [address|thread] [FILTER…]]
//
// Each build has a folder of its own, build-NAME, holding links to the sources: node-gyp builds where
// binding.gyp lies, and objects of different sanitizers must not meet.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, symlinkSync } from 'node:fs'
import { nodeGyp, whyNotNative } from './native.mjs'

const builds = { address: 'address,undefined', thread: 'thread' }
// ThreadSanitizer keeps what it knows of memory that was unmapped: all tests in one process need 20 GB, each of six at most 9.
const parts = { address: 1, thread: 6 }
const args = process.argv.slice(2)
const wanted = Object.keys(builds).filter((name) => args.includes(name))
const filters = args.filter((arg) => !(arg in builds))

const reason = whyNotNative()
if (reason !== undefined) {
  console.log(`check:native: skipped, ${reason}`)
  process.exit(0)
}

// ThreadSanitizer wants its shadow memory at fixed places; with many bits of address randomisation the
// kernel may already have put something there. setarch switches randomisation off for the child alone.
const fixed = spawnSync('setarch', ['-R', 'true'], { stdio: 'ignore' }).status === 0 ? ['setarch', '-R'] : []

const sanitizerEnv = {
  // The core installs a SIGBUS handler and must see the signal first.
  ASAN_OPTIONS: 'handle_sigbus=0:allow_user_segv_handler=1:detect_leaks=0:abort_on_error=0',
  UBSAN_OPTIONS: 'print_stacktrace=1',
  TSAN_OPTIONS: 'handle_sigbus=0:halt_on_error=1:second_deadlock_stack=1',
}

for (const name of wanted.length > 0 ? wanted : Object.keys(builds)) {
  const folder = `build-${name}`
  mkdirSync(folder, { recursive: true })
  for (const link of ['binding.gyp', 'native', 'node_modules', 'scripts', 'package.json']) {
    if (!existsSync(`${folder}/${link}`)) symlinkSync(`../${link}`, `${folder}/${link}`)
  }
  console.log(`check:native: building with -fsanitize=${builds[name]}`)
  // Two calls: what follows `--` goes to gyp in the first and would go to make in the second.
  const configured = nodeGyp(folder, ['configure', '--', `-Dsanitize=${builds[name]}`, '-Ddebug_checks=1'])
  const { ok, output } = configured.ok ? nodeGyp(folder, ['build']) : configured
  if (!ok) {
    console.error(output.trimEnd())
    process.exit(1)
  }
  for (let part = 1; part <= parts[name]; part++) {
    const command = [...fixed, `${folder}/build/Release/selftest`, '--part', `${part}/${parts[name]}`, ...filters]
    const run = spawnSync(command[0], command.slice(1), { stdio: 'inherit', env: { ...process.env, ...sanitizerEnv } })
    if (run.status !== 0) {
      console.error(`check:native: ${name} failed (${run.signal ?? `exit status ${run.status}`})`)
      process.exit(1)
    }
  }
}
