// What one episode of a stress run is: a heap, its configuration, threads and workloads, drawn from the episode's seed.
//
// Whatever the command line does not pin is drawn anew for each episode (swarm testing: no single configuration meets all
// bugs). Every draw is made whether its result is used or not, so pinning one thing changes no other. The first episode
// has the seed of the run itself: a failing episode is replayed by the same command line with that episode's seed.

import type { HeapOptions } from '../../index.js'
import { Random } from '../../testing.js'

const MiB = 2 ** 20

/** The command line, parsed. Undefined: drawn for each episode. */
export interface StressOptions {
  readonly seconds: number
  readonly seed: number
  readonly collector: NonNullable<HeapOptions['collector']>
  readonly workloads: readonly string[]
  readonly checked: boolean
  readonly protect?: boolean
  readonly mutators?: number
  readonly heap?: number
  readonly inject?: string
  readonly verify?: number
  readonly faults?: NonNullable<HeapOptions['faults']>
  readonly relocation?: NonNullable<HeapOptions['relocation']>
}

/** Plain data: it goes to the process that runs the episode and to its threads. */
export interface EpisodePlan {
  readonly seed: number
  /** How long it goes on. */
  readonly ms: number
  readonly mutators: number
  readonly workloads: readonly string[]
  readonly inject: string
  /** Also the level at which the heap is verified from outside; see driver.ts. */
  readonly verify: number
  /** Whether cycles reuse garbage in place: 0 never, every one that gains enough compacts; 1 where it will do; 2 in holes for one object, too. */
  readonly reuse: number
  /** Cycles that keep the marks of the one before: 0 never, 1 where they pay, 2 whenever nothing has moved, also when asked for. */
  readonly young: number
  /** Pages that faults may take from the kernel before those beside them are built first; 0: as many as ever. */
  readonly overdraft: number
  /** Milliseconds in which the heap forgets half of the memory that it needs no longer. */
  readonly retentionMs: number
  readonly heap: HeapOptions
}

/** Errors that a kernel may return at any time, and delays anywhere; none of them may be noticed by a program. */
const RULES = [
  'move:EBUSY=0.02',
  'move:EAGAIN=every:5',
  'move:ENOMEM=0.05',
  'move:EFAULT=0.02',
  'copy:EAGAIN=0.05',
  'copy:ENOMEM=0.02',
  'zeropage:EAGAIN=0.1',
  'register:ENOMEM=0.1',
  'mremap:ENOMEM=0.1',
  'delay:mark=2ms',
  'delay:remark=100us',
  'delay:prepare=1ms',
  'delay:compact=500us',
  'delay:close=1ms',
  'delay:fault=30us',
]
/** Refusals for good: the collector copies such a page, and `relocation: 'move'` makes an error of it, as it should. */
const REFUSES_MOVE = /^move:E(?!AGAIN)/

export function planEpisode(options: StressOptions, seed: number, names: readonly string[], ms: number): EpisodePlan {
  const random = new Random(seed)
  const concurrent = options.collector === 'auto' || options.collector === 'concurrent'
  const mutators = 1 + random.below(3)
  const heap = MiB * random.pick([4, 6, 8, 12, 16, 24, 32, 64])
  const rules = RULES.filter(
    (rule) => random.chance(0.15) && !(options.relocation === 'move' && REFUSES_MOVE.test(rule)),
  )
  const injects = random.chance(0.5)
  const verify = random.pick([0, 0, 1, 2, 3, 4])
  const faults = random.chance(0.2) ? 'thread' : 'sigbus'
  const relocation = random.chance(0.2) ? 'copy' : 'auto'
  const collectorThreads = random.below(4)
  const often = random.pick(['', '', '', '', '', '', '', '', '', 'allocations', 'bytes', 'site'])
  const period = 500 + random.below(20_000)
  const stress: HeapOptions['stress'] =
    often === 'allocations'
      ? { everyAllocations: period }
      : often === 'bytes'
        ? { everyBytes: period * 32 }
        : often === 'site'
          ? { sitePeriod: period }
          : {}
  const chosen = names.filter(() => random.chance(0.4))
  const one = random.pick(names)
  const reuse = random.pick([0, 0, 1, 2, 2])
  const young = reuse ? random.pick([0, 1, 2, 2, 2]) : 0
  const overdraft = random.pick([0, 1, 1, 8])
  const retentionMs = random.pick([0, 0, 2000])
  const growth = random.pick([2, 2, 1.25, 4])
  return {
    seed,
    ms,
    mutators: options.mutators ?? (concurrent ? mutators : 1),
    // All that were asked for by name; else a handful, because each gets a share of the heap.
    workloads: options.workloads.length > 0 ? options.workloads : chosen.length > 0 ? chosen : [one],
    inject: options.inject ?? (concurrent && injects ? rules.join(',') : ''),
    verify: options.verify ?? verify,
    reuse,
    young,
    overdraft,
    retentionMs,
    heap: {
      maxBytes: options.heap ?? heap,
      collector: options.collector,
      checked: options.checked,
      protect: options.protect ?? false,
      faults: options.faults ?? faults,
      relocation: options.relocation ?? relocation,
      growth,
      collectorThreads,
      verify: options.verify ?? verify,
      // A collection of a checked heap takes long enough already.
      stress: options.checked ? {} : stress,
    },
  }
}

/** The seed of the next episode. */
export function seedAfter(seed: number): number {
  return new Random(seed ^ 0x5bd1e995).next()
}

/** One line that says what the episode is. */
export function describePlan({
  seed,
  mutators,
  workloads,
  inject,
  verify,
  reuse,
  young,
  overdraft,
  retentionMs,
  heap,
}: EpisodePlan): string {
  const { everyAllocations, everyBytes, sitePeriod } = heap.stress ?? {}
  return [
    `seed ${seed}`,
    `${mutators} ${mutators === 1 ? 'mutator' : 'mutators'}`,
    `${Number(heap.maxBytes) / MiB} MiB`,
    `${heap.collector}${heap.checked ? ' checked' : ''}${heap.protect ? ' protected' : ''}, faults ${heap.faults}, relocation ${heap.relocation}, growth ${heap.growth}, collector threads ${heap.collectorThreads}`,
    `verify ${verify}`,
    ...(reuse
      ? [['reuse', 'reuse of every hole'][reuse - 1], ['no young cycles', 'young cycles', 'young cycles always'][young]]
      : []),
    ...(overdraft ? [`overdraft ${overdraft}`] : []),
    ...(retentionMs ? [] : ['no retention']),
    ...(everyAllocations ? [`a collection every ${everyAllocations} allocations`] : []),
    ...(everyBytes ? [`a collection every ${everyBytes} bytes`] : []),
    ...(sitePeriod ? [`a collection at each call site and every ${sitePeriod} allocations of it`] : []),
    ...(inject === '' ? [] : [`inject ${inject}`]),
    workloads.join(' '),
  ].join(' · ')
}
