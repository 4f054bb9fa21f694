// Fuzzing for as long as a test run can afford: the corpus of every target, then mutations of it. `npm run fuzz -- --seconds
// N` goes on for longer, from a seed that it prints.
import { spawnSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { seedFromEnvironment } from 'glissade/testing'
import { expect, it } from 'vitest'

const SECONDS = 14

function fuzz(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['test/fuzz/fuzz.mjs', ...args], { encoding: 'utf8' })
  return { status, stdout, stderr }
}

it('what takes text or options from outside survives the corpus and its mutations', () => {
  // Two runs of the suite test the same; GLISSADE_SEED moves it.
  const seed = process.env['GLISSADE_SEED'] === undefined ? 1 : seedFromEnvironment()
  const { status, stdout, stderr } = fuzz('--seconds', String(SECONDS), '--seed', String(seed))
  expect(status, stdout + stderr).toBe(0)
  for (const target of ['lox', 'shapes', 'options', 'attach', 'sizes', 'injection', 'command-line']) {
    expect(stdout).toMatch(new RegExp(`^${target} +[1-9]\\d* inputs, `, 'm'))
  }
}, 600_000)

it('a failure prints the seed, the input and a command that replays it', () => {
  const { status, stdout } = fuzz('--target', 'planted', '--seconds', '60', '--seed', '3')
  expect(status).toBe(1)
  expect(stdout).toMatch(/^planted +FAILED, seed 3: Error: found the needle$/m)
  expect(stdout).toMatch(/^input: ".*needle.*"$/m)
  const [, file] = /^replay: node test\/fuzz\/fuzz\.mjs --target planted --replay (.*)$/m.exec(stdout) ?? []
  expect(file).toBeDefined()
  const replayed = fuzz('--target', 'planted', '--replay', file)
  expect(replayed).toMatchObject({ status: 1, stdout: expect.stringContaining('found the needle') })
  rmSync(dirname(file), { recursive: true })
})

it('an input that kills the process is known afterwards', () => {
  const { status, stdout } = fuzz('--target', 'planted', '--replay', 'test/fixtures/fuzz-crash')
  expect(status).toBe(1)
  expect(stdout).toMatch(/the process died: SIGKILL[^]*input: "crash/)
})

it.each([
  [['--target', 'nobody'], /no target 'nobody': lox, shapes/],
  [['--seconds', '0'], /--seconds takes a number above 0/],
  [['--seed', 'x'], /--seed takes a whole number/],
  [['--sed', '1'], /--sed/],
])('wrong use exits 2 with a sentence: %j', (args, sentence) => {
  const { status, stdout, stderr } = fuzz(...args)
  expect({ status, stdout }).toEqual({ status: 2, stdout: '' })
  expect(stderr).toMatch(sentence)
})
