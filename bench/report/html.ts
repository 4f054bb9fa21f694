// The report of `glissade bench --html`: one file, no script, no request to anywhere.
//
// Each benchmark is a section with a sentence on how to read it, its charts, and its figures in a table that scrolls on
// its own. Colours mean the same system throughout.

import { BENCHES } from '../catalogue.js'
import type { Latency, Points, Report, Row } from '../rows.js'
import {
  escape,
  legend,
  lineChart,
  microsAxis,
  ninesAxis,
  rangeChart,
  showMicros,
  stackChart,
  strips,
  type Axis,
  type Line,
  type Range,
} from './charts.js'

const STYLE = `
:root{color-scheme:light dark;--bg:#fbfaf7;--card:#fff;--ink:#22262b;--dim:#687079;--grid:#e4e2dc;
--s0:#0b7285;--s1:#c2410c;--s2:#868e96;--s3:#7048e8;--s4:#d6336c;--s5:#2f9e44;--s6:#e8a200;--s7:#1c7ed6;--s8:#8d6e63;--s9:#495057}
@media (prefers-color-scheme:dark){:root{--bg:#14171a;--card:#1c2024;--ink:#e6e8ea;--dim:#98a1aa;--grid:#30363c;
--s0:#3bc9db;--s1:#ff922b;--s2:#8f979f;--s3:#b197fc;--s4:#faa2c1;--s5:#69db7c;--s6:#ffd43b;--s7:#74c0fc;--s8:#c9a99c;--s9:#ced4da}}
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:72rem;margin:0 auto;padding:1.5rem 1rem 4rem}h1{font-size:1.9rem;margin:.5rem 0}h2{margin:2.5rem 0 .2rem;font-size:1.35rem}
h3{margin:.2rem 0 .6rem;font-size:.95rem;font-weight:600}p{margin:.3rem 0 1rem}.dim,small{color:var(--dim)}
h4{margin:1.2rem 0 0;font-size:1.05rem}.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,30rem),1fr));gap:1rem;margin:1rem 0}
.card{background:var(--card);border:1px solid var(--grid);border-radius:.7rem;padding:.8rem 1rem;min-width:0}
svg{width:100%;height:auto;display:block}svg text{font:14px system-ui,sans-serif;fill:var(--dim)}.axis{font-style:italic}
.grid{stroke:var(--grid);fill:none}.line{fill:none;stroke:var(--c);stroke-width:2.2;stroke-linejoin:round}
.whisker{stroke:var(--c);stroke-width:2;opacity:.55}.bar{fill:var(--c)}.area{fill:var(--c);opacity:.85}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1rem;font-size:.85rem;margin:.4rem 0 0}.legend i{display:inline-block;width:.8em;height:.8em;border-radius:.2em;background:var(--c);margin-right:.4em}
.table{overflow-x:auto}table{border-collapse:collapse;font-size:.82rem;font-variant-numeric:tabular-nums;width:100%}
th,td{padding:.25rem .55rem;text-align:right;white-space:nowrap;border-bottom:1px solid var(--grid)}th{color:var(--dim);font-weight:500}
th:first-child,td:first-child,th:nth-child(2),td:nth-child(2){text-align:left}nav{display:flex;flex-wrap:wrap;gap:.3rem .9rem;font-size:.9rem}a{color:var(--s0)}
${Array.from({ length: 10 }, (_, i) => `.s${i}{--c:var(--s${i})}`).join('')}`

const COLOURS = [
  'concurrent',
  'stop-the-world',
  'none',
  'v8',
  'java ZGC',
  'java Shenandoah',
  'java G1',
  'java Parallel',
  'java Serial',
]
const colourOf = (system: string): number => {
  const known = COLOURS.indexOf(system)
  return known >= 0 ? known : /COPY/.test(system) ? 1 : /MOVE/.test(system) ? 0 : 9
}

const READING: { readonly [bench: string]: string } = {
  micro: 'Nanoseconds of one operation on the heap, as a multiple of the same on a plain object.',
  pauses:
    'All mutators stopped, by size of the heap and number of roots. The bars run from the median to the 99th percentile, the dot is the longest.',
  barrier:
    'One touch of a page that has not arrived, from the thread that touches it. The first two rows are what any program pays: new memory, and a signal.',
  relocation:
    'The same heaps compacted by moving pages and by copying them: microseconds of compaction to each page placed.',
}
const WORKLOAD_READING =
  'Steps on a percentile axis: each further nine is as wide as the one before, so that the tail is what one sees.'

const points = (row: Row, name: string): Points => (row.series?.[name] ?? []) as Points
const latency = (row: Row, name: string): Latency | undefined => row[name] as Latency | undefined

function card(title: string, chart: string): string {
  return chart === '' ? '' : `<div class="card"><h3>${escape(title)}</h3>${chart}</div>`
}

function linesOf(rows: readonly Row[], name: string): Line[] {
  return rows
    .map((row) => ({
      name: row.system,
      colour: colourOf(row.system),
      points: points(row, name) as unknown as Line['points'],
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
  return lineChart('latency by percentile', lines, ninesAxis(Math.max(...all.map(([f]) => f))), y)
}

function mmuChart(rows: readonly Row[]): string {
  const lines = linesOf(rows, 'mmu')
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
      const found = latency(row, kind)
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

/** How pages came to their places, of rows that compacted. */
function fatesChart(rows: readonly Row[], name: (row: Row) => string): string {
  const of = (row: Row, figure: string): number => (row[figure] as number | undefined) ?? 0
  const stacks = rows
    .filter((row) => of(row, 'pagesMoved') + of(row, 'pagesCopied') > 0)
    .map((row) => {
      const rebuilt = of(row, 'pagesMoved') - of(row, 'pagesKept')
      const byMutators = Math.min(rebuilt, of(row, 'pagesBuiltByMutators'))
      return {
        name: name(row),
        note: `${Math.round(of(row, 'pagesMoved') + of(row, 'pagesCopied')).toLocaleString('en-US')} pages, ${of(row, 'collections')} collections`,
        parts: [
          { name: 'built by the collector, moved', colour: 0, value: rebuilt - byMutators },
          { name: 'built in a fault, moved', colour: 6, value: byMutators },
          { name: 'unchanged, moved as they were', colour: 5, value: of(row, 'pagesKept') },
          { name: 'copied', colour: 1, value: of(row, 'pagesCopied') },
          { name: 'zero-filled', colour: 2, value: of(row, 'pagesZeroFilled') },
        ].filter(({ value }) => value > 0),
      }
    })
  return stacks.length === 0 ? '' : stackChart('page fates', stacks, true)
}

const STALLS = [
  ['stopUs', 'all stopped'],
  ['faultUs', 'fault'],
  ['allocationStallUs', 'wait for memory'],
] as const

/** Phases of a collection by number, as the band below a strip shows them. */
const PHASE_COLOURS: { readonly [phase: number]: number } = { 1: 7, 2: 4, 3: 8, 4: 8, 5: 4, 6: 6 }
const PHASES = [
  { name: 'marking', colour: 7 },
  { name: 'preparing', colour: 8 },
  { name: 'compacting', colour: 6 },
]

function workloadCards(rows: readonly Row[]): string {
  const plain = rows.filter(({ system }) => system === 'v8')
  const stalls = [
    ...rangesOf(
      rows.filter(({ system }) => system !== 'v8' && system !== 'none'),
      ({ system }) => system,
      STALLS,
    ),
    ...rangesOf(plain, () => 'v8', [['v8StopUs', 'all stopped']]),
  ]
  const progress = linesOf(rows, 'progress').map((line) => {
    const phases = points(rows.find(({ system }) => system === line.name) as Row, 'phases')
    return { ...line, spans: phases.map(([from, to, phase]) => [from, to, PHASE_COLOURS[phase] ?? 9] as const) }
  })
  const phased = progress.some(({ spans }) => spans.length > 0)
  return [
    card('Latency of a step', latencyChart(rows)),
    card('Stalls: median to 99th percentile, and the longest', rangesChart('stalls', stalls)),
    card('Minimum mutator utilisation', mmuChart(rows)),
    card(
      'Steps over time',
      progress.length === 0 ? '' : strips('steps over time', progress) + (phased ? legend(PHASES) : ''),
    ),
    card(
      'How pages came to their places',
      fatesChart(rows, ({ system }) => system),
    ),
  ].join('')
}

function cards(bench: string, rows: readonly Row[]): string {
  const nameOf = ({ workload, system }: Row): string => `${workload}, ${system}`
  switch (bench) {
    case 'micro': {
      const own = rows.filter((row) => row['overV8'] !== undefined)
      const stacks = own.map((row) => ({
        name: row.workload,
        note: `${row['nsPerOp'] as number} ns, ${row['overV8'] as number} × V8`,
        parts: [{ name: 'multiple of a plain object', colour: 0, value: row['overV8'] as number }],
      }))
      return card('Cost of an operation', stacks.length === 0 ? '' : stackChart('operations', stacks, false))
    }
    case 'pauses': {
      const own = rows.filter(({ system }) => system === 'concurrent')
      const others = rangesOf(rows, nameOf, [['stopUs', '']])
      return [
        card(
          'Flip',
          rangesChart(
            'flip',
            rangesOf(own, ({ workload }) => workload, [['flipUs', '']]),
          ),
        ),
        card(
          'Remark',
          rangesChart(
            'remark',
            rangesOf(own, ({ workload }) => workload, [['remarkUs', '']]),
          ),
        ),
        card('Beside a stop-the-world collection', rangesChart('stops', others)),
        card('How pages came to their places', fatesChart(rows, nameOf)),
      ].join('')
    }
    case 'barrier':
      return card('Touching a page', rangesChart('faults', rangesOf(rows, nameOf, [['latencyUs', '']])))
    case 'relocation': {
      const stacks = rows.map((row) => ({
        name: nameOf(row),
        note: showMicros(row['compactUsPerPage'] as number),
        parts: [{ name: row.system, colour: colourOf(row.system), value: row['compactUsPerPage'] as number }],
      }))
      return [
        card('Compaction, each page', stackChart('relocation', stacks, false)),
        card('How pages came to their places', fatesChart(rows, nameOf)),
      ].join('')
    }
    default: {
      const workloads = [...new Set(rows.map(({ workload }) => workload))]
      return workloads.map((workload) => workloadCards(rows.filter((row) => row.workload === workload))).join('')
    }
  }
}

const COLUMNS: readonly (readonly [string, (row: Row) => string])[] = [
  ['runs', (row) => String(row.runs)],
  ['ns/op', (row) => fixed(row['nsPerOp'], 2)],
  ['wall s', (row) => fixed(row.wallS, 2)],
  ['CPU s', (row) => fixed(row.cpuS, 2)],
  ['peak MiB', (row) => fixed(row.peakRssMiB, 0)],
  ['steps/s', (row) => fixed(row['stepsPerS'], 0)],
  ...(['p50', 'p99', 'p999', 'p9999', 'max'] as const).map(
    (p) => [`step ${p}`, (row: Row) => micros(row, 'latencyUs', p)] as const,
  ),
  ['stop p50', (row) => micros(row, row.system === 'v8' ? 'v8StopUs' : 'stopUs', 'p50')],
  ['stop max', (row) => micros(row, row.system === 'v8' ? 'v8StopUs' : 'stopUs', 'max')],
  ['fault p50', (row) => micros(row, 'faultUs', 'p50')],
  ['fault max', (row) => micros(row, 'faultUs', 'max')],
  ['wait max', (row) => micros(row, 'allocationStallUs', 'max')],
  ['× first touch', (row) => fixed(row['faultOverFirstTouch'], 2)],
  ['a page / first touch', (row) => fixed(row['perPageWithFaultAround'], 3)],
  ['MOVE/COPY', (row) => fixed(row['moveOverCopy'], 2)],
  ['CPU × none', (row) => fixed(row['overNone'], 2)],
]
const fixed = (value: unknown, digits: number): string =>
  typeof value === 'number' ? value.toLocaleString('en-US', { maximumFractionDigits: digits }) : ''
const micros = (row: Row, kind: string, p: keyof Latency): string => {
  const found = latency(row, kind)
  return found === undefined ? '' : showMicros(found[p])
}

function table(rows: readonly Row[]): string {
  const columns = COLUMNS.filter(([, write]) => rows.some((row) => write(row) !== ''))
  const head = ['workload', 'system', ...columns.map(([name]) => name)].map((name) => `<th>${escape(name)}</th>`)
  const body = rows.map((row) => {
    const cells = [row.workload, row.system, ...columns.map(([, write]) => write(row))]
    return `<tr>${cells.map((cell) => `<td>${escape(cell)}</td>`).join('')}</tr>`
  })
  return `<div class="table"><table><thead><tr>${head.join('')}</tr></thead><tbody>${body.join('')}</tbody></table></div>`
}

export function htmlReport({ machine, rows, skipped }: Report): string {
  const found = BENCHES.filter(({ name }) => rows.some((row) => row.bench === name))
  const sections = found.map(({ name, summary }) => {
    const own = rows.filter((row) => row.bench === name)
    return `<section id="${name}"><h2>${name}</h2><p class="dim">${escape(summary)}. ${escape(READING[name] ?? WORKLOAD_READING)}</p><div class="cards">${cards(name, own)}</div>${table(own)}</section>`
  })
  const facts = Object.entries(machine).map(([what, value]) => `${what} ${value}`)
  const missing =
    skipped.length === 0 ? '' : `<h2>Not run</h2><ul>${skipped.map((s) => `<li>${escape(s)}</li>`).join('')}</ul>`
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>glissade: benchmarks</title><style>${STYLE}</style></head>
<body><main><h1>glissade: benchmarks</h1><p class="dim">${escape(facts.join(' · '))}</p>
<p>Medians of several runs, each in a process of its own. Read ratios between systems of one run, not absolute times: machines differ, and this one may have been shared.</p>
<nav>${found.map(({ name }) => `<a href="#${name}">${name}</a>`).join('')}</nav>
${sections.join('\n')}
${missing}</main></body></html>
`
}
