// Axes of the charts: how values become positions, and which ticks have room for their labels.

/** How values become positions: transformed, then linear between `from` and `to`. */
export interface Axis {
  readonly title: string
  readonly transform: (value: number) => number
  readonly from: number
  readonly to: number
  readonly ticks: readonly (readonly [value: number, label: string])[]
}

/** Average width of a character of a label, in units of the charts (text of 12 units). */
const CHARACTER = 6.4
const GAP = 7
/** About how wide a text is drawn. */
export const textWidth = (text: string): number => text.length * CHARACTER

export function place(axis: Axis, value: number, start: number, end: number): number {
  const share =
    (axis.transform(value) - axis.transform(axis.from)) / (axis.transform(axis.to) - axis.transform(axis.from))
  return start + Math.min(1, Math.max(0, share)) * (end - start)
}

export type Anchor = 'start' | 'middle' | 'end'
export interface Tick {
  readonly at: number
  readonly label: string
  readonly anchor: Anchor
}

/**
 * The ticks of a horizontal axis: labels lean inwards at the edges of the box, and those that would run into the one
 * before are left empty. The last tick keeps its label, it says how far the axis goes.
 */
export function ticksBetween(axis: Axis, start: number, end: number, left: number, right: number): Tick[] {
  const all = axis.ticks.map(([value, label]) => {
    const at = place(axis, value, start, end)
    const half = textWidth(label) / 2
    const anchor: Anchor = at + half > right ? 'end' : at - half < left ? 'start' : 'middle'
    const from = anchor === 'start' ? at : anchor === 'end' ? at - 2 * half : at - half
    return { at, label, anchor, from, to: from + 2 * half }
  })
  const last = all.at(-1)
  let free = -Infinity
  return all.map((tick) => {
    const fits = tick === last || (tick.from > free + GAP && (last === undefined || tick.to + GAP < last.from))
    if (fits) free = tick.to
    return { at: tick.at, label: fits ? tick.label : '', anchor: tick.anchor }
  })
}

/** Microseconds with the unit that reads best. */
export function showMicros(us: number): string {
  if (us === 0) return '0'
  const [value, unit] =
    us >= 1e6 ? [us / 1e6, 's'] : us >= 1e3 ? [us / 1e3, 'ms'] : us >= 1 ? [us, 'µs'] : [us * 1e3, 'ns']
  return `${value >= 100 ? value.toFixed(0) : Number(value.toPrecision(2))} ${unit}`
}

/** A logarithmic axis of microseconds that holds all `values`. */
export function microsAxis(title: string, values: readonly number[]): Axis {
  const positive = values.filter((v) => v > 0)
  const low = Math.floor(Math.log10(Math.max(0.01, Math.min(...positive, 1e9))))
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...positive, 0.01))))
  const ticks = Array.from(
    { length: high - low + 1 },
    (_, i) => [10 ** (low + i), showMicros(10 ** (low + i))] as const,
  )
  return { title, transform: (v) => Math.log10(Math.max(v, 10 ** low)), from: 10 ** low, to: 10 ** high, ticks }
}

/** The percentile axis of HdrHistogram's plots: each further nine is as wide as the one before. */
export function ninesAxis(largest: number): Axis {
  const nines = Math.max(2, Math.ceil(-Math.log10(1 - largest) - 1e-9))
  const labels = ['0', '90', '99', '99.9', '99.99', '99.999', '99.9999', '99.99999', '99.999999', '99.9999999']
  const ticks = labels.slice(0, nines + 1).map((label, i) => [1 - 10 ** -i, label] as const)
  return {
    title: 'percentile of steps',
    transform: (f) => -Math.log10(1 - f),
    from: 0,
    to: 1 - 10 ** -nines,
    ticks,
  }
}

/** From zero to a round number above `largest`. */
export function linearAxis(title: string, largest: number, show: (value: number) => string): Axis {
  const unit = 10 ** Math.floor(Math.log10(Math.max(largest, 1e-9)))
  const step = [0.2, 0.5, 1, 2, 5].map((n) => n * unit).find((n) => largest / n <= 5) ?? unit * 5
  const count = Math.max(1, Math.ceil(largest / step - 1e-9))
  const ticks = Array.from({ length: count + 1 }, (_, i) => [i * step, show(i * step)] as const)
  return { title, transform: (v) => v, from: 0, to: count * step, ticks }
}
