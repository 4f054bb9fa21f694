// The report of `glissade bench --html`: one file, no script, no request to anywhere.
//
// Each benchmark is a section with a sentence on how to read it, its charts, and its figures in a table that scrolls on
// its own. Colours mean the same system throughout; phases of a collection have colours of their own.

import { BENCHES } from '../catalogue.js'
import type { Report, Row } from '../rows.js'
import { escape } from './charts.js'
import { cardsOf, COLOURS, glance } from './sections.js'
import { basisOf, cellsOf } from './tables.js'

const LIGHT = `--bg:#f7f6f2;--card:#fff;--ink:#1f2429;--dim:#626b74;--grid:#e5e3dd;
--s0:#0b7285;--s1:#c2410c;--s2:#868e96;--s3:#7048e8;--s4:#d6336c;--s5:#2f9e44;--s6:#e8a200;--s7:#1c7ed6;--s8:#8d6e63;
--s9:#adb5bd;--s10:#5c940d;--s11:#b197fc;--s12:#63c174;--s13:#495057;
--p1:#4dabf7;--p2:#d6336c;--p4:#a98467;--p5:#862e9c;--p6:#f59f00;--p7:#e8590c;--p8:#c2255c;--p9:#74a892`
const DARK = `--bg:#121518;--card:#1b1f23;--ink:#e6e8ea;--dim:#99a2ab;--grid:#31373d;
--s0:#3bc9db;--s1:#ff922b;--s2:#8f979f;--s3:#b197fc;--s4:#faa2c1;--s5:#69db7c;--s6:#ffd43b;--s7:#74c0fc;--s8:#c9a99c;
--s9:#5f6870;--s10:#a9e34b;--s11:#8468e0;--s12:#40a35a;--s13:#ced4da;
--p1:#4dabf7;--p2:#ff6b9d;--p4:#b8977a;--p5:#da77f2;--p6:#ffc14d;--p7:#ff8a4c;--p8:#f06595;--p9:#5b8c78`

const STYLE = `
:root{color-scheme:light dark;${LIGHT}}
@media (prefers-color-scheme:dark){:root{${DARK}}}
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:76rem;margin:0 auto;padding:1.2rem 1rem 4rem}h1{font-size:1.9rem;margin:.5rem 0}
section{margin-top:2.6rem}h2{margin:0 0 .2rem;font-size:1.4rem}h3{margin:0 0 .5rem;font-size:.92rem;font-weight:600}
h4{margin:1.6rem 0 0;font-size:1.05rem}p{margin:.3rem 0 1rem}.dim{color:var(--dim);font-size:.92rem}
.cards{columns:3 21rem;column-gap:.9rem;margin:.8rem 0 0}
.card{background:var(--card);border:1px solid var(--grid);border-radius:.7rem;padding:.8rem .9rem;margin:0 0 .9rem;break-inside:avoid}.all{column-span:all;margin-top:.9rem}
svg{width:100%;height:auto;display:block}svg text{font:12px system-ui,sans-serif;fill:var(--dim)}svg .name{fill:var(--ink)}.axis{font-style:italic}
.grid{stroke:var(--grid);fill:none}.line{fill:none;stroke:var(--c);stroke-width:1.7;stroke-linejoin:round}.line.s0{stroke-width:3}
.line.s9,.line.dash{stroke-dasharray:5 4}.whisker{stroke:var(--c);stroke-width:2;opacity:.5}.bar{fill:var(--c)}.area{fill:var(--c);opacity:.85}
svg.wide{background:color-mix(in srgb,var(--grid) 35%,transparent);border-radius:.2rem}.wide .grid,.grid.wide{vector-effect:non-scaling-stroke}
.lane{display:flex;justify-content:space-between;gap:1rem;margin:.45rem 0 .1rem;font-size:.78rem;line-height:1.25}.lane :last-child{color:var(--dim);text-align:right}
.foot{display:flex;justify-content:space-between;margin:.2rem 0 0;font-size:.75rem;color:var(--dim)}
.legend{display:flex;flex-wrap:wrap;gap:.1rem .9rem;font-size:.8rem;margin:.5rem 0 0;color:var(--dim)}.legend i{display:inline-block;width:.75em;height:.75em;border-radius:.2em;background:var(--c);margin-right:.4em}
.legend .dash i{height:0;margin-bottom:.2em;border-top:3px dashed var(--c);background:none;border-radius:0}
.table{overflow-x:auto}table{border-collapse:collapse;font-size:.8rem;font-variant-numeric:tabular-nums;width:100%}
th,td{padding:.22rem .5rem;text-align:right;white-space:nowrap;border-bottom:1px solid var(--grid)}th{color:var(--dim);font-weight:500}
th:first-child,td:first-child,th:nth-child(2),td:nth-child(2):not(.share){text-align:left}tr.own td{font-weight:600}
th.share{text-align:right!important}td small{color:var(--dim)}td.wrap{white-space:normal;min-width:7rem}td.share{background:linear-gradient(to right,color-mix(in srgb,var(--s0) 30%,transparent) var(--share),transparent var(--share))}
@media(max-width:40rem){td:first-child{white-space:normal;min-width:7.5rem}}
details{margin:.4rem 0}summary{cursor:pointer;color:var(--dim);font-size:.9rem}
nav{display:flex;flex-wrap:wrap;gap:.3rem .9rem;font-size:.95rem;margin:.8rem 0}a{color:var(--s0)}
${Array.from({ length: COLOURS }, (_, i) => `.s${i}{--c:var(--s${i})}`).join('')}${[1, 2, 4, 5, 6, 7, 8, 9].map((i) => `.p${i}{--c:var(--p${i})}`).join('')}`

const READING: { readonly [bench: string]: string } = {
  micro: 'Nanoseconds of one operation on the heap, as a multiple of the same on a plain object.',
  pauses:
    'All mutators stopped, by size of the heap and number of roots. The bars run from the median to the 99th percentile, the dot is the longest. Flip and remark are the work of a pause; what the program felt, waiting for others and waking up included, is the stop.',
  barrier:
    'One touch of a page that has not arrived, from the thread that touches it. The first two rows are what any program pays: new memory, and a signal.',
  relocation:
    'The same heaps compacted by moving pages and by copying them: microseconds of compaction to each page placed.',
  multiples: 'Room costs: the less of it, the more collections.',
  memory:
    'While pages are evacuated, buffers come from those that are free already; what is missing comes from the kernel. Bars are the most that one compaction took, counted by the collector and seen by the kernel. Tables stay for as long as the heap does.',
  lox: 'Whole programs of a language whose every object is in the heap.',
}
const WORKLOAD_READING =
  'Latency is of a step, from the end of the one before it (or from when it was due), whoever delayed it. On the percentile axis each further nine is as wide as the one before: the tail is what one sees. The heights of histograms are logarithmic.'

function table(bench: string, rows: readonly Row[]): string {
  const [headings, ...lines] = cellsOf(bench, rows)
  const head = headings.map((name, i) => `<th>${escape(['workload', 'system'][i] ?? name)}</th>`)
  const body = lines.map((cells, i) => {
    const own = rows[i].system === 'concurrent' ? ' class="own"' : ''
    return `<tr${own}>${cells.map((cell) => `<td>${escape(cell)}</td>`).join('')}</tr>`
  })
  return `<details open><summary>Figures: ${basisOf(rows)}; microseconds where nothing else is said</summary><div class="table"><table><thead><tr>${head.join('')}</tr></thead><tbody>${body.join('')}</tbody></table></div></details>`
}

export function htmlReport({ machine, rows, skipped, failed }: Report): string {
  const found = BENCHES.filter(({ name }) => rows.some((row) => row.bench === name))
  const sections = found.map(({ name, summary, progressIn }) => {
    const own = rows.filter((row) => row.bench === name)
    return `<section id="${name}"><h2>${name}</h2><p class="dim">${escape(summary)}. ${escape(READING[name] ?? WORKLOAD_READING)}</p>${cardsOf(name, own, progressIn)}${table(name, own)}</section>`
  })
  const facts = Object.entries(machine).map(([what, value]) => `${what} ${value}`)
  const listed = (heading: string, texts: readonly string[]): string =>
    texts.length === 0
      ? ''
      : `<section><h2>${heading}</h2><ul>${texts.map((s) => `<li>${escape(s)}</li>`).join('')}</ul></section>`
  const missing = `${listed('Failed', failed)}${listed('Not run', skipped)}`
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>glissade: benchmarks</title><style>${STYLE}</style></head>
<body><main><h1>glissade: benchmarks</h1><p class="dim">${escape(facts.join(' · '))}</p>
<p>Each run had a process of its own. Read ratios between systems of one run, not absolute times: machines differ, and this one may have been shared; <i>floor</i>, where it is shown, is what a program sees here that allocates nothing, alone or beside a second thread.</p>
<nav>${found.map(({ name }) => `<a href="#${name}">${name}</a>`).join('')}</nav>
${glance(rows)}
${sections.join('\n')}
${missing}</main></body></html>
`
}
