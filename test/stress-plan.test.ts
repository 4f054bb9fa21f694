// What an episode of stress is drawn from: its seed, and what the command line pins.
import { describe, expect, it } from 'vitest'
import { describePlan, planEpisode, seedAfter, type EpisodePlan, type StressOptions } from '../dist/cli/stress/plan.js'

const NAMES = ['lists', 'trees', 'graphs', 'values']
const none: StressOptions = { seconds: 60, seed: 1, collector: 'concurrent', workloads: [], checked: false }
const SEEDS = Array.from({ length: 300 }, (_, seed) => seed)
const plan = (seed: number, pinned: Partial<StressOptions> = {}): EpisodePlan =>
  planEpisode({ ...none, ...pinned }, seed, NAMES, 1500)

describe('an episode', () => {
  it('is the same for the same seed, and another one for another', () => {
    for (const seed of SEEDS) expect(plan(seed)).toEqual(plan(seed))
    expect(new Set(SEEDS.map((seed) => JSON.stringify({ ...plan(seed), seed: 0 }))).size).toBe(SEEDS.length)
    expect(new Set(SEEDS.map(seedAfter)).size).toBe(SEEDS.length)
    expect(seedAfter(7)).toBe(seedAfter(7))
  })

  it('has every kind of configuration, if there are enough of them', () => {
    const seen = (of: (plan: EpisodePlan) => unknown): Set<unknown> => new Set(SEEDS.map((seed) => of(plan(seed))))
    expect(seen(({ mutators }) => mutators)).toEqual(new Set([1, 2, 3]))
    expect(seen(({ verify }) => verify)).toEqual(new Set([0, 1, 2, 3, 4]))
    expect(seen(({ heap }) => heap.faults)).toEqual(new Set(['sigbus', 'thread']))
    expect(seen(({ heap }) => heap.relocation)).toEqual(new Set(['auto', 'copy']))
    expect(seen(({ heap }) => heap.growth)).toEqual(new Set([1.25, 2, 4]))
    expect(seen(({ heap }) => heap.collectorThreads)).toEqual(new Set([0, 1, 2, 3]))
    expect(seen(({ reuse }) => reuse)).toEqual(new Set([0, 1, 2]))
    expect(seen(({ young }) => young)).toEqual(new Set([0, 1, 2]))
    expect(seen(({ heap }) => Object.keys(heap.stress ?? {}).join())).toEqual(
      new Set(['', 'everyAllocations', 'everyBytes', 'sitePeriod']),
    )
    expect(seen(({ inject }) => inject === '')).toEqual(new Set([true, false]))
    for (const name of NAMES) expect(seen(({ workloads }) => workloads.includes(name))).toEqual(new Set([true, false]))
  })

  // What is pinned, and where it shows; nothing else is to change.
  it.each<[Partial<StressOptions>, (plan: EpisodePlan) => EpisodePlan]>([
    [{ mutators: 7 }, (plan) => ({ ...plan, mutators: 7 })],
    [{ heap: 5 * 2 ** 20 }, (plan) => ({ ...plan, heap: { ...plan.heap, maxBytes: 5 * 2 ** 20 } })],
    [{ inject: '' }, (plan) => ({ ...plan, inject: '' })],
    [{ inject: 'delay:mark=1ms' }, (plan) => ({ ...plan, inject: 'delay:mark=1ms' })],
    [{ verify: 4 }, (plan) => ({ ...plan, verify: 4, heap: { ...plan.heap, verify: 4 } })],
    [{ verify: 0 }, (plan) => ({ ...plan, verify: 0, heap: { ...plan.heap, verify: 0 } })],
    [{ faults: 'thread' }, (plan) => ({ ...plan, heap: { ...plan.heap, faults: 'thread' } })],
    [{ faults: 'sigbus' }, (plan) => ({ ...plan, heap: { ...plan.heap, faults: 'sigbus' } })],
    [{ relocation: 'auto' }, (plan) => ({ ...plan, heap: { ...plan.heap, relocation: 'auto' } })],
    [{ relocation: 'copy' }, (plan) => ({ ...plan, heap: { ...plan.heap, relocation: 'copy' } })],
    [{ protect: true }, (plan) => ({ ...plan, heap: { ...plan.heap, protect: true } })],
    [{ checked: true }, (plan) => ({ ...plan, heap: { ...plan.heap, checked: true, stress: {} } })],
    [{ workloads: ['values', 'trees'] }, (plan) => ({ ...plan, workloads: ['values', 'trees'] })],
    [
      { collector: 'stop-the-world' },
      (plan) => ({ ...plan, mutators: 1, inject: '', heap: { ...plan.heap, collector: 'stop-the-world' } }),
    ],
  ])('that is pinned to %j is what it was but for that', (pinned, changed) => {
    for (const seed of SEEDS) expect(plan(seed, pinned), `seed ${seed}`).toEqual(changed(plan(seed)))
  })

  it('is told in one line', () => {
    const told = describePlan(
      plan(3, { mutators: 1, heap: 2 ** 24, verify: 2, inject: 'move:EBUSY=0.5', checked: true }),
    )
    expect(told).toMatch(
      /^seed 3 · 1 mutator · 16 MiB · concurrent checked, faults \w+, relocation \w+, growth [\d.]+, collector threads \d/,
    )
    expect(told).toMatch(/ · verify 2 · .*inject move:EBUSY=0\.5 · /)
  })
})
