// The benchmark of a program (workload.ts): on each collector of the heap, on V8's objects and on the peers. Everything runs in
// a process of its own.

import { Heap, type CollectorName, type HeapOptions } from 'glissade'
import type { Bench, Case, Selection } from './bench.js'
import { FLOORS, isFloor, spin } from './floor.js'
import { heapFigures, histogramOf, peakRssMiB, stopwatch, summarise, watchV8 } from './measure.js'
import { isPeer, peerCases, peersHere, runPeer } from './peers.js'
import type { Outcome, Row } from './rows.js'
import { StepClock } from './step-clock.js'
import { collectorsHere } from './systems.js'
import { compactions, timelineOf } from './timeline.js'
import type { Variant, Workload } from './workload.js'

/** What also runs on V8's heap with a young generation of 128 MiB a half. */
export const V8_SEMI = 'v8 semi-space 128'
export const isV8 = (system: string): boolean => system === 'v8' || system === V8_SEMI

/** What `none` can hold: it never collects. */
const NONE_MIB = 3000

function systemsOf(variant: Variant, collectors: readonly CollectorName[], { quick }: Selection): string[] {
  const own = collectors.filter((name) => name !== 'none' || variant.totalMiB <= NONE_MIB)
  return [...own, 'v8', ...(quick ? [] : [V8_SEMI]), ...(variant.floorS === undefined ? [] : FLOORS)]
}

async function runOne(workload: Workload, variant: Variant, system: string): Promise<Outcome> {
  const clock = new StepClock(variant.rate ?? 0)
  const v8 = watchV8()
  if (isFloor(system)) {
    const elapsed = stopwatch()
    await spin(clock, variant.floorS as number, system)
    return outcomeOf(
      { ...workload, progress: 'steps' },
      clock,
      { ...elapsed(), peakRssMiB: peakRssMiB() },
      { histograms: {} },
    )
  }
  if (isV8(system)) {
    const elapsed = stopwatch()
    workload.plain(clock, variant.parameters)
    const time = { ...elapsed(), peakRssMiB: peakRssMiB() }
    const stops = await v8.stop()
    return outcomeOf(workload, clock, time, {
      histograms: { v8StopUs: summarise(stops) },
      series: { v8StopUs: histogramOf(stops) },
    })
  }
  const noneMiB = Math.min(4095, Math.ceil(variant.totalMiB * 1.15) + 64)
  using heap = Heap.create({
    collector: system as HeapOptions['collector'],
    maxBytes: (system === 'none' ? noneMiB : variant.heapMiB) * 2 ** 20,
  })
  if (system === 'none') touch(heap)
  const elapsed = stopwatch()
  heap.run((m) => workload.heap(heap, m, clock, variant.parameters))
  // Before the report's own arithmetic needs memory.
  const time = { ...elapsed(), peakRssMiB: peakRssMiB() }
  const { figures, histograms, series } = heapFigures(heap)
  const stops = await v8.stop()
  return outcomeOf(workload, clock, time, {
    figures,
    histograms: { ...histograms, v8StopUs: summarise(stops) },
    series: {
      ...series,
      v8StopUs: histogramOf(stops),
      ...(system !== 'none' && timelineOf(heap, clock, workload.progress !== null)),
      ...(system === 'concurrent' &&
        workload.progress !== null && { mmuCompacting: clock.mmu(compactions(heap, clock)) }),
    },
  })
}

/**
 * Has the kernel provide every page of a heap that never collects. Otherwise the baseline would pay for all of them, 2 µs
 * each, while the others recycle a few: not a lower bound of anything.
 */
function touch(heap: Heap): void {
  const { i32 } = heap._core.views
  for (let word = 0; word < i32.length; word += 1024) i32[word] = 0
}

function outcomeOf(
  { progress }: Workload,
  clock: StepClock,
  resources: { readonly wallS: number; readonly cpuS: number; readonly peakRssMiB: number },
  counted: Partial<Outcome>,
): Outcome {
  const { figures, histograms, series } = counted
  const stepped = clock.steps > 0
  return {
    figures: {
      ...resources,
      ...(stepped && { steps: clock.steps, stepsPerS: clock.steps / clock.elapsedS }),
      ...figures,
    },
    histograms: { ...(stepped && { latencyUs: clock.latency() }), ...histograms },
    series: {
      ...(stepped && {
        latency: clock.curve(),
        ...(progress !== null && { mmu: clock.mmu(), progress: clock.progress() }),
      }),
      ...series,
    },
  }
}

/**
 * `overNone`: CPU time as a multiple of the same program's without any collection, a lower bound of what collecting costs.
 * For this heap's collectors only: of other languages it would say more about their compilers.
 */
export function compareWithNone(rows: readonly Row[]): Row[] {
  return rows.map((row) => {
    const none = rows.find(({ workload, system }) => workload === row.workload && system === 'none')
    if (none === undefined || (row.system !== 'concurrent' && row.system !== 'stop-the-world')) return row
    return {
      ...row,
      overNone: Number((row.cpuS / none.cpuS).toPrecision(3)),
      wallOverNone: Number((row.wallS / none.wallS).toPrecision(3)),
    }
  })
}

/** The benchmark of one program. */
export function benchOf(workload: Workload): Bench {
  return {
    name: workload.name,
    summary: workload.summary,
    ...(workload.progress !== null && { progressIn: workload.progress }),
    cases(selection, skip) {
      const collectors = collectorsHere(['concurrent', 'stop-the-world', 'none'], skip)
      const variants = workload.variants(selection)
      const peers = peerCases(workload, variants, selection)
      return variants.flatMap((variant): Case[] => {
        const own = systemsOf(variant, collectors, selection).map((system) => ({
          bench: workload.name,
          workload: variant.name,
          system,
          parameters: { quick: selection.quick },
          runs: variant.runs ?? 5,
          ...(isV8(system) && {
            nodeFlags: [...(variant.v8Flags ?? []), ...(system === V8_SEMI ? ['--max-semi-space-size=128'] : [])],
          }),
        }))
        return [...own, ...peers.filter(({ workload: name }) => name === variant.name)]
      })
    },
    prepare: peersHere,
    run({ workload: name, system, parameters }) {
      const variants = workload.variants({ quick: parameters['quick'] as boolean })
      const variant = variants.find((one) => one.name === name) as Variant
      if (isPeer(system)) return runPeer(workload, variant, system)
      return runOne(workload, variant, system)
    },
    compare: compareWithNone,
  }
}
