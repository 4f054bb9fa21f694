// Pictures of time, as wide as the page: drawings that stretch, with text beside them that does not.
//
// A lane is an SVG whose box is 1000 units wide whatever the screen is (preserveAspectRatio none); labels and the ends of
// the axis are HTML, so that a phone shows them at full size.

import { escape, legend } from './charts.js'

type Points = readonly (readonly number[])[]

/** Phases of a collection by number; the two in which the program stands are drawn as thin strokes. */
export const PHASES: readonly { readonly name: string; readonly phase: number }[] = [
  { name: 'marking', phase: 1 },
  { name: 'remark pause', phase: 2 },
  { name: 'reclaiming, preparing', phase: 4 },
  { name: 'flip pause', phase: 5 },
  { name: 'compacting', phase: 6 },
]
const WIDE = 1000
const n = (value: number): string => String(Math.round(value * 10) / 10)

function lane(height: number, name: string, note: string, content: string): string {
  const text = `<p class="lane"><span>${escape(name)}</span><span>${escape(note)}</span></p>`
  return `${text}<svg class="wide" style="height:${height}rem" viewBox="0 0 ${WIDE} 100" preserveAspectRatio="none" role="img" aria-label="${escape(`${name}, ${note}`)}">${content}</svg>`
}

function foot(from: number, to: number): string {
  const show = (ms: number): string => (to - from >= 5000 ? `${(ms / 1000).toFixed(1)} s` : `${ms.toFixed(0)} ms`)
  const marks = [0, 0.25, 0.5, 0.75, 1].map((share) => `<span>${show(from + share * (to - from))}</span>`)
  return `<p class="foot">${marks.join('')}</p>`
}

/** The area below steps that hold until the next: `[[x, y]…]`. */
function area(points: Points, colour: string, at: (x: number) => number, most: number, end: number): string {
  const y = (value: number): string => n(100 - Math.min(1, value / most) * 96)
  const path = points.map(([x, value], i) => `L${n(at(x))} ${y(value)}H${n(at(points[i + 1]?.[0] ?? end))}`)
  const first = at(points[0][0])
  return `<path class="area ${colour}" d="M${n(first)} 100${path.join('')}V100Z"/>`
}

function band(spans: Points, at: (x: number) => number): string {
  // The pauses last, over what they end.
  const ordered = [...spans].sort((a, b) => Number(a[2] === 2 || a[2] === 5) - Number(b[2] === 2 || b[2] === 5))
  return ordered
    .map(([from, to, phase]) => {
      const kind = phase === 3 ? 4 : phase
      const width = Math.max(1.6, at(to) - at(from))
      return `<rect class="bar p${kind}" x="${n(at(from))}" y="0" width="${n(width)}" height="100"/>`
    })
    .join('')
}

/** One run: the program's steps, the collector's phases, page faults, and how full the heap was. */
export interface Run {
  readonly steps: Points
  /** What `steps` counts. */
  readonly unit: string
  /** [[ms, phase, MiB used, faults since the entry before, allocation stalls since]…] */
  readonly entries: Points
  readonly budgetMiB: number
  /** The concurrent collector has faults to show. */
  readonly concurrent: boolean
}
export function timeline({ steps, unit: counted, entries, budgetMiB, concurrent }: Run): string {
  const from = Math.min(entries[0][0], steps[0]?.[0] ?? Infinity)
  const width = steps.length > 1 ? steps[1][0] - steps[0][0] : 0
  const to = Math.max(entries.at(-1)?.[0] ?? 0, (steps.at(-1)?.[0] ?? 0) + width)
  const at = (ms: number): number => ((ms - from) / (to - from)) * WIDE
  const lanes: string[] = []
  if (steps.length > 1) {
    const most = Math.max(...steps.map(([, y]) => y))
    const unit = `${counted} a ${most >= 10 ? 'ms' : 'second'}`
    const top = most >= 10 ? most : most * 1000
    lanes.push(
      lane(
        5,
        'the program',
        `up to ${Math.round(top).toLocaleString('en-US')} ${unit}`,
        area(steps, 's0', at, most, to),
      ),
    )
  }
  const spans = entries.map(([ms, phase], i) => [ms, entries[i + 1]?.[0] ?? to, phase])
  const cycles = spans.filter(([, , phase], i) => phase === 1 && spans[i - 1]?.[2] !== 2).length
  lanes.push(
    lane(
      1.1,
      'the collector',
      `${cycles} collection${cycles === 1 ? '' : 's'}`,
      band(
        spans.filter(([, , phase]) => phase !== 0),
        at,
      ),
    ),
  )
  if (concurrent) {
    // What an entry counts happened in the phase before it.
    const rates = entries.slice(1).map(([ms, , , faults, stalls], i) => {
      const began = entries[i][0]
      return { began, ms, faults: faults / Math.max(0.001, ms - began), count: faults, stalls }
    })
    const most = Math.max(...rates.map(({ faults }) => faults))
    const count = rates.reduce((sum, { count }) => sum + count, 0)
    const bars = rates
      .filter(({ faults }) => faults > 0)
      .map(({ began, ms, faults }) => {
        const height = Math.max(4, (faults / most) * 96)
        return `<rect class="bar p7" x="${n(at(began))}" y="${n(100 - height)}" width="${n(Math.max(1.6, at(ms) - at(began)))}" height="${n(height)}"/>`
      })
    const note = count === 0 ? 'none' : `${count.toLocaleString('en-US')}, up to ${Number(most.toPrecision(2))} a ms`
    lanes.push(lane(2.2, 'page faults', note, bars.join('')))
    const waits = rates.reduce((sum, { stalls }) => sum + stalls, 0)
    const marks = rates
      .filter(({ stalls }) => stalls > 0)
      .map(
        ({ began, ms }) =>
          `<rect class="bar p8" x="${n(at(began))}" y="20" width="${n(Math.max(1.6, at(ms) - at(began)))}" height="60"/>`,
      )
    lanes.push(
      lane(
        0.8,
        'phases in which allocation waited',
        waits === 0 ? 'none' : `${waits.toLocaleString('en-US')} wait${waits === 1 ? '' : 's'}`,
        marks.join(''),
      ),
    )
  }
  const used = entries.map(([ms, , mib]) => [ms, mib] as const)
  const line = used.map(([ms, mib], i) => `${i === 0 ? 'M' : 'L'}${n(at(ms))} ${n(100 - (mib / budgetMiB) * 96)}`)
  const closed = `${line.join('')}V100H${n(at(used[0][0]))}Z`
  lanes.push(
    lane(
      4,
      'heap in use',
      `up to ${Math.max(...used.map(([, mib]) => mib)).toFixed(0)} of ${budgetMiB.toFixed(0)} MiB`,
      `<path class="grid wide" d="M0 4H${WIDE}"/><path class="area p9" d="${closed}"/>`,
    ),
  )
  const phases = PHASES.filter(({ phase }) => spans.some(([, , found]) => found === phase))
  return (
    lanes.join('') +
    foot(from, to) +
    legend(
      phases.map(({ name, phase }) => ({ name, colour: phase })),
      'p',
    )
  )
}

/** What the program got done over time, one strip to each system, all to the same scale. */
export interface Strip {
  readonly name: string
  readonly colour: number
  readonly points: Points
}
export function strips(all: readonly Strip[], unit: string): string {
  const longest = Math.max(...all.map(({ points }) => points.at(-1)?.[0] ?? 0))
  // A few slices in which something was caught up would make all others flat: they are cut off.
  const values = all.flatMap(({ points }) => points.map(([, y]) => y)).sort((a, b) => a - b)
  const most = Math.max(1e-9, values[Math.floor(values.length * 0.98)])
  const at = (ms: number): number => (ms / longest) * WIDE
  const drawn = all.map(({ name, colour, points }) => {
    const sum = points.reduce((total, [, y]) => total + y, 0)
    const mean = sum / points.length
    const note = `${Math.round(mean * 1000).toLocaleString('en-US')} ${unit} a second`
    return lane(2.2, name, note, area(points, `s${colour}`, at, most, points.at(-1)?.[0] ?? longest))
  })
  return drawn.join('') + foot(0, longest)
}
