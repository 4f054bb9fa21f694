// `glissade stress`: what it prints, how it exits, and that it sees damage.
import { spawn, spawnSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import { fitting } from '../dist/cli/stress/workload.js'
import { WORKLOADS } from '../dist/cli/stress/workloads.js'
import { oracleHere } from '../dist/testing/differential.js'

function stress(...args: string[]) {
  return stressWith({}, ...args)
}
function stressWith(variables: Record<string, string>, ...args: string[]) {
  const run = spawnSync(process.execPath, ['dist/cli/main.js', 'stress', ...args], {
    encoding: 'utf8',
    env: { ...process.env, NO_COLOR: '1', ...variables },
  })
  return { status: run.status, out: run.stdout, err: run.stderr }
}

const concurrent = oracleHere().some(({ options }) => options.collector === 'concurrent')

describe('glissade stress', () => {
  it('--json prints one object with exactly the agreed keys, and nothing else', () => {
    const { status, out, err } = stress('--seconds', '1', '--seed', '7', '--verify', '2', '--json')
    expect({ status, err }).toEqual({ status: 0, err: '' })
    const report = JSON.parse(out) as Record<string, unknown>
    expect(Object.keys(report)).toEqual([
      'passed',
      'seed',
      'collections',
      'pagesMoved',
      'pagesCopied',
      'barrierFaults',
      'injected',
      'verifications',
      'failures',
    ])
    expect(report).toMatchObject({ passed: true, seed: 7, failures: [] })
    expect(report['collections']).toBeGreaterThan(0)
    expect(report['verifications']).toBeGreaterThan(0)
  })

  it('takes its seed from GLISSADE_SEED, where none is given', () => {
    const args = ['--seconds', '1', '--collector', 'none', '--workload', 'lists', '--json']
    const seedOf = (...more: string[]): unknown =>
      (JSON.parse(stressWith({ GLISSADE_SEED: '1234567' }, ...args, ...more).out) as { seed: number }).seed
    expect([seedOf(), seedOf('--seed', '8')]).toEqual([1_234_567, 8])
  })

  it('refuses what this machine cannot do, and a seed that is no number', () => {
    const without = (...args: string[]) => stressWith({ GLISSADE_NATIVE: 'none' }, '--seconds', '1', ...args)
    for (const args of [['--mutators', '3'], ['--protect'], ['--relocation', 'move'], ['--collector', 'concurrent']]) {
      const { status, out, err } = without(...args)
      expect({ args, status, out }).toEqual({ args, status: 2, out: '' })
      expect(err).toMatch(/cannot be had here: GLISSADE_NATIVE=none/)
    }
    for (const [seed, sentence] of [
      ['abc', "GLISSADE_SEED takes a whole number; got 'abc'"],
      ['4294967296', 'GLISSADE_SEED takes a whole number between 0 and 4294967295; got 4294967296'],
    ]) {
      const { status, out, err } = stressWith({ GLISSADE_SEED: seed }, '--seconds', '1')
      expect({ status, out, err }).toEqual({ status: 2, out: '', err: `glissade: ${sentence}\n` })
    }
  })

  it('--inject with no rule is none, also where there is no native code', () => {
    const args = ['--seconds', '1', '--workload', 'lists', '--inject', '']
    expect(stressWith({ GLISSADE_NATIVE: 'none' }, ...args)).toMatchObject({ status: 0, err: '' })
  })

  it('success says what was exercised', () => {
    const { status, out } = stress(
      '--seconds',
      '1',
      '--seed',
      '8',
      '--collector',
      'stop-the-world',
      '--workload',
      'lists',
    )
    expect(status).toBe(0)
    expect(out).toMatch(/everything held/)
    const [, collections, moved] = out.match(/collections +([\d,]+), of which ([\d,]+) moved objects/) ?? []
    expect(moved).toBe(collections)
    expect(moved).not.toBe('0')
    for (const name of ['seed', 'collections', 'pages', 'faults', 'injected', 'verified']) expect(out).toContain(name)
    expect(out).not.toContain('\x1b')
  })

  // A heap that may only move pages calls it an error when one cannot be moved.
  it.runIf(concurrent)('a failure prints the seed and the one command that replays it, and exits 1', () => {
    const refused = ['--seconds', '10', '--seed=9', '--collector', 'concurrent', '--inject', 'move:EBUSY=0.5']
    const fixed = ['--faults', 'sigbus', '--relocation', 'move', '--workload', 'lists, graphs', '--heap', '4m']
    const { status, out } = stress(...refused, ...fixed, '--json')
    expect(status).toBe(1)
    const report = JSON.parse(out) as { passed: boolean; failures: { seed: number; what: string; replay: string }[] }
    expect(report.passed).toBe(false)
    const [{ seed, what, replay }] = report.failures
    expect(what).toMatch(/could not be moved/)
    expect(replay).toMatch(/^npx glissade stress --seconds 10 .*--inject move:EBUSY=0\.5 /)
    expect(replay).toContain(`--seed ${seed}`)
    expect(replay.match(/--seed/g)).toHaveLength(1)
    // What a shell would take apart is quoted.
    expect(replay).toContain(" --workload 'lists, graphs' --heap 4m ")
  })

  it.runIf(concurrent)('many threads take on no more than their share of the root areas', () => {
    const names = 'lists,trees,graphs,tables,values,arrays,fragmentation,stacks,handles,weak,exchange'
    const fixed = ['--heap', '64m', '--mutators', '32', '--verify', '0', '--inject', '', '--workload', names]
    const { status, out } = stress('--seconds', '1', '--seed', '5', ...fixed)
    expect({ status, out }).toMatchObject({ status: 0 })
    for (const { threads, seed } of [1, 3, 15, 16, 32].flatMap((threads) =>
      [0, 7].map((seed) => ({ threads, seed })),
    )) {
      const chosen = fitting(WORKLOADS, seed, threads)
      const areas = chosen.reduce((sum, { areas = 1 }) => sum + areas, 0)
      expect(areas * threads + 1).toBeLessThanOrEqual(256)
      expect(chosen.length).toBeGreaterThan(threads > 15 ? 2 : 8)
    }
  })

  it('no array is longer than an array can be, in the largest heap', () => {
    const lengths: number[] = []
    const random = {
      below: (n: number) => Math.min(n - 1, 0),
      next: () => 2 ** 32 - 1,
      pick: () => 'u8',
      chance: () => false,
    }
    const heap = { defineArray: () => ({}), defineShape: () => ({}) }
    const roots = { table: () => ({ set: () => undefined }) }
    const m = { roots, allocArray: (_shape: unknown, length: number) => lengths.push(length) }
    const context = { heap, random, budget: 2 ** 31, exchange: { base: 0, slots: 0 }, collects: true }
    const arrays = WORKLOADS.find(({ name }) => name === 'arrays')
    arrays?.start(context as never, m as never).step(m as never)
    expect(lengths).toEqual([2 ** 30 - 1])
  })

  it('Ctrl-C says the seed and what was done, and exits 130', async () => {
    const args = ['dist/cli/main.js', 'stress', '--seconds', '60', '--seed', '12', '--collector', 'stop-the-world']
    // A process group of its own: like Ctrl-C on a terminal, the signal reaches the process that runs the episodes, too.
    const child = spawn(process.execPath, args, { detached: true, stdio: ['ignore', 'pipe', 'inherit'] })
    setTimeout(() => process.kill(-(child.pid as number), 'SIGINT'), 5000)
    let out = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text))
    expect(await new Promise((resolve) => child.on('close', resolve))).toBe(130)
    expect(out).toMatch(/interrupted, nothing wrong in what was complete\n *seed +12\n *episodes/)
  })

  it.each([
    [['--seconds', '0'], /--seconds takes a whole number between 1 and/],
    [['--seed', 'x'], /--seed takes a whole number/],
    [['--seed', ''], /--seed takes a whole number; got ''/],
    [['--heap', '64q'], /--heap: "64q" is not a size/],
    [['--heap', '1k'], /--heap lies between 1m and 4g/],
    [['--collector', 'g1'], /--collector is one of auto, concurrent/],
    [['--workload', 'lists,treees'], /--workload is of lists, .*got 'treees'/],
    [['--verify', '5'], /--verify takes a whole number between 0 and 4/],
    [['--mutators', '2', '--collector', 'none'], /serves one thread/],
    [['--protect', '--collector', 'none'], /--protect is for the concurrent collector/],
    [['--relocation', 'move', '--collector', 'stop-the-world'], /--relocation move is for the concurrent collector/],
    [['--inject', 'move:EWHAT=1'], concurrent ? /unknown errno/ : /--inject/],
    [['--sed', '1'], /unknown option '--sed'/],
  ])('wrong use exits 2 with a sentence: %j', (args, sentence) => {
    const { status, out, err } = stress(...args)
    expect({ status, out }).toEqual({ status: 2, out: '' })
    expect(err).toMatch(sentence)
  })
})
