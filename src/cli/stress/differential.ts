// The workload `differential`: short random programs, each over every collector, one after another until the time is over.

import { setImmediate } from 'node:timers/promises'
import { Random } from '../../testing.js'
import { compare, oracleHere } from '../../testing/differential.js'
import type { EpisodePlan } from './plan.js'
import { add, countHeap, type Tally } from './tally.js'
import { Mismatch } from './workload.js'

/** `alone`: no other workload shares the episode's time. */
export async function differential(plan: EpisodePlan, alone: boolean, tally: Tally, beat: () => void): Promise<void> {
  const random = new Random(plan.seed ^ 0x7f4a7c15)
  const configurations = oracleHere()
  const end = performance.now() + (alone ? plan.ms : plan.ms / 4)
  do {
    const { seed, agree, results } = await compare(random.next(), configurations, (heap) => add(tally, countHeap(heap)))
    if (!agree) {
      const list = Object.entries(results).map(([name, result]) => `  ${name}: ${result}`)
      throw new Mismatch(`program ${seed} differs between collectors:\n${list.join('\n')}`)
    }
    tally.programs++
    beat()
    await setImmediate()
  } while (performance.now() < end)
}
