// Writes docs/reference.md from the tables of the built library: options, limits, error codes, statistics, phases. `npm run build`
// first. With --check it writes nothing, and fails if the file is not what it would write.
import { readFileSync, writeFileSync } from 'node:fs'
import { ERROR_CODES, Heap, layout, OPTIONS, STATISTICS_DOCS } from '../dist/index.js'

const target = new URL('../docs/reference.md', import.meta.url)

/** What the tables of the code do not say: the phases of a cycle, in their order. */
const PHASES = {
  Idle: ['no', 'no cycle is under way'],
  Mark: ['no', 'everything reachable is marked; cards written meanwhile are scanned again (precleaning)'],
  Remark: [
    '**yes**',
    'the rest of the dirty cards, stacks that changed; weak slots whose objects are dead are cleared',
  ],
  Reclaim: ['no', 'what is due is marked and handed to its guardians; dead large objects are freed'],
  Prepare: [
    'for a moment at its end, where nothing moves',
    'every live object gets its new address, nothing has moved; or what is dead is given out to be allocated in again',
  ],
  Flip: ['**yes**', 'all pages, those of roots too, become from-space at once, and an empty to-space is armed'],
  Compact: ['no', 'pages arrive in their new form: built by the collector, or by the thread that touches one first'],
}
/** Members of `heap.stats()` that are no figures of the tables. */
const OTHER_STATISTICS = {
  collector: 'name of the collector',
  phase: "phase of the cycle under way, or `'idle'`",
  epoch: 'how often anything may have moved',
  maxBytes: 'the option, in bytes',
  fallbacks: 'system calls of relocation that returned an error, by errno: `{ EBUSY: 3 }`; all were dealt with',
  raw: 'everything the collector counts, under its own names: `counters`, `histograms`, and `errors` where there are any',
}

const row = (...cells) => `| ${cells.map((cell) => String(cell).replaceAll('|', '\\|')).join(' | ')} |`
const table = (head, rows) => [row(...head), row(...head.map(() => '---')), ...rows.map((r) => row(...r))].join('\n')
const code = (text) => `\`${text}\``

function size(bytes) {
  for (const [unit, letter] of [
    [2 ** 30, 'g'],
    [2 ** 20, 'm'],
    [2 ** 10, 'k'],
  ]) {
    if (bytes % unit === 0) return `'${bytes / unit}${letter}'`
  }
  return String(bytes)
}

function optionRows(options, prefix = '') {
  return Object.entries(options).flatMap(([name, spec]) => {
    const full = code(prefix + name)
    switch (spec.kind) {
      case 'group':
        return [[full, 'an object', '', spec.doc], ...optionRows(spec.members, `${prefix}${name}.`)]
      case 'size':
        return [[full, `size, ${code(size(spec.min))} to ${code(size(spec.max))}`, code(size(spec.default)), spec.doc]]
      case 'integer':
        return [[full, `whole number, ${spec.min} to ${spec.max}`, code(spec.default), spec.doc]]
      case 'ratio':
        return [[full, `number, ${spec.min} to ${spec.max}`, code(spec.default), spec.doc]]
      case 'flag':
        return [[full, `${code('true')} or ${code('false')}`, code(spec.default), spec.doc]]
      case 'choice':
        return [[full, spec.choices.map((c) => code(`'${c}'`)).join(' '), code(`'${spec.default}'`), spec.doc]]
      default:
        throw new Error(`option ${name}: unknown kind ${spec.kind}`)
    }
  })
}

/** The rows of one of the X-macro tables of native/core/statistics/statistics.h. */
function nativeRows(header, macro) {
  const start = header.indexOf(`#define ${macro}(X)`)
  const rows = []
  for (const line of header.slice(start).split('\n').slice(1)) {
    const match = /^\s*X\((\w+), "(.*)"\)/.exec(line)
    if (!match) break
    rows.push([code(match[1]), match[2]])
  }
  if (start < 0 || rows.length === 0) throw new Error(`statistics.h has no table ${macro}`)
  return rows
}

/** What a heap can have at most. What has no name in `layout` is read where it is defined. */
function limitRows() {
  const handler = readFileSync(new URL('../native/core/barrier/fault-handler.cc', import.meta.url), 'utf8')
  const heaps = /kMaxHeaps = (\d+)/.exec(handler)?.[1]
  if (heaps === undefined) throw new Error('fault-handler.cc does not say how many heaps there may be')
  return [
    ["heaps of the concurrent collector with `faults: 'sigbus'` in a process", heaps, 'ERR_NATIVE_HEAP'],
    ['threads of a heap', layout.MAX_MUTATORS, 'ERR_MUTATORS'],
    [
      'root areas of a heap at a time, those of handles, weak references and guardians (two for up to 768 guarded objects, two more each time that these about double) included',
      layout.MAX_AREAS,
      'ERR_ROOTS_EXHAUSTED',
    ],
    ['shapes of a heap', layout.MAX_SHAPES - layout.FIRST_SHAPE, 'ERR_BAD_SHAPE'],
    ['`ref` and `value` slots of all fixed shapes of a heap together', layout.MAX_SLOT_MAP, 'ERR_BAD_SHAPE'],
    ['bytes of a fixed object, header included', layout.MAX_FIXED_BYTES, 'ERR_BAD_SHAPE'],
    ['elements of an array', layout.MAX_ARRAY_LENGTH, 'ERR_BOUNDS'],
    ['bytes of one `m.reserve`', layout.MAX_RESERVED_BYTES, 'ERR_BOUNDS'],
  ].map(([what, most, error]) => {
    if (most === undefined || Number.isNaN(most)) throw new Error(`no limit is known of ${what}`)
    return [what, most, code(error)]
  })
}

function sameNames(what, documented, actual) {
  const missing = actual.filter((name) => !documented.includes(name))
  const gone = documented.filter((name) => !actual.includes(name))
  if (missing.length > 0) throw new Error(`${what} without documentation: ${missing.join(', ')}`)
  if (gone.length > 0) throw new Error(`${what} documented and not there: ${gone.join(', ')}`)
}

function render() {
  const header = readFileSync(new URL('../native/core/statistics/statistics.h', import.meta.url), 'utf8')
  const heap = Heap.create({ maxBytes: '1m', collector: 'none' })
  const stats = heap.stats()
  heap.close()
  const figures = Object.keys(STATISTICS_DOCS)
  sameNames(
    'statistics',
    [...Object.keys(OTHER_STATISTICS), ...figures.map((f) => f.split('.')[0])],
    Object.keys(stats),
  )
  sameNames('phases', Object.keys(PHASES), Object.keys(layout.Phase))
  const figureRows = (keep) =>
    Object.entries(STATISTICS_DOCS)
      .filter(([name]) => keep(name))
      .map(([n, doc]) => [code(n), doc])

  return `# Reference

Written by \`node scripts/write-reference.mjs\` from the tables in the code; a test compares them. [\`guide.md\`](guide.md)
says how to use it all. The calls are documented where they are declared, and editors show it.

## Options

\`Heap.create(options)\`. The table is exported as \`OPTIONS\`. A size is a number of bytes, or text such as \`'64m'\`, where k, m and g are
powers of 1024. Unknown, misspelled and unsuitable options are \`ERR_OPTION\`. \`heap.options\` has what was understood.

${table(['option', 'values', 'default', 'is'], optionRows(OPTIONS))}

## Limits

What no option changes. One more is an error:

${table(['what', 'at most', 'error'], limitRows())}

## Error codes

What the heap throws is a \`HeapError\` (but at the end of the stack, a \`RangeError\`, and where code from strings is forbidden,
an \`EvalError\`); errors of your callbacks pass through. Test its \`code\`; the \`message\` says what was received, the rule, and what to do. The table is
exported as \`ERROR_CODES\`.

${table(
  ['code', 'rule'],
  Object.entries(ERROR_CODES).map(([name, rule]) => [code(name), rule]),
)}

## Statistics

\`heap.stats()\`. The table is exported as \`STATISTICS_DOCS\`. A figure that a collector does not have is 0.

${table(
  ['figure', 'is'],
  figureRows((name) => !name.startsWith('pauses.')),
)}

Every stall that a thread can feel, in microseconds, as \`{ count, sum, p50, p99, p999, p9999, max, buckets }\`; \`buckets\` is the
histogram, the upper edge and the count of every bucket that is not empty:

${table(
  ['stall', 'is'],
  figureRows((name) => name.startsWith('pauses.')),
)}

And:

${table(
  ['member', 'is'],
  Object.entries(OTHER_STATISTICS).map(([name, doc]) => [code(name), doc]),
)}

### What the concurrent collector counts

\`heap.stats().raw.counters\`; names that end in \`Ns\` are nanoseconds.

${table(['counter', 'is'], nativeRows(header, 'GLISSADE_COUNTERS'))}

\`heap.stats().raw.histograms\`, in microseconds:

${table(['histogram', 'is'], nativeRows(header, 'GLISSADE_HISTOGRAMS'))}

## Phases

The phases of a cycle of the concurrent collector, in their order, as \`heap.stats().phase\` names them. Threads are stopped in two of
them, and for a moment at the end of \`prepare\` where nothing moves. [\`ARCHITECTURE.md\`](../ARCHITECTURE.md) says which file does what. A portable collection is one stop on the thread that needs it, and
its phase is always \`idle\`.

${table(
  ['phase', 'threads stopped', 'does'],
  Object.entries(PHASES).map(([name, [stopped, does]]) => [code(name.toLowerCase()), stopped, does]),
)}

\`heap.phaseLog()\` says when the latest collections (250 to 500 of them) entered each phase, oldest first: \`at\` in milliseconds of
\`performance.now()\`, \`phase\`, and what \`heap.stats()\` counted then: \`bytesUsed\`, \`barrierFaults\`, \`allocationStalls\` (the
count of \`pauses.allocationStall\`). Of a portable collection it has \`mark\`, \`prepare\` and \`compact\`, and \`idle\` for its end.
`
}

const text = render()
if (process.argv.includes('--check')) {
  if (readFileSync(target, 'utf8') !== text) {
    console.error('docs/reference.md is out of date: run node scripts/write-reference.mjs')
    process.exitCode = 1
  }
} else {
  writeFileSync(target, text)
}
