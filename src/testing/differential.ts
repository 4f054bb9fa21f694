// The differential oracle: one random program, every collector, one canonical graph hash.
//
// `none` moves and frees nothing and is the reference. The others do at each safepoint of the program what brings out
// their bugs: whole collections, cycles in the background, cycles stepped gate by gate (so that the program runs between
// any two parts of a cycle, at the same places each time). What they compute must not depend on it.
//
// A program runs over `none`, over `stop-the-world` and over one of the concurrent configurations, which its seed chooses.
// Heaps cost more than programs: each configuration keeps its heap for many of them (program.ts, World), so a failure may
// depend on the programs before. It is tried again in a heap of its own, where most show again, and made smaller.

import { Heap } from '../glissade.js'
import { HeapError } from '../heap/errors.js'
import type { HeapOptions } from '../heap/options.js'
import { graphHash, step } from '../testing.js'
import { MOST_BYTES, operationsOf, World } from './program.js'
import { Random } from './random.js'
import { shrink } from './shrink.js'

export interface OracleConfiguration {
  readonly name: string
  readonly options: HeapOptions
  /** Draws from `random`, which is the operation's own; what it draws does not change the program. */
  readonly safepoint: (heap: Heap, random: Random, later: (collection: Promise<void>) => void) => void
}

const collectNow = (heap: Heap): void => heap.collectSync()

/** Over both, every program. */
export const REFERENCES: readonly OracleConfiguration[] = [
  { name: 'none', options: { collector: 'none', maxBytes: '16m' }, safepoint: () => {} },
  { name: 'stop-the-world', options: { collector: 'stop-the-world' }, safepoint: collectNow },
]

/** Over one of them, chosen by its seed. */
const CONCURRENT: readonly OracleConfiguration[] = [
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
    return [...REFERENCES, ...CONCURRENT]
  } catch (error) {
    if (!(error instanceof HeapError) || error.code !== 'ERR_USERFAULTFD_UNAVAILABLE') throw error
    return REFERENCES
  }
}

export interface Verdict {
  readonly seed: number
  /** What each configuration computed: graph hash, objects, checksum of reads; or the error it ended with. */
  readonly results: { readonly [configuration: string]: string }
  readonly agree: boolean
}

/** Programs after which a heap is replaced: what long use does to one is tested, and so is a young one. */
const PROGRAMS_PER_HEAP = 250
/** One program in so many ends with a whole verification from outside; its graph is compared always. */
const VERIFY_EVERY = 8

/** A configuration with the heap that it has at the moment. */
class Station {
  #heap: Heap | null = null
  #world!: World
  #programs = 0
  #bytes = 0
  constructor(
    readonly configuration: OracleConfiguration,
    readonly finished: (heap: Heap) => void,
  ) {}

  async run(seed: number, kept: readonly number[] | null): Promise<string> {
    const { options, safepoint } = this.configuration
    const heap = this.#open(options)
    const pending: Promise<void>[] = []
    let failure: unknown
    const later = (collection: Promise<void>): void =>
      void pending.push(collection.catch((error: unknown) => void (failure ??= error)))
    try {
      const { read, bytes } = this.#world.run(seed, (_m, random) => safepoint(heap, random, later), kept)
      if (pending.length > 0) await Promise.all(pending)
      heap.collectSync()
      if (failure !== undefined) throw failure
      if (seed % VERIFY_EVERY === 0) heap.assertValid()
      const { hash, objects } = graphHash(heap)
      this.#programs++
      this.#bytes += bytes
      return `${hash}, ${objects} objects, read ${read}`
    } catch (error) {
      await Promise.all(pending)
      // Whatever is wrong with it, the next program shall not meet it.
      this.close()
      return error instanceof Error ? `${error.name}: ${error.message}` : String(error)
    }
  }

  #open(options: HeapOptions): Heap {
    const frees = options.collector !== 'none'
    if (this.#programs >= PROGRAMS_PER_HEAP || (!frees && this.#bytes > 8 * MOST_BYTES)) this.close()
    if (this.#heap === null) {
      this.#heap = Heap.create({ maxBytes: '3m', maxRootBytes: '256k', ...options })
      this.#world = new World(this.#heap)
      this.#programs = this.#bytes = 0
    }
    return this.#heap
  }

  close(): void {
    if (this.#heap === null) return
    this.finished(this.#heap)
    this.#heap.close()
    this.#heap = null
  }
}

/** The configurations with their heaps. `finished` sees each heap before it is closed. */
export class Oracle implements Disposable {
  readonly #references: readonly Station[]
  readonly #others: readonly Station[]

  constructor(configurations: readonly OracleConfiguration[], finished: (heap: Heap) => void = () => {}) {
    const stations = configurations.map((configuration) => new Station(configuration, finished))
    const isReference = ({ configuration }: Station): boolean => REFERENCES.includes(configuration)
    this.#references = stations.filter(isReference)
    this.#others = stations.filter((station) => !isReference(station))
  }

  /** Runs the program of `seed`, or some of its operations, over the references and one other. */
  async compare(seed: number, kept: readonly number[] | null = null): Promise<Verdict> {
    const results: { [configuration: string]: string } = {}
    const other = this.#others.length === 0 ? [] : [new Random(seed ^ 0x3c6ef372).pick(this.#others)]
    for (const station of [...this.#references, ...other]) {
      results[station.configuration.name] = await station.run(seed, kept)
    }
    return { seed, results, agree: new Set(Object.values(results)).size === 1 }
  }

  close(): void {
    for (const station of [...this.#references, ...this.#others]) station.close()
  }
  [Symbol.dispose](): void {
    this.close()
  }
}

/** Sentences on a program that differs: what each computed, and how much of it is needed for that. */
export async function explain(verdict: Verdict, configurations: readonly OracleConfiguration[]): Promise<string> {
  const { seed, results } = verdict
  const lines = [`program ${seed} differs between collectors:`]
  for (const [name, result] of Object.entries(results)) lines.push(`  ${name}: ${result}`)
  const differs = async (kept: readonly number[]): Promise<boolean> => {
    // Threads race: what differs once in a few runs differs.
    for (let attempt = 0; attempt < 5; attempt++) {
      using alone = new Oracle(configurations)
      if (!(await alone.compare(seed, kept)).agree) return true
    }
    return false
  }
  const operations = Array.from({ length: operationsOf(seed) }, (_, i) => i)
  const needed = await shrink(operations, differs)
  if (needed === undefined) lines.push(`  it agrees in heaps of its own: the programs before it are needed, or luck`)
  else lines.push(`  needed for it: operations ${needed.join(', ')} of ${operations.length}`)
  return lines.join('\n')
}
