// The differential oracle: one random program, every collector, one canonical graph hash.
//
// `none` moves and frees nothing and is the reference. The others do at each safepoint of the program what brings out
// their bugs: whole collections, cycles in the background, cycles stepped gate by gate (so that the program runs between
// any two parts of a cycle, at the same places each time). What they compute must not depend on it.

import { Heap } from '../glissade.js'
import { HeapError } from '../heap/errors.js'
import type { Mutator } from '../heap/mutator.js'
import type { HeapOptions } from '../heap/options.js'
import { graphHash, step } from '../testing.js'
import { runProgram } from './program.js'
import { Random } from './random.js'

export interface OracleConfiguration {
  readonly name: string
  readonly options: HeapOptions
  readonly safepoint: (heap: Heap, random: Random, later: (collection: Promise<void>) => void) => void
}

const collectNow = (heap: Heap): void => heap.collectSync()

export const ORACLE: readonly OracleConfiguration[] = [
  { name: 'none', options: { collector: 'none' }, safepoint: collectNow },
  { name: 'stop-the-world', options: { collector: 'stop-the-world' }, safepoint: collectNow },
  {
    name: 'concurrent',
    options: { collector: 'concurrent', verify: 3 },
    safepoint: (heap, random, later) => (random.chance(0.7) ? later(heap.collect()) : heap.collectSync()),
  },
  {
    name: 'concurrent, stepped',
    options: { collector: 'concurrent', stepping: true, verify: 2 },
    safepoint: (heap, random) => (random.chance(0.1) ? heap.collectSync() : void step(heap, random.below(3))),
  },
  {
    name: 'concurrent, faults by thread',
    options: { collector: 'concurrent', faults: 'thread', collectorThreads: 2 },
    safepoint: (heap, random, later) => (random.chance(0.5) ? later(heap.collect()) : heap.collectSync()),
  },
  {
    name: 'concurrent, relocation by copy',
    options: { collector: 'concurrent', relocation: 'copy', verify: 4 },
    safepoint: (heap, random, later) => (random.chance(0.5) ? later(heap.collect()) : heap.collectSync()),
  },
]

/** The configurations that run on this machine. */
export function oracleHere(): readonly OracleConfiguration[] {
  try {
    Heap.create({ collector: 'concurrent', maxBytes: '1m' }).close()
    return ORACLE
  } catch (error) {
    if (!(error instanceof HeapError) || error.code !== 'ERR_USERFAULTFD_UNAVAILABLE') throw error
    return ORACLE.filter(({ options }) => options.collector !== 'concurrent')
  }
}

export interface Verdict {
  readonly seed: number
  /** What each configuration computed: graph hash, objects, checksum of reads; or the error it ended with. */
  readonly results: { readonly [configuration: string]: string }
  readonly agree: boolean
}

/** Runs the program of `seed` over each configuration. */
export async function compare(
  seed: number,
  configurations: readonly OracleConfiguration[],
  finished: (heap: Heap) => void = () => {},
): Promise<Verdict> {
  const results: { [configuration: string]: string } = {}
  for (const configuration of configurations) results[configuration.name] = await runOver(seed, configuration, finished)
  return { seed, results, agree: new Set(Object.values(results)).size === 1 }
}

async function runOver(
  seed: number,
  { options, safepoint }: OracleConfiguration,
  finished: (heap: Heap) => void,
): Promise<string> {
  // Its own numbers: what a configuration draws must not change the program.
  const random = new Random(seed ^ 0x3c6ef372)
  const heap = Heap.create({ maxBytes: '4m', maxRootBytes: '1m', ...options })
  const pending: Promise<void>[] = []
  const later = (collection: Promise<void>): void =>
    void pending.push(collection.catch((error) => void (failure ??= error)))
  let failure: unknown
  try {
    const { read, operations } = runProgram(heap, seed, (_m: Mutator) => safepoint(heap, random, later))
    await Promise.all(pending)
    heap.collectSync()
    heap.assertValid()
    if (failure !== undefined) throw failure
    const { hash, objects } = graphHash(heap)
    finished(heap)
    return `${hash}, ${objects} objects, read ${read} in ${operations} operations`
  } catch (error) {
    await Promise.all(pending)
    return error instanceof Error ? `${error.name}: ${error.message}` : String(error)
  } finally {
    heap.close()
  }
}
