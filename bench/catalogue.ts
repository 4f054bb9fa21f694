// The benchmarks, in the order in which they run.

import type { Bench } from './bench.js'
import { barrier } from './barrier.js'
import { micro } from './micro.js'
import { pauses } from './pauses.js'
import { relocation } from './relocation.js'

export const BENCHES: readonly Bench[] = [micro, pauses, barrier, relocation]

export function benchNamed(name: string): Bench {
  const found = BENCHES.find((bench) => bench.name === name)
  if (found === undefined) throw new Error(`no benchmark is called '${name}'`)
  return found
}
