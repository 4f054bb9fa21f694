// The workloads by name, in the order of the help.

import type { Workload } from './workload.js'
import { arrays } from './workloads/arrays.js'
import { ephemerons } from './workloads/ephemerons.js'
import { exchange } from './workloads/exchange.js'
import { fragmentation } from './workloads/fragmentation.js'
import { graphs } from './workloads/graphs.js'
import { guardians } from './workloads/guardians.js'
import { handles } from './workloads/handles.js'
import { lists } from './workloads/lists.js'
import { stacks } from './workloads/stacks.js'
import { tables } from './workloads/tables.js'
import { trees } from './workloads/trees.js'
import { values } from './workloads/values.js'
import { weak } from './workloads/weak.js'

export const WORKLOADS: readonly Workload[] = [
  lists,
  trees,
  graphs,
  tables,
  values,
  arrays,
  fragmentation,
  stacks,
  handles,
  weak,
  ephemerons,
  guardians,
  exchange,
]
