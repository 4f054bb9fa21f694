// The differential oracle over hundreds of short programs, within a time that `npm test` can afford. Millions run in
// `npm run stress -- --workload differential`.
import { seedFromEnvironment } from 'glissade/testing'
import { expect, it } from 'vitest'
import { compare, oracleHere } from '../dist/testing/differential.js'

const PROGRAMS = 300
const MOST_MS = 12_000

it('the same program computes the same graph over every collector', async () => {
  const configurations = oracleHere()
  // A fixed first seed, so that two runs of the suite test the same; GLISSADE_SEED moves it.
  const first = process.env['GLISSADE_SEED'] === undefined ? 1 : seedFromEnvironment()
  const end = performance.now() + MOST_MS
  let programs = 0
  while (programs < PROGRAMS && performance.now() < end) {
    const { seed, agree, results } = await compare(first + programs, configurations)
    expect(agree, `program ${seed} differs: ${JSON.stringify(results, null, 2)}`).toBe(true)
    // An error of all collectors alike would agree, too.
    expect(results['none'], `program ${seed}`).toMatch(/^[0-9a-f]{16}, \d+ objects/)
    programs++
  }
  expect(programs).toBeGreaterThan(10)
})

it('a collector that loses a store is found out', async () => {
  const [none, other] = oracleHere()
  const verdict = await compare(3, [
    none,
    {
      ...other,
      name: 'broken',
      safepoint(heap, random) {
        heap.collectSync()
        // What a lost store looks like: some slot is null that should not be.
        if (random.chance(0.5)) heap._core.views.rootsI32.fill(0, 0, 4)
      },
    },
  ])
  expect(verdict.agree).toBe(false)
})
