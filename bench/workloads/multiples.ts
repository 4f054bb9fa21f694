// What room costs: the same programs in heaps of 1.25, 1.5, 2, 3 and 4 times their live data. A collector that needs much
// room to be fast shows it here; `none` is the same program without collections.

import type { Bench, Case } from '../bench.js'
import type { Row } from '../rows.js'
import { collectorsHere } from '../systems.js'
import { benchOf } from '../workload-bench.js'
import type { Variant, Workload } from '../workload.js'
import { binaryTrees } from './binary-trees.js'
import { quads } from './quads.js'

const MULTIPLES = [1.25, 1.5, 2, 3, 4]

/** Live data of each program's largest moment, in MiB. */
const PROGRAMS: readonly { readonly of: Workload; readonly pick: number; readonly liveMiB: (v: Variant) => number }[] =
  [
    { of: binaryTrees, pick: 1, liveMiB: ({ parameters }) => (2 ** (parameters['n'] + 2) * 16) / 2 ** 20 },
    { of: quads, pick: 0, liveMiB: ({ parameters }) => ((4 ** (parameters['depth'] + 1) / 3) * 24) / 2 ** 20 },
  ]

function variants(quick: boolean, { of, pick, liveMiB }: (typeof PROGRAMS)[number]): Variant[] {
  const variant = of.variants({ quick })[pick]
  const live = liveMiB(variant)
  return (quick ? [1.5, 3] : MULTIPLES).map((multiple) => ({
    ...variant,
    name: `${of.name} ${variant.name}, ${multiple} × live`,
    heapMiB: Math.ceil(live * multiple + 1),
  }))
}

const benches = (quick: boolean): { of: Workload; bench: Bench }[] =>
  PROGRAMS.map((program) => ({
    of: program.of,
    bench: benchOf({ ...program.of, name: 'multiples', peers: [], variants: () => variants(quick, program) }),
  }))

export const multiples: Bench = {
  name: 'multiples',
  summary: 'the same programs with 1.25 to 4 times their live data',
  cases(selection, skip) {
    const here = collectorsHere(['concurrent', 'stop-the-world', 'none'], skip)
    const quiet = (): void => {}
    return benches(selection.quick).flatMap(({ bench }) =>
      bench.cases(selection, quiet).filter(({ system }) => (here as readonly string[]).includes(system)),
    )
  },
  run(one: Case) {
    const found = benches(one.parameters['quick'] as boolean).find(({ of }) => one.workload.startsWith(of.name))
    if (found === undefined) throw new Error(`no program for ${one.workload}`)
    return found.bench.run(one)
  },
  compare: (rows: readonly Row[]) => benches(false)[0].bench.compare?.(rows) ?? rows,
}
