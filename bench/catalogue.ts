// The benchmarks, in the order in which they run.

import { barrier } from './barrier.js'
import type { Bench } from './bench.js'
import { memory } from './memory.js'
import { micro } from './micro.js'
import { pauses } from './pauses.js'
import { relocation } from './relocation.js'
import { benchOf } from './workload-bench.js'
import { binaryTrees } from './workloads/binary-trees.js'
import { churn } from './workloads/churn.js'
import { fragmentation } from './workloads/fragmentation.js'
import { gcbench } from './workloads/gcbench.js'
import { hashtable } from './workloads/hashtable.js'
import { loxPrograms } from './workloads/lox.js'
import { multiples } from './workloads/multiples.js'
import { pusher } from './workloads/pusher.js'
import { quads } from './workloads/quads.js'

const WORKLOADS = [pusher, binaryTrees, gcbench, quads, churn, fragmentation, hashtable]

export const BENCHES: readonly Bench[] = [
  micro,
  pauses,
  barrier,
  relocation,
  memory,
  ...WORKLOADS.map(benchOf),
  multiples,
  loxPrograms,
]

export function benchNamed(name: string): Bench {
  const found = BENCHES.find((bench) => bench.name === name)
  if (found === undefined) throw new Error(`no benchmark is called '${name}'`)
  return found
}
