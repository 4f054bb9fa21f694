// The differential oracle over thousands of short programs, within a time that `npm test` can afford. Millions run in
// `npm run stress -- --workload differential`.
import { seedFromEnvironment } from 'glissade/testing'
import { describe, expect, it, vi } from 'vitest'
import { explain, Oracle, oracleHere, REFERENCES, type OracleConfiguration } from '../dist/testing/differential.js'
import { World, type ProgramTrace } from '../dist/testing/program.js'
import { shrink } from '../dist/testing/shrink.js'

const PROGRAMS = 2_500
/** So many whatever the time: {@link MOST_MS} are few of them on a busy machine. */
const FEWEST = 100
const MOST_MS = 20_000

const configurations = oracleHere()

/** A collector that forgets what some root slots hold, at some safepoints. */
const broken = {
  ...REFERENCES[1],
  name: 'broken',
  safepoint(...[heap, random]: Parameters<(typeof REFERENCES)[1]['safepoint']>) {
    heap.collectSync()
    if (random.chance(0.5)) heap._core.views.rootsI32.fill(0, 0, 8)
  },
}

describe('the differential oracle', () => {
  it('the same program computes the same graph over every collector', async () => {
    // A fixed first seed, so that two runs of the suite test the same; GLISSADE_SEED moves it.
    const first = process.env['GLISSADE_SEED'] === undefined ? 1 : seedFromEnvironment()
    using oracle = new Oracle(configurations)
    const end = performance.now() + MOST_MS
    let programs = 0
    while (programs < FEWEST || (programs < PROGRAMS && performance.now() < end)) {
      const verdict = await oracle.compare(first + programs)
      if (!verdict.agree) expect.fail(await explain(verdict, configurations))
      // An error of all collectors alike would agree, too.
      expect(verdict.results['none'], `program ${verdict.seed}`).toMatch(/^[0-9a-f]{16}, \d+ objects/)
      programs++
    }
  })

  it('a program computes the same in a worn heap as in a new one', async () => {
    using worn = new Oracle(configurations)
    for (let seed = 1; seed <= 40; seed++) {
      const { results } = await worn.compare(seed)
      if (seed % 4 !== 0) continue
      using young = new Oracle(configurations)
      expect((await young.compare(seed)).results).toEqual(results)
    }
  })

  it('a collector that loses a store is found out, and the program made smaller', async () => {
    const set = [REFERENCES[0], broken]
    using oracle = new Oracle(set)
    let seed = 1
    let verdict = await oracle.compare(seed)
    while (verdict.agree && seed < 100) verdict = await oracle.compare(++seed)
    expect(verdict.agree).toBe(false)
    const text = await explain(verdict, set)
    const [, needed] = /needed for it: operations (.*) of (\d+)/.exec(text) ?? []
    // One operation makes something, one is the safepoint that loses it; now and then a third is in the game.
    expect(needed.split(', ').length, text).toBeLessThanOrEqual(4)
  })

  it('every concurrent configuration has its share of the programs', async () => {
    using oracle = new Oracle(configurations)
    const counts = new Map(configurations.map(({ name }) => [name, 0]))
    for (let seed = 1; seed <= 60; seed++) {
      for (const name of Object.keys((await oracle.compare(seed)).results))
        counts.set(name, (counts.get(name) ?? 0) + 1)
    }
    for (const { name } of REFERENCES) expect(counts.get(name)).toBe(60)
    expect([...counts].filter(([, count]) => count === 0)).toEqual([])
  })

  it('a collector differs that fails beside the program, damages what it does not reach, or lets it read something else', async () => {
    const answer = async (safepoint: OracleConfiguration['safepoint']): Promise<Set<string>> => {
      using oracle = new Oracle([REFERENCES[0], { ...REFERENCES[1], name: 'other', safepoint }])
      const results = new Set<string>()
      for (let seed = 8; seed <= 80; seed += 8) results.add((await oracle.compare(seed)).results['other'])
      return results
    }
    const failing = await answer((_heap, _random, later) => later(Promise.reject(new TypeError('beside it'))))
    expect(failing).toContain('TypeError: beside it')
    // Where null points: no object is there, so the graph stays what it is.
    const damaging = await answer((heap) => void (heap._core.views.i32[2] = 1))
    expect([...damaging].join()).toMatch(/HeapError: the heap is damaged in 1 places/)
    const run = vi.spyOn(World.prototype, 'run')
    try {
      using oracle = new Oracle(REFERENCES)
      expect((await oracle.compare(1)).agree).toBe(true)
      const trace = run.mock.results.at(-1)?.value as ProgramTrace
      run.mockImplementationOnce(function (this: World, ...args) {
        return { ...World.prototype.run.apply(this, args), read: trace.read + 1 }
      })
      expect((await oracle.compare(1)).agree).toBe(false)
    } finally {
      run.mockRestore()
    }
  })

  it('making a list smaller keeps what is needed and nothing else', async () => {
    const items = Array.from({ length: 100 }, (_, i) => i)
    const needs =
      (...wanted: number[]) =>
      (kept: readonly number[]) =>
        wanted.every((item) => kept.includes(item))
    expect(await shrink(items, needs(17))).toEqual([17])
    expect(await shrink(items, needs(0, 50, 99))).toEqual([0, 50, 99])
    expect(await shrink(items, needs(...items))).toEqual(items)
    expect(await shrink(items, () => false)).toBeUndefined()
  })
})
