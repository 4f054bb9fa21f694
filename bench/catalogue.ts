// The benchmarks, in the order in which they run.

import type { Bench } from './bench.js'
import { micro } from './micro.js'
import { pauses } from './pauses.js'

export const BENCHES: readonly Bench[] = [micro, pauses]

export function benchNamed(name: string): Bench {
  const found = BENCHES.find((bench) => bench.name === name)
  if (found === undefined) throw new Error(`no benchmark is called '${name}'`)
  return found
}
