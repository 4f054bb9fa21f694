// The workload `differential`: short random programs, each over the portable collectors and a concurrent one, one after
// another until the time is over.

import { setImmediate } from 'node:timers/promises'
import { Random } from '../../testing.js'
import { explain, Oracle, oracleHere } from '../../testing/differential.js'
import type { EpisodePlan } from './plan.js'
import { add, countHeap, type Tally } from './tally.js'
import { Mismatch } from './workload.js'

/** Programs between two turns of the event loop. */
const BATCH = 16

/** `alone`: no other workload shares the episode's time. */
export async function differential(plan: EpisodePlan, alone: boolean, tally: Tally, beat: () => void): Promise<void> {
  const random = new Random(plan.seed ^ 0x7f4a7c15)
  const configurations = oracleHere()
  const begin = performance.now()
  const end = begin + (alone ? plan.ms : plan.ms / 4)
  const oracle = new Oracle(configurations, (heap) => add(tally, countHeap(heap)))
  try {
    do {
      for (let i = 0; i < BATCH; i++) {
        const verdict = await oracle.compare(random.next())
        if (!verdict.agree) throw new Mismatch(await explain(verdict, configurations))
        tally.programs++
      }
      beat()
      await setImmediate()
    } while (performance.now() < end)
  } finally {
    oracle.close()
  }
  tally.programMs += performance.now() - begin
}
