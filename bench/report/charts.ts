// Charts as inline SVG text: curves on transformed axes, ranges, bars, histograms. No script, no font, no colour of its
// own: classes s0…s13 get theirs from the page's style sheet, which knows light and dark.
//
// All charts are drawn in a box of 400 units and scale with the column they stand in; text is 12 units, which a phone shows
// at ten pixels. What has to be wide (time) is in timeline.ts.

import { place, showMicros, textWidth, ticksBetween, type Axis } from './axes.js'

export interface Line {
  readonly name: string
  /** Index of the system's colour. */
  readonly colour: number
  readonly points: readonly (readonly [number, number])[]
  readonly dashed?: boolean
}

const WIDTH = 400
const LEFT = 50
const RIGHT = 10
const BOTTOM = 40
const TOP = 10
const EDGE = 4

export const escape = (text: string): string =>
  text.replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c] as string)
/** A coordinate: a tenth of a unit is more than anyone sees. */
const n = (value: number): string => String(Math.round(value * 10) / 10)

function horizontalAxis(x: Axis, start: number, bottom: number): string {
  const ticks = ticksBetween(x, start, WIDTH - RIGHT, EDGE, WIDTH - EDGE).map(({ at, label, anchor }) => {
    const text =
      label === '' ? '' : `<text x="${n(at)}" y="${bottom + 16}" text-anchor="${anchor}">${escape(label)}</text>`
    return `<path class="grid" d="M${n(at)} ${TOP}V${bottom}"/>${text}`
  })
  const title =
    x.title === ''
      ? ''
      : `<text class="axis" x="${WIDTH - EDGE}" y="${bottom + 33}" text-anchor="end">${escape(x.title)}</text>`
  return ticks.join('') + title
}

function svg(height: number, label: string, content: string): string {
  return `<svg viewBox="0 0 ${WIDTH} ${n(height)}" role="img" aria-label="${escape(label)}">${content}</svg>`
}

/** The names of what is drawn, with their colours; `kind` is the class prefix: systems or phases. */
export function legend(
  entries: readonly { readonly name: string; readonly colour: number; readonly dashed?: boolean }[],
  kind: 's' | 'p' = 's',
): string {
  return `<p class="legend">${entries.map(({ name, colour, dashed }) => `<span class="${kind}${colour}${dashed ? ' dash' : ''}"><i></i>${escape(name)}</span>`).join('')}</p>`
}

export function lineChart(label: string, lines: readonly Line[], x: Axis, y: Axis): string {
  const height = 280
  const bottom = height - BOTTOM
  const vertical = y.ticks.map(([value, text]) => {
    const at = place(y, value, bottom, TOP)
    return `<path class="grid" d="M${LEFT} ${n(at)}H${WIDTH - RIGHT}"/><text x="${LEFT - 5}" y="${n(at + 4)}" text-anchor="end">${escape(text)}</text>`
  })
  // The first system is what the report is about: its curve lies on top of the others.
  const drawn = [...lines].reverse().map(({ name, colour, points, dashed }) => {
    const path = points.map(([px, py], i) => {
      return `${i === 0 ? 'M' : 'L'}${n(place(x, px, LEFT, WIDTH - RIGHT))} ${n(place(y, py, bottom, TOP))}`
    })
    return `<path class="line s${colour}${dashed ? ' dash' : ''}" d="${path.join('')}"><title>${escape(name)}</title></path>`
  })
  return svg(height, label, vertical.join('') + horizontalAxis(x, LEFT, bottom) + drawn.join('')) + legend(lines)
}

/** A name and what is said about it, above a bar: side by side, or below each other where one of the chart's is too long. */
interface Caption {
  readonly name: string
  readonly note: string
}
function captions(all: readonly Caption[]): {
  readonly height: number
  readonly write: (of: Caption, y: number) => string
} {
  const tall = all.some(({ name, note }) => textWidth(name) + textWidth(note) + 8 > WIDTH - 2 * EDGE)
  return {
    height: tall ? 31 : 17,
    write({ name, note }, y) {
      return (
        `<text class="name" x="${EDGE}" y="${y + 12}">${escape(name)}</text>` +
        `<text x="${WIDTH - EDGE}" y="${y + (tall ? 26 : 12)}" text-anchor="end">${escape(note)}</text>`
      )
    },
  }
}

/** One row for each thing: a bar from the median to the tail, a whisker to the highest. */
export interface Range {
  readonly name: string
  readonly colour: number
  readonly low: number
  readonly tail: number
  readonly high: number
}
export function rangeChart(label: string, ranges: readonly Range[], x: Axis): string {
  const noted = ranges.map((range) => ({
    ...range,
    note: [range.low, range.tail, range.high].map(showMicros).join(' · '),
  }))
  const caption = captions(noted)
  const row = caption.height + 17
  const bottom = TOP + ranges.length * row
  const rows = noted.map((range, i) => {
    const { colour, low, tail, high } = range
    const y = TOP + i * row
    const bar = y + caption.height
    const at = (value: number): number => place(x, value, EDGE, WIDTH - RIGHT)
    const width = Math.max(2, at(tail) - at(low))
    return (
      caption.write(range, y) +
      `<path class="whisker s${colour}" d="M${n(at(low))} ${bar + 5}H${n(at(high))}"/>` +
      `<rect class="bar s${colour}" x="${n(at(low))}" y="${bar}" width="${n(width)}" height="10" rx="2"/>` +
      `<circle class="bar s${colour}" cx="${n(at(high))}" cy="${bar + 5}" r="3.5"/>`
    )
  })
  return svg(bottom + BOTTOM - (x.title === '' ? 16 : 0), label, horizontalAxis(x, EDGE, bottom) + rows.join(''))
}

/** Horizontal bars, each of parts that add up. */
export interface Stack {
  readonly name: string
  readonly parts: readonly { readonly name: string; readonly colour: number; readonly value: number }[]
  readonly note: string
}
/** `relative`: each bar is as long as the box, and shows shares; otherwise all are to one scale. */
export function stackChart(label: string, stacks: readonly Stack[], relative: boolean): string {
  const caption = captions(stacks)
  const row = caption.height + 17
  const height = TOP + stacks.length * row
  const sum = ({ parts }: Stack): number => parts.reduce((total, { value }) => total + value, 0)
  const largest = Math.max(...stacks.map(sum))
  const rows = stacks.map((stack, i) => {
    const y = TOP + i * row
    const whole = relative ? sum(stack) : largest
    let x = EDGE
    const bars = stack.parts.map(({ name, colour, value }) => {
      const width = whole === 0 ? 0 : (value / whole) * (WIDTH - 2 * EDGE)
      const bar = `<rect class="bar s${colour}" x="${n(x)}" y="${y + caption.height}" width="${n(Math.max(1, width))}" height="10"><title>${escape(name)}: ${escape(value.toLocaleString('en-US'))}</title></rect>`
      x += width
      return bar
    })
    return caption.write(stack, y) + bars.join('')
  })
  const entries = new Map(stacks.flatMap(({ parts }) => parts.map(({ name, colour }) => [name, colour] as const)))
  const names = relative ? legend([...entries].map(([name, colour]) => ({ name, colour }))) : ''
  return svg(height, label, rows.join('')) + names
}

/** One bar for each system, with its value beside it. A logarithmic axis begins below the smallest value. */
export interface Bar {
  readonly name: string
  readonly colour: number
  readonly value: number
  readonly note: string
}
export function barChart(label: string, bars: readonly Bar[], x: Axis): string {
  const row = 20
  const names = Math.max(142, ...bars.map(({ name }) => EDGE + textWidth(name) + 6))
  const notes = 68
  const bottom = TOP + bars.length * row
  const rows = bars.map(({ name, colour, value, note }, i) => {
    const y = TOP + i * row
    const end = place(x, value, names, WIDTH - notes)
    return (
      `<text class="name" x="${names - 6}" y="${y + 14}" text-anchor="end">${escape(name)}</text>` +
      `<rect class="bar s${colour}" x="${names}" y="${y + 4}" width="${n(Math.max(1.5, end - names))}" height="12" rx="2"/>` +
      `<text x="${n(end + 5)}" y="${y + 14}">${escape(note)}</text>`
    )
  })
  return svg(bottom + 6, label, rows.join(''))
}

/** Histograms below each other over one axis, one for each kind; heights are logarithmic, so that single ones are seen. */
export interface Ridge {
  readonly name: string
  readonly colour: number
  readonly note: string
  /** [[upper edge, count]…] in columns of equal width on the axis. */
  readonly columns: readonly (readonly [number, number])[]
}
export function histograms(label: string, ridges: readonly Ridge[], x: Axis, columnsPerDecade: number): string {
  const row = ridges.length > 6 ? 46 : 62
  const bottom = TOP + ridges.length * row
  const decades = Math.log10(x.to) - Math.log10(x.from)
  const width = (WIDTH - RIGHT - EDGE) / decades / columnsPerDecade
  const most = Math.log10(1 + Math.max(...ridges.flatMap(({ columns }) => columns.map(([, count]) => count))))
  const rows = ridges.map(({ name, colour, note, columns }, i) => {
    const base = TOP + (i + 1) * row - 4
    const bars = columns.map(([edge, count]) => {
      const height = Math.max(1.5, (Math.log10(1 + count) / most) * (row - 24))
      const right = place(x, edge, EDGE, WIDTH - RIGHT)
      return `<rect class="bar s${colour}" x="${n(right - width)}" y="${n(base - height)}" width="${n(width - 0.8)}" height="${n(height)}"><title>up to ${escape(showMicros(edge))}: ${count}</title></rect>`
    })
    return (
      `<text class="name" x="${EDGE}" y="${base - row + 17}">${escape(name)}</text>` +
      `<text x="${WIDTH - EDGE}" y="${base - row + 17}" text-anchor="end">${escape(note)}</text>` +
      `<path class="grid" d="M${EDGE} ${base}H${WIDTH - RIGHT}"/>${bars.join('')}`
    )
  })
  return svg(bottom + BOTTOM - 16, label, horizontalAxis(x, EDGE, bottom) + rows.join(''))
}
