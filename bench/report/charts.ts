// Charts as inline SVG text: lines on transformed axes, ranges, stacked bars, strips. No script, no font, no colour of
// its own: classes s0…s9 get theirs from the page's style sheet, which knows light and dark.
//
// All charts are drawn in a box of 520 units and scale with the column they stand in; text is 14 units, so that it stays
// readable on a phone, where the box is about 330 pixels wide.

export interface Line {
  readonly name: string
  /** Index of the system's colour. */
  readonly colour: number
  readonly points: readonly (readonly [number, number])[]
  /** Strips only: what the collector did, as spans `[from, to, colour]`. */
  readonly spans?: readonly (readonly [from: number, to: number, colour: number])[]
}

/** How values become positions: transformed, then linear between `from` and `to`. */
export interface Axis {
  readonly title: string
  readonly transform: (value: number) => number
  readonly from: number
  readonly to: number
  readonly ticks: readonly (readonly [value: number, label: string])[]
}

const WIDTH = 520
const LEFT = 62
const RIGHT = 14
const BOTTOM = 46
const TOP = 10

export const escape = (text: string): string =>
  text.replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c] as string)
const n = (value: number): string => String(Math.round(value * 10) / 10)

const place = (axis: Axis, value: number, start: number, end: number): number => {
  const share =
    (axis.transform(value) - axis.transform(axis.from)) / (axis.transform(axis.to) - axis.transform(axis.from))
  return start + Math.min(1, Math.max(0, share)) * (end - start)
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
  const low = Math.floor(Math.log10(Math.max(0.01, Math.min(...positive))))
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...positive))))
  const ticks = Array.from(
    { length: high - low + 1 },
    (_, i) => [10 ** (low + i), showMicros(10 ** (low + i))] as const,
  )
  return { title, transform: (v) => Math.log10(Math.max(v, 10 ** low)), from: 10 ** low, to: 10 ** high, ticks }
}

/** The percentile axis of HdrHistogram's plots: each further nine is as wide as the one before. */
export function ninesAxis(largest: number): Axis {
  const nines = Math.max(2, Math.ceil(-Math.log10(1 - largest)))
  const labels = ['0', '90', '99', '99.9', '99.99', '99.999', '99.9999', '99.99999', '99.999999']
  const ticks = labels.slice(0, nines + 1).map((label, i) => [1 - 10 ** -i, `${label} %`] as const)
  return { title: 'percentile', transform: (f) => -Math.log10(1 - f), from: 0, to: 1 - 10 ** -nines, ticks }
}

/** The text below a tick; those at the edges lean inwards. */
function tickLabel(at: number, y: number, label: string): string {
  const anchor = at > WIDTH - RIGHT - 20 ? 'end' : at < 30 ? 'start' : 'middle'
  return `<text x="${n(at)}" y="${y}" text-anchor="${anchor}">${escape(label)}</text>`
}

function frame(x: Axis, y: Axis, height: number): string {
  const bottom = height - BOTTOM
  const vertical = x.ticks.map(([value, label]) => {
    const at = place(x, value, LEFT, WIDTH - RIGHT)
    return `<path class="grid" d="M${n(at)} ${TOP}V${bottom}"/>${tickLabel(at, bottom + 18, label)}`
  })
  const horizontal = y.ticks.map(([value, label]) => {
    const at = n(place(y, value, bottom, TOP))
    return `<path class="grid" d="M${LEFT} ${at}H${WIDTH - RIGHT}"/><text x="${LEFT - 6}" y="${Number(at) + 4}" text-anchor="end">${escape(label)}</text>`
  })
  const title = `<text class="axis" x="${WIDTH - RIGHT}" y="${height - 8}" text-anchor="end">${escape(x.title)}</text>`
  return vertical.join('') + horizontal.join('') + title
}

function svg(height: number, label: string, content: string): string {
  return `<svg viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${escape(label)}">${content}</svg>`
}

/** The names of what is drawn, with their colours. */
export function legend(entries: readonly { readonly name: string; readonly colour: number }[]): string {
  return `<p class="legend">${entries.map(({ name, colour }) => `<span class="s${colour}"><i></i>${escape(name)}</span>`).join('')}</p>`
}

export function lineChart(label: string, lines: readonly Line[], x: Axis, y: Axis): string {
  const height = 330
  const drawn = lines.map(({ name, colour, points }) => {
    const path = points.map(([px, py], i) => {
      return `${i === 0 ? 'M' : 'L'}${n(place(x, px, LEFT, WIDTH - RIGHT))} ${n(place(y, py, height - BOTTOM, TOP))}`
    })
    return `<path class="line s${colour}" d="${path.join('')}"><title>${escape(name)}</title></path>`
  })
  return svg(height, label, frame(x, y, height) + drawn.join('')) + legend(lines)
}

/** One row for each thing: a bar from `low` to `high` with a mark at `middle` and another at `tail`. */
export interface Range {
  readonly name: string
  readonly colour: number
  readonly low: number
  readonly tail: number
  readonly high: number
}
export function rangeChart(label: string, ranges: readonly Range[], x: Axis): string {
  const row = 40
  const height = TOP + ranges.length * row + BOTTOM
  const rows = ranges.map(({ name, colour, low, tail, high }, i) => {
    const y = TOP + i * row
    const at = (value: number): number => place(x, value, 16, WIDTH - RIGHT)
    const width = Math.max(2, at(tail) - at(low))
    return (
      `<text x="16" y="${y + 14}">${escape(name)}</text>` +
      `<path class="whisker s${colour}" d="M${n(at(low))} ${y + 26}H${n(at(high))}"/>` +
      `<rect class="bar s${colour}" x="${n(at(low))}" y="${y + 20}" width="${n(width)}" height="12" rx="2"/>` +
      `<circle class="bar s${colour}" cx="${n(at(high))}" cy="${y + 26}" r="4"/>` +
      `<text x="${WIDTH - RIGHT}" y="${y + 14}" text-anchor="end">${escape([low, tail, high].map(showMicros).join(' · '))}</text>`
    )
  })
  const ticks = x.ticks.map(([value, text]) => {
    const at = place(x, value, 16, WIDTH - RIGHT)
    return `<path class="grid" d="M${n(at)} ${TOP}V${height - BOTTOM}"/>${tickLabel(at, height - BOTTOM + 18, text)}`
  })
  return svg(height, label, ticks.join('') + rows.join(''))
}

/** Horizontal bars, each of parts that add up. */
export interface Stack {
  readonly name: string
  readonly parts: readonly { readonly name: string; readonly colour: number; readonly value: number }[]
  readonly note: string
}
export function stackChart(label: string, stacks: readonly Stack[], relative: boolean): string {
  const row = 40
  const height = TOP + stacks.length * row + 6
  const sum = ({ parts }: Stack): number => parts.reduce((total, { value }) => total + value, 0)
  const largest = Math.max(...stacks.map(sum))
  const rows = stacks.map((stack, i) => {
    const y = TOP + i * row
    const whole = relative ? sum(stack) : largest
    let x = 16
    const bars = stack.parts.map(({ name, colour, value }) => {
      const width = whole === 0 ? 0 : (value / whole) * (WIDTH - RIGHT - 16)
      const bar = `<rect class="bar s${colour}" x="${n(x)}" y="${y + 20}" width="${n(width)}" height="13"><title>${escape(name)}: ${value}</title></rect>`
      x += width
      return bar
    })
    return `<text x="16" y="${y + 14}">${escape(stack.name)}</text><text x="${WIDTH - RIGHT}" y="${y + 14}" text-anchor="end">${escape(stack.note)}</text>${bars.join('')}`
  })
  const entries = new Map(stacks.flatMap(({ parts }) => parts.map(({ name, colour }) => [name, colour] as const)))
  return svg(height, label, rows.join('')) + legend([...entries].map(([name, colour]) => ({ name, colour })))
}

/** What a program got done over time, one strip to each system, all to the same scale. */
export function strips(label: string, lines: readonly Line[]): string {
  const row = 74
  const height = TOP + lines.length * row + BOTTOM - 20
  const longest = Math.max(...lines.map(({ points }) => points.at(-1)?.[0] ?? 0))
  const most = Math.max(...lines.flatMap(({ points }) => points.map(([, y]) => y)))
  const drawn = lines.map(({ name, colour, points, spans = [] }, i) => {
    const bottom = TOP + (i + 1) * row - 12
    const at = (x: number): number => 16 + (x / longest) * (WIDTH - RIGHT - 16)
    const path = points.map(([x, y]) => `L${n(at(x))} ${n(bottom - (y / most) * (row - 32))}`)
    const band = spans.map(([from, to, of]) => {
      const width = Math.max(0.5, at(to) - at(from))
      return `<rect class="bar s${of}" x="${n(at(from))}" y="${bottom + 2}" width="${n(width)}" height="7"/>`
    })
    return (
      `<text x="16" y="${bottom - row + 20}">${escape(name)}</text>` +
      `<path class="area s${colour}" d="M16 ${bottom}${path.join('')}L${n(at(points.at(-1)?.[0] ?? 0))} ${bottom}Z"/>${band.join('')}`
    )
  })
  const seconds = (longest / 1000).toFixed(longest < 10_000 ? 1 : 0)
  const foot = `<text x="16" y="${height - 8}">0</text><text x="${WIDTH - RIGHT}" y="${height - 8}" text-anchor="end">${seconds} s</text>`
  return svg(height, label, drawn.join('') + foot)
}
