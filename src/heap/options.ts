// The options of a heap: one table from which the parser, the types and the documentation come.
//
// Options are read once, at creation, on the creating thread; nothing about a heap changes later.

import { HeapError, show, suggest } from './errors.js'

const MiB = 1024 * 1024
const GiB = 1024 * MiB

interface SizeSpec {
  readonly kind: 'size'
  readonly default: number
  readonly min: number
  readonly max: number
  readonly doc: string
}
interface IntegerSpec {
  readonly kind: 'integer'
  readonly default: number
  readonly min: number
  readonly max: number
  readonly doc: string
}
interface RatioSpec {
  readonly kind: 'ratio'
  readonly default: number
  readonly min: number
  readonly max: number
  readonly doc: string
}
interface FlagSpec {
  readonly kind: 'flag'
  readonly default: boolean
  readonly doc: string
}
interface ChoiceSpec {
  readonly kind: 'choice'
  readonly default: string
  readonly choices: readonly string[]
  readonly doc: string
}
interface GroupSpec {
  readonly kind: 'group'
  readonly members: { readonly [name: string]: IntegerSpec | FlagSpec }
  readonly doc: string
}
type Spec = SizeSpec | IntegerSpec | RatioSpec | FlagSpec | ChoiceSpec | GroupSpec

/** Every option of `Heap.create`. */
export const OPTIONS = {
  maxBytes: {
    kind: 'size',
    default: 256 * MiB,
    min: MiB,
    max: 4 * GiB,
    doc: 'Byte budget of all objects. Live data beyond it is ERR_HEAP_EXHAUSTED.',
  },
  collector: {
    kind: 'choice',
    default: 'auto',
    choices: ['auto', 'concurrent', 'stop-the-world', 'none'],
    doc: "'auto': concurrent where the kernel allows it, else stop-the-world; capabilities say which and why.",
  },
  relocation: {
    kind: 'choice',
    default: 'auto',
    choices: ['auto', 'move', 'copy'],
    doc: "How the concurrent collector places pages: 'move' is strict UFFDIO_MOVE, 'copy' serves kernels before 6.8.",
  },
  faults: {
    kind: 'choice',
    default: 'sigbus',
    choices: ['sigbus', 'thread'],
    doc: 'Who serves page faults of mutators: a signal handler on their own thread, or a thread of the collector.',
  },
  growth: {
    kind: 'ratio',
    default: 2,
    min: 1.25,
    max: 100,
    doc: 'How far the heap grows between collections: to so many times what lives. More is fewer collections; the bound is `maxBytes`.',
  },
  collectorThreads: {
    kind: 'integer',
    default: 0,
    min: 0,
    max: 16,
    doc: 'Threads of the concurrent collector, all but the first at low priority; 0: one per processor, 4 at most, and of those as many at a time as bring more than they cost.',
  },
  checked: {
    kind: 'flag',
    default: false,
    doc: 'Check every access (object start, shape, bounds, staleness, inside run). Slow; finds missing roots.',
  },
  maxRootBytes: {
    kind: 'size',
    default: 32 * MiB,
    min: 64 * 1024,
    max: GiB,
    doc: 'Address space for root areas: stacks, tables, handles. Memory is committed as it is used.',
  },
  stress: {
    kind: 'group',
    doc: 'Collect more often than needed, to find missing roots.',
    members: {
      everyAllocations: {
        kind: 'integer',
        default: 0,
        min: 0,
        max: 2 ** 31 - 1,
        doc: 'Collect at every n-th allocation; 0: never.',
      },
      everyBytes: {
        kind: 'integer',
        default: 0,
        min: 0,
        max: 2 ** 31 - 1,
        doc: 'Collect whenever so many bytes have been allocated, headers included; 0: never.',
      },
      everySite: {
        kind: 'flag',
        default: false,
        doc: 'Collect at the first allocation of each distinct call stack (its innermost frames).',
      },
      sitePeriod: {
        kind: 'integer',
        default: 0,
        min: 0,
        max: 2 ** 31 - 1,
        doc: 'Collect at the first allocation of each distinct call stack, and at every n-th one from there on; 0: never.',
      },
      everySafepoint: { kind: 'flag', default: false, doc: 'Collect at every safepoint, and at every entry into run.' },
    },
  },
  verify: {
    kind: 'integer',
    default: 0,
    min: 0,
    max: 4,
    doc: 'How much the concurrent collector checks itself at phase boundaries: 1 roots, 2 marking, 3 forwarding, 4 every page.',
  },
  protect: {
    kind: 'flag',
    default: false,
    doc: 'For tests: memory that the concurrent collector frees is out of reach at once, and all but large objects move in every collection. A Ref that was kept too long ends the process with a report.',
  },
  stepping: {
    kind: 'flag',
    default: false,
    doc: 'For tests: the concurrent collector waits at gates that `step` of glissade/testing lets it pass.',
  },
} as const satisfies { readonly [name: string]: Spec }

type Table = typeof OPTIONS
type InputOf<S> = S extends { kind: 'size' }
  ? number | string
  : S extends { kind: 'integer' | 'ratio' }
    ? number
    : S extends { kind: 'flag' }
      ? boolean
      : S extends { choices: readonly (infer C)[] }
        ? C
        : S extends { members: infer M }
          ? { -readonly [K in keyof M]?: InputOf<M[K]> }
          : never
type ParsedOf<S> = S extends { kind: 'size' | 'integer' | 'ratio' }
  ? number
  : S extends { kind: 'flag' }
    ? boolean
    : S extends { choices: readonly (infer C)[] }
      ? C
      : S extends { members: infer M }
        ? { readonly [K in keyof M]: ParsedOf<M[K]> }
        : never

/** What `Heap.create` takes. Sizes are bytes, or text such as `'64m'` and `'1g'` (k, m, g are powers of 1024). */
export type HeapOptions = { -readonly [K in keyof Table]?: InputOf<Table[K]> }
/** The same after parsing: every option present, sizes in bytes. */
export type ParsedOptions = { readonly [K in keyof Table]: ParsedOf<Table[K]> }

/** The parsed options, or a HeapError (ERR_OPTION) that names the first one at fault. */
export function parseOptions(input: HeapOptions = {}): ParsedOptions {
  const options = parseTable(OPTIONS, input, '') as ParsedOptions
  checkPromises(options)
  return options
}

/** What only the concurrent collector can keep is refused where another one was asked for by name. */
function checkPromises({ collector, relocation, protect }: ParsedOptions): void {
  if (collector !== 'stop-the-world' && collector !== 'none') return
  const broken = relocation === 'move' ? "relocation 'move'" : protect ? 'protect: true' : undefined
  if (broken === undefined) return
  throw optionError(
    `option ${broken} is something that the concurrent collector does, and collector is '${collector}': leave out one of them`,
  )
}

function parseTable(table: { readonly [name: string]: Spec }, input: unknown, prefix: string): Record<string, unknown> {
  if (input === null || typeof input !== 'object' || Array.isArray(input)) {
    throw optionError(
      `${prefix === '' ? 'Heap.create' : `option ${prefix.slice(0, -1)}`} takes an object of options; got ${show(input)}`,
    )
  }
  const given = input as Record<string, unknown>
  for (const name of Object.keys(given)) {
    if (Object.hasOwn(table, name)) continue
    const near = suggest(name, Object.keys(table))
    const remedy = near ? `did you mean '${prefix}${near}'?` : `known options: ${Object.keys(table).join(', ')}`
    // A name that is no word, or a very long one, is shown as the text that it is.
    const shown = /^\w{1,60}$/.test(name) ? `'${prefix}${name}'` : show(prefix + name)
    throw optionError(`unknown option ${shown}: ${remedy}`)
  }
  const parsed: Record<string, unknown> = {}
  for (const [name, spec] of Object.entries(table)) {
    parsed[name] = parseOne(prefix + name, spec, given[name])
  }
  return Object.freeze(parsed)
}

function parseOne(name: string, spec: Spec, value: unknown): unknown {
  if (spec.kind === 'group') return parseTable(spec.members, value === undefined ? {} : value, name + '.')
  if (value === undefined) return spec.default
  switch (spec.kind) {
    case 'flag':
      if (typeof value !== 'boolean') throw optionError(`option ${name} is true or false; got ${show(value)}`)
      return value
    case 'choice': {
      if (typeof value === 'string' && spec.choices.includes(value)) return value
      const near = typeof value === 'string' ? suggest(value, spec.choices) : undefined
      const list = spec.choices.map((c) => `'${c}'`).join(', ')
      throw optionError(
        `option ${name} is one of ${list}; got ${show(value)}${near ? `: did you mean '${near}'?` : ''}`,
      )
    }
    case 'integer':
      if (typeof value !== 'number' || !Number.isInteger(value)) {
        throw optionError(`option ${name} is a whole number; got ${show(value)}`)
      }
      return between(name, spec, value)
    case 'ratio':
      if (typeof value !== 'number' || Number.isNaN(value)) {
        throw optionError(`option ${name} is a number; got ${show(value)}`)
      }
      return between(name, spec, value)
    case 'size': {
      const bytes = parseSize(name, value)
      if (bytes < spec.min) {
        throw optionError(`option ${name} is at least ${showSize(spec.min)}; got ${show(value)}`)
      }
      if (bytes > spec.max) {
        throw optionError(`option ${name} is at most ${showSize(spec.max)}; got ${show(value)}`)
      }
      return bytes
    }
  }
}

function between(name: string, { min, max }: IntegerSpec | RatioSpec, value: number): number {
  if (value < min || value > max) throw optionError(`option ${name} lies between ${min} and ${max}; got ${value}`)
  return value
}

/** Bytes of a size given as a number or as text like `'64m'`; each way of being wrong has its own sentence. */
export function parseSize(name: string, value: unknown): number {
  if (typeof value === 'string') {
    const match = /^\s*(-?\d+(?:\.\d+)?)\s*([kmg]?)(?:i?b)?\s*$/i.exec(value)
    if (!match) {
      throw optionError(
        `option ${name}: ${show(value)} is not a size; write bytes, or a number with k, m or g, like '64m'`,
      )
    }
    const unit = { '': 1, k: 1024, m: MiB, g: GiB }[match[2].toLowerCase()] as number
    value = Number(match[1]) * unit
  }
  if (typeof value !== 'number') {
    throw optionError(`option ${name} is a size in bytes or text like '64m'; got ${show(value)}`)
  }
  if (Number.isNaN(value)) throw optionError(`option ${name} is NaN; a size is a number of bytes or text like '64m'`)
  if (value === 0) throw optionError(`option ${name} is 0; a heap needs room: give bytes or text like '64m'`)
  if (value < 0) throw optionError(`option ${name} is negative (${value}); a size is a positive number of bytes`)
  if (value === Infinity) throw optionError(`option ${name} is Infinity; a size is a finite number of bytes`)
  if (!Number.isInteger(value)) throw optionError(`option ${name} is not a whole number of bytes (${value})`)
  return value
}

/** `'64m'` for 67108864: the shortest exact form. */
export function showSize(bytes: number): string {
  for (const [unit, letter] of [
    [GiB, 'g'],
    [MiB, 'm'],
    [1024, 'k'],
  ] as const) {
    if (bytes >= unit && bytes % unit === 0) return `${bytes / unit}${letter}`
  }
  return `${bytes} bytes`
}

function optionError(message: string): HeapError {
  return new HeapError('ERR_OPTION', message)
}
