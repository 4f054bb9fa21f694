// What the report shows of each benchmark: its rows turned into cards with charts. A chart without data is left out.

import { isFloor } from '../floor.js'
import type { Latency, Points, Row } from '../rows.js'
import { linearAxis, microsAxis, ninesAxis, showMicros, type Axis } from './axes.js'
import {
  barChart,
  escape,
  histograms,
  lineChart,
  rangeChart,
  stackChart,
  type Bar,
  type Line,
  type Range,
  type Ridge,
  type Stack,
} from './charts.js'
import { strips, timeline } from './timeline.js'

/** Systems in the order of their colours; the class s0 is the first. */
const SYSTEMS = [
  'concurrent',
  'stop-the-world',
  'none',
  'v8',
  'java ZGC',
  'java Shenandoah',
  'java G1',
  'java Parallel',
  'java Serial',
  'floor',
  'boehm',
  'v8 semi-space 128',
  'java Shenandoah generational',
]
const OTHER = 13
export const COLOURS = SYSTEMS.length + 1
/** Columns of bench/measure.ts's histograms to a factor of ten. */
const COLUMNS_PER_DECADE = 12

const colourOf = (system: string): number => {
  const known = SYSTEMS.indexOf(system)
  return known >= 0 ? known : /COPY/.test(system) ? 1 : /MOVE/.test(system) ? 0 : OTHER
}
const isV8 = (system: string): boolean => system.startsWith('v8')
const pointsOf = (row: Row | undefined, name: string): Points => row?.series?.[name] ?? []
const latencyOf = (row: Row, name: string): Latency | undefined => row[name] as Latency | undefined
const figure = (row: Row, name: string): number => (row[name] as number | undefined) ?? 0
/** Where a system's stops are: on plain objects those of V8's own collector. */
const stopsOf = (row: Row): string => (isV8(row.system) ? 'v8StopUs' : 'stopUs')
const whole = (value: number): string => Math.round(value).toLocaleString('en-US')

function card(title: string, chart: string, wide = false): string {
  return chart === '' ? '' : `<div class="card${wide ? ' all' : ''}"><h3>${escape(title)}</h3>${chart}</div>`
}

function linesOf(rows: readonly Row[], name: string): Line[] {
  return rows
    .map((row) => ({
      name: row.system,
      colour: colourOf(row.system),
      points: pointsOf(row, name) as unknown as Line['points'],
    }))
    .filter((line) => line.points.length > 1)
}

function latencyChart(rows: readonly Row[]): string {
  const lines = linesOf(rows, 'latency')
  if (lines.length === 0) return ''
  const all = lines.flatMap((line) => line.points)
  const y = microsAxis(
    '',
    all.map(([, us]) => us),
  )
  return lineChart('latency of a step by percentile', lines, ninesAxis(Math.max(...all.map(([f]) => f))), y)
}

function mmuChart(rows: readonly Row[]): string {
  const compacting = linesOf(rows, 'mmuCompacting').map((line) => ({
    ...line,
    name: `${line.name}, while compacting`,
    dashed: true,
  }))
  const lines = [...linesOf(rows, 'mmu'), ...compacting]
  if (lines.length === 0) return ''
  const x: Axis = {
    title: 'window',
    transform: Math.log10,
    from: 1,
    to: 100,
    ticks: [1, 2, 5, 10, 20, 50, 100].map((ms) => [ms, `${ms} ms`] as const),
  }
  const y: Axis = {
    title: '',
    transform: (v) => v,
    from: 0,
    to: 1,
    ticks: [0, 0.25, 0.5, 0.75, 1].map((v) => [v, `${v * 100} %`]),
  }
  return lineChart('minimum mutator utilisation', lines, x, y)
}

function rangesOf(
  rows: readonly Row[],
  name: (row: Row) => string,
  kinds: readonly (readonly [string, string])[],
): Range[] {
  return rows.flatMap((row) =>
    kinds.flatMap(([kind, label]): Range[] => {
      const found = latencyOf(row, kind)
      if (found === undefined || found.count === 0) return []
      const title = label === '' ? name(row) : `${name(row)}: ${label}`
      return [{ name: title, colour: colourOf(row.system), low: found.p50, tail: found.p99, high: found.max }]
    }),
  )
}

function rangesChart(label: string, ranges: readonly Range[]): string {
  if (ranges.length === 0) return ''
  return rangeChart(
    label,
    ranges,
    microsAxis(
      '',
      ranges.flatMap(({ low, high }) => [low, high]),
    ),
  )
}

function ridgesOf(row: Row, kinds: readonly (readonly [string, string])[]): Ridge[] {
  return kinds.flatMap(([kind, name]): Ridge[] => {
    const columns = pointsOf(row, kind) as unknown as Ridge['columns']
    const found = latencyOf(row, kind)
    if (columns.length === 0 || found === undefined) return []
    const note = `${whole(found.count)} × · longest ${showMicros(found.max)}`
    return [{ name, colour: colourOf(row.system), note, columns }]
  })
}
function histogramChart(label: string, ridges: readonly Ridge[]): string {
  if (ridges.length === 0) return ''
  const edges = ridges.flatMap(({ columns }) => columns.map(([edge]) => edge))
  const narrow = 10 ** (-1 / COLUMNS_PER_DECADE)
  const axis = microsAxis('', [...edges, ...edges.map((edge) => edge * narrow * 1.001)])
  return histograms(label, ridges, axis, COLUMNS_PER_DECADE)
}

/** How pages came to their places, of rows that compacted. */
function fatesChart(rows: readonly Row[], name: (row: Row) => string): string {
  const stacks = rows
    .filter((row) => figure(row, 'pagesMoved') + figure(row, 'pagesCopied') > 0)
    .map((row) => {
      const rebuilt = figure(row, 'pagesMoved') - figure(row, 'pagesKept')
      const byMutators = Math.max(0, Math.min(rebuilt, figure(row, 'pagesBuiltByMutators')))
      return {
        name: name(row),
        note: `${whole(figure(row, 'pagesMoved') + figure(row, 'pagesCopied'))} pages, ${figure(row, 'collections')} ×`,
        parts: [
          { name: 'built by the collector, moved', colour: 0, value: rebuilt - byMutators },
          { name: 'built in a fault, moved', colour: 6, value: byMutators },
          { name: 'unchanged, moved as they were', colour: 5, value: figure(row, 'pagesKept') },
          { name: 'copied', colour: 1, value: figure(row, 'pagesCopied') },
          { name: 'zero-filled', colour: 2, value: figure(row, 'pagesZeroFilled') },
        ].filter(({ value }) => value > 0),
      }
    })
  return stacks.length === 0 ? '' : stackChart('how pages came to their places', stacks, true)
}

function barsChart(
  label: string,
  rows: readonly Row[],
  value: (row: Row) => number | undefined,
  show: (v: number) => string,
  logarithmic = false,
): string {
  const bars = rows.flatMap((row): Bar[] => {
    const found = value(row)
    return found === undefined
      ? []
      : [{ name: row.system, colour: colourOf(row.system), value: found, note: show(found) }]
  })
  if (bars.length < 2) return ''
  const values = bars.map((bar) => bar.value)
  return barChart(label, bars, logarithmic ? microsAxis('', values) : linearAxis('', Math.max(...values), String))
}
const worst = (row: Row): number | undefined => row.latencyUs?.max
const seconds = (v: number): string => `${v >= 10 ? v.toFixed(1) : v.toFixed(2)} s`

const STALLS = [
  ['stopUs', 'stop'],
  ['faultUs', 'fault'],
  ['allocationStallUs', 'wait for memory'],
] as const
const OWN_STALLS = [
  ['flipUs', 'flip, its work'],
  ['remarkUs', 'remark, its work'],
  ['stopUs', 'the program stopped'],
  ['faultUs', 'page faults'],
  ['allocationStallUs', 'waits for memory'],
  ['v8StopUs', 'collections of V8’s own heap'],
] as const

function timelineChart(row: Row | undefined, unit: string): string {
  const entries = pointsOf(row, 'timeline')
  if (row === undefined || entries.length === 0) return ''
  return timeline({
    steps: pointsOf(row, 'timelineSteps'),
    unit,
    entries,
    budgetMiB: figure(row, 'heapMiB'),
    concurrent: row.system === 'concurrent',
  })
}

function workloadCards(rows: readonly Row[], unit: string): string {
  const collected = rows.filter(({ system }) => system !== 'none' && !isFloor(system))
  const concurrent = rows.find(({ system }) => system === 'concurrent')
  const stalls = collected.flatMap((row) =>
    rangesOf([row], ({ system }) => system, isV8(row.system) ? [['v8StopUs', 'stop']] : STALLS),
  )
  const stops = collected.flatMap((row) => ridgesOf(row, [[stopsOf(row), row.system]]))
  const progress = linesOf(
    rows.filter(({ system }) => !isFloor(system)),
    'progress',
  )
  const timed = progress.length === 0 && rows.every((row) => figure(row, 'wallS') > 0)
  return [
    card('Worst step (logarithmic)', barsChart('worst step', rows, worst, showMicros, true)),
    timed
      ? card(
          'Wall time',
          barsChart('wall time', rows, ({ wallS }) => wallS, seconds),
        )
      : '',
    card('Latency of a step', latencyChart(rows)),
    card('Stalls: median · 99th percentile · longest', rangesChart('stalls', stalls)),
    card('Minimum mutator utilisation', mmuChart(rows)),
    concurrent === undefined
      ? ''
      : card('Stalls of the concurrent collector', histogramChart('stalls', ridgesOf(concurrent, OWN_STALLS))),
    card('Stop-the-world pauses', histogramChart('pauses', stops)),
    card(
      'Peak memory of the process',
      barsChart(
        'peak memory',
        collected,
        (row) => row.peakRssMiB,
        (v) => `${whole(v)} MiB`,
      ),
    ),
    card(
      'CPU time, all threads',
      barsChart(
        'CPU time',
        rows.filter(({ system }) => !isFloor(system)),
        ({ cpuS }) => cpuS,
        seconds,
      ),
    ),
    card(
      'How pages came to their places',
      fatesChart(rows, ({ system }) => system),
    ),
    card('One run of the concurrent collector', timelineChart(concurrent, unit), true),
    card('Progress', progress.length === 0 ? '' : strips(progress, unit), true),
  ].join('')
}

function microCards(rows: readonly Row[]): string {
  const own = rows.filter((row) => row['overV8'] !== undefined)
  const stacks = own.map((row) => ({
    name: row.workload,
    note: `${figure(row, 'nsPerOp')} ns, ${figure(row, 'overV8')} × V8`,
    parts: [{ name: 'multiple of a plain object', colour: 0, value: figure(row, 'overV8') }],
  }))
  return card('As a multiple of plain objects', stacks.length === 0 ? '' : stackChart('operations', stacks, false))
}

/** One card for each group of rows that `key` puts together. */
function grouped(rows: readonly Row[], key: (row: Row) => string, draw: (rows: readonly Row[]) => string): string {
  return [...new Set(rows.map(key))].map((name) => card(name, draw(rows.filter((row) => key(row) === name)))).join('')
}

function barrierCards(rows: readonly Row[]): string {
  const plain = rows.filter(({ system }) => system === 'native')
  const heap = rows.filter(({ workload }) => workload.startsWith('heap'))
  const bare = rows.filter((row) => !plain.includes(row) && !heap.includes(row))
  const draw = (own: readonly Row[], name: (row: Row) => string): string =>
    rangesChart('faults', rangesOf(own, name, [['latencyUs', '']]))
  return (
    grouped(
      bare,
      ({ workload }) => workload,
      (own) => draw([...plain, ...own], (row) => (plain.includes(row) ? row.workload : row.system)),
    ) +
    card(
      'Faults of a program on a heap',
      draw([...plain, ...heap], (row) =>
        plain.includes(row) ? row.workload : `${row.workload.replace('heap: ', '')}, ${row.system}`,
      ),
    )
  )
}

function pausesCards(rows: readonly Row[]): string {
  const own = rows.filter(({ system }) => system === 'concurrent')
  const of = (kind: string): string =>
    rangesChart(
      kind,
      rangesOf(own, ({ workload }) => workload, [[kind, '']]),
    )
  const kinds = own.flatMap((row) => ridgesOf(row, [['stopUs', row.workload]]))
  return [
    card('Flip: median · 99th percentile · longest', of('flipUs')),
    card('Remark', of('remarkUs')),
    card('The program stopped, for either', of('stopUs')),
    card('The program stopped: histograms', histogramChart('stops', kinds)),
    ...[...new Set(rows.filter(({ system }) => system === 'v8').map(({ workload }) => workload))].map((name) => {
      const beside = rows.filter(({ workload }) => workload === name)
      const ranges = beside.flatMap((row) => rangesOf([row], ({ system }) => system, [[stopsOf(row), '']]))
      return [
        card(`${name}: worst step, whatever it waited for`, barsChart('worst step', beside, worst, showMicros, true)),
        card(`${name}: stops beside other collectors, without waits for memory`, rangesChart('stops', ranges)),
      ].join('')
    }),
    card(
      'How pages came to their places',
      fatesChart(own, ({ workload }) => workload),
    ),
  ].join('')
}

const untilComma = ({ workload }: Row): string => workload.split(',')[0]
const afterComma = ({ workload }: Row): string => workload.split(',').slice(1).join(',').trim() || workload

function relocationChart(rows: readonly Row[]): string {
  const stacks = rows.map((row) => ({
    name: `${afterComma(row)}: ${row.system}`,
    note: showMicros(figure(row, 'compactUsPerPage')),
    parts: [{ name: row.system, colour: colourOf(row.system), value: figure(row, 'compactUsPerPage') }],
  }))
  return stackChart('relocation', stacks, false)
}

const mebibytes = (v: number): string => `${v.toFixed(1)} MiB`

function memoryChart(rows: readonly Row[]): string {
  const bars = rows.flatMap((row) => {
    const bar = (what: string, colour: number, figureName: string): Stack[] => {
      const value = row[figureName] as number | undefined
      if (value === undefined) return []
      const note = `${mebibytes(value)}, ${mebibytes(figure(row, `${figureName}PerGiB`))} a GiB`
      return [{ name: `${row.system}: ${what}`, note, parts: [{ name: what, colour, value }] }]
    }
    return [...bar('buffers', 0, 'buffersMiB'), ...bar('peak', 5, 'peakOverMiB'), ...bar('tables', 2, 'tablesMiB')]
  })
  return stackChart('memory', bars, false)
}

/** What the same program costs in heaps of different size, and the like: one bar to each row. */
function wallChart(rows: readonly Row[]): string {
  const stacks = rows.map((row) => ({
    name: `${afterComma(row)}: ${row.system}`,
    note: `${seconds(row.wallS)}${row['overNone'] === undefined ? '' : `, CPU ${figure(row, 'overNone')} × none`}`,
    parts: [{ name: row.system, colour: colourOf(row.system), value: row.wallS }],
  }))
  return stackChart('wall time', stacks, false)
}

export function cardsOf(bench: string, rows: readonly Row[], unit = 'steps'): string {
  const inGrid = (cards: string): string => `<div class="cards">${cards}</div>`
  switch (bench) {
    case 'micro':
      return inGrid(microCards(rows))
    case 'pauses':
      return inGrid(pausesCards(rows))
    case 'barrier':
      return inGrid(barrierCards(rows))
    case 'relocation':
      return inGrid(grouped(rows, (row) => `${untilComma(row)}: compaction, each page`, relocationChart))
    case 'memory':
      return inGrid(grouped(rows, ({ workload }) => workload, memoryChart))
    case 'multiples':
      return inGrid(grouped(rows, (row) => `${untilComma(row)}: wall time`, wallChart))
    case 'lox':
      return inGrid(grouped(rows, untilComma, wallChart))
    default: {
      const workloads = [...new Set(rows.map(({ workload }) => workload))]
      return workloads
        .map((workload) => {
          const cards = inGrid(
            workloadCards(
              rows.filter((row) => row.workload === workload),
              unit,
            ),
          )
          return `<h4>${escape(workload)}</h4>${cards}`
        })
        .join('')
    }
  }
}

/** How much the programs got done while the concurrent collector compacted: the structured ones and the random one. */
function utilisation(rows: readonly Row[]): string {
  const found = rows.filter((row) => row.bench !== 'multiples' && pointsOf(row, 'mmuCompacting').length > 0)
  if (found.length === 0) return ''
  const windows = [1, 10, 100]
  const cell = (value: number | undefined): string => {
    if (value === undefined) return '<td></td>'
    const percent = (value * 100).toFixed(0)
    return `<td class="share" style="--share:${percent}%">${percent} %</td>`
  }
  const lines = found.map((row) => {
    const cells = windows.map((ms) => cell(share(row, ms)))
    const name = `${escape(row.bench)} <small>${escape(row.workload)}</small>`
    return `<tr><td class="wrap">${name}</td>${cells.join('')}</tr>`
  })
  const head = windows.map((ms) => `<th class="share">${ms} ms</th>`)
  return card(
    'Minimum mutator utilisation while compacting: the least a program got done in a window of this length',
    `<div class="table"><table><thead><tr><th>program</th>${head.join('')}</tr></thead><tbody>${lines.join('')}</tbody></table></div>`,
    true,
  )
}
const share = (row: Row, ms: number): number | undefined =>
  pointsOf(row, 'mmuCompacting').find(([window]) => window === ms)?.[1]

/** The first thing one sees: the worst step of the programs about latency, the time of those about speed. */
export function glance(rows: readonly Row[]): string {
  const of = (bench: string): Row[][] => {
    const own = rows.filter((row) => row.bench === bench)
    return [...new Set(own.map(({ workload }) => workload))].map((name) =>
      own.filter(({ workload }) => workload === name),
    )
  }
  const cards = [
    ...['pusher', 'churn'].flatMap((bench) =>
      of(bench).map((own) =>
        card(
          `${bench}, worst step (logarithmic): ${own[0].workload}`,
          barsChart(`worst step of ${bench}`, own, worst, showMicros, true),
        ),
      ),
    ),
    ...['gcbench', 'binary-trees'].flatMap((bench) =>
      of(bench).map((own) =>
        card(
          `${bench}, wall time: ${own[0].workload}`,
          barsChart(`wall time of ${bench}`, own, ({ wallS }) => wallS, seconds),
        ),
      ),
    ),
    utilisation(rows),
  ].filter((text) => text !== '')
  return cards.length === 0
    ? ''
    : `<section id="glance"><h2>At a glance</h2><div class="cards">${cards.join('')}</div></section>`
}
