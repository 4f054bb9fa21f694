// One run of a program as a line of time: what it got done, what the collector did meanwhile, how full the heap was.
//
// The collector's side comes from the heap's log of phases, the program's from its step clock; both read the same clock.
// A run of many collections is shown by eight of them from its middle: all would be a comb.

import type { Heap } from 'glissade'
import type { Points, Series } from './rows.js'
import type { StepClock } from './step-clock.js'

const CYCLES = 8
const PHASES = ['idle', 'mark', 'remark', 'reclaim', 'prepare', 'flip', 'compact']
const MiB = 2 ** 20

/** From and to of each compaction, flip included, that the heap still remembers, in ms since the clock's start. */
export function compactions(heap: Heap, clock: StepClock): Points {
  const spans: number[][] = []
  let began: number | undefined
  for (const { at, phase } of heap.phaseLog()) {
    if (phase === 'flip') began = at
    else if (phase !== 'compact' && began !== undefined) {
      spans.push([began - clock.startedAt, at - clock.startedAt])
      began = undefined
    }
  }
  // One that is under way when the program ends.
  if (began !== undefined) spans.push([began - clock.startedAt, clock.elapsedS * 1000])
  return spans.filter(([, to]) => to > 0)
}

/**
 * `timeline`: [[ms, phase, MiB used, faults in the phase before, allocation stalls in it]…]; `timelineSteps`: [[ms, steps
 * per ms]…] of the same time, where progress is counted.
 */
export function timelineOf(heap: Heap, clock: StepClock, counted: boolean): Series {
  const end = clock.elapsedS * 1000
  const all = heap
    .phaseLog()
    .map((entry) => ({
      ...entry,
      at: Math.round((entry.at - clock.startedAt) * 1000) / 1000,
      phase: PHASES.indexOf(entry.phase),
    }))
    .filter(({ at }) => at <= end)
  // The run begins in the phase that was under way.
  const under = all.findLast(({ at }) => at < 0)
  const log = [...(under === undefined ? [] : [{ ...under, at: 0 }]), ...all.filter(({ at }) => at >= 0)]
  if (log.length < 2 || log.every(({ phase }) => phase === 0)) return {}
  const starts = log.flatMap(({ phase }, i) => (phase === 1 && log[i - 1]?.phase !== 2 ? [i] : []))
  const many = starts.length > CYCLES
  const middle = many ? (starts.length - CYCLES) >> 1 : 0
  const first = many ? starts[middle] : 0
  const shown = log.slice(first, many ? starts[middle + CYCLES] : undefined)
  const [from, to] = many ? [shown[0].at, (shown.at(-1) as { at: number }).at] : [0, end]
  const timeline = shown.map(({ at, phase, bytesUsed, barrierFaults, allocationStalls }, i) => {
    const before = shown[i - 1] ?? { barrierFaults, allocationStalls }
    const faults = barrierFaults - before.barrierFaults
    return [at, phase, Math.round((bytesUsed / MiB) * 10) / 10, faults, allocationStalls - before.allocationStalls]
  })
  return { timeline, ...(counted && { timelineSteps: clock.progress(250, from, to) }) }
}
