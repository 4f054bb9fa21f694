// An episode of stress ends with an error wherever something was wrong: in its own thread, in another one, in a program that
// differs between collectors.
import { Worker } from 'node:worker_threads'
import { Heap } from 'glissade'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { differential } from '../dist/cli/stress/differential.js'
import { Driver } from '../dist/cli/stress/driver.js'
import { runEpisode, stopThreads, type ThreadTask } from '../dist/cli/stress/episode.js'
import { planEpisode, type EpisodePlan, type StressOptions } from '../dist/cli/stress/plan.js'
import { emptyTally } from '../dist/cli/stress/tally.js'
import { forEachObject } from '../dist/gc/trace.js'
import { Oracle } from '../dist/testing/differential.js'
import { concurrent } from './conformance/configurations.js'

afterEach(() => vi.restoreAllMocks())

function plan(pinned: Partial<StressOptions>, ms = 300): EpisodePlan {
  const options = { seconds: 1, seed: 5, workloads: [], checked: false, heap: 2 ** 23, inject: '', verify: 1 }
  return planEpisode({ collector: 'stop-the-world', ...options, ...pinned }, 5, [], ms)
}

describe('an episode', () => {
  it('compares everything once more at its end', async () => {
    const episode = plan({ workloads: ['fragmentation'], mutators: 1 })
    using heap = Heap.create(episode.heap)
    const driver = new Driver(heap, episode, 0, { base: 0, slots: 0 })
    driver.slice()
    const before = { ...driver.tally }
    await driver.finish()
    expect(driver.tally.modelChecks).toBe(before.modelChecks + 1)
    expect(driver.tally.heapChecks).toBe(before.heapChecks + 1)
    const { i32 } = heap._core.views
    heap.run(() => forEachObject(heap._core, (ref) => void (i32[ref + 2] ^= 1)))
    await expect(driver.finish()).rejects.toMatchObject({ name: 'Mismatch' })
  })

  it('ends with what its workloads find', async () => {
    const tally = await runEpisode(plan({ workloads: ['lists', 'values'] }), () => undefined)
    expect(tally).toMatchObject({ heaps: 1, programs: 0, youngCycles: 0 })
    expect(tally.steps).toBeGreaterThan(0)
    expect(tally.modelChecks).toBeGreaterThanOrEqual(2)
    expect(tally.heapChecks).toBeGreaterThanOrEqual(1)
  })

  it.runIf(concurrent.length > 0)('fails with any of its threads', async () => {
    const { postMessage } = Worker.prototype
    // The second thread is told of an exchange that lies nowhere.
    vi.spyOn(Worker.prototype, 'postMessage').mockImplementation(function (this: Worker, task: ThreadTask) {
      postMessage.call(this, { ...task, exchange: { base: 2 ** 30, slots: 8 } })
    })
    const two = plan({ collector: 'concurrent', mutators: 2, workloads: ['exchange'] })
    await expect(runEpisode(two, () => undefined)).rejects.toThrow(/^in thread 1: RangeError/)
    await stopThreads()
  })

  it('fails with a program that differs between collectors', async () => {
    const verdict = { seed: 3, results: { none: '1', other: '2' }, agree: false }
    vi.spyOn(Oracle.prototype, 'compare').mockResolvedValue(verdict)
    const run = differential(plan({ workloads: ['differential'] }), true, emptyTally(), () => undefined)
    await expect(run).rejects.toMatchObject({
      name: 'Mismatch',
      message: expect.stringMatching(/^program 3 differs between collectors:\n {2}none: 1\n {2}other: 2\n/) as string,
    })
  })
})
