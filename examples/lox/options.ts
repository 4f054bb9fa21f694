// The command line of `lox`: one table gives the parser and the usage text.

import type { CollectorName, HeapOptions } from 'glissade'

export interface Options {
  file: string | null
  heap: HeapOptions
  stats: 'none' | 'text' | 'json'
  gcLog: boolean
  showCode: boolean
  snapshot: string | null
  help: boolean
}

interface Flag {
  /** How the value is called in the usage text; a flag without takes none. */
  readonly value?: string
  readonly doc: string
  readonly apply: (options: Options, value: string) => void
}

const FLAGS: { readonly [name: string]: Flag } = {
  '--heap': {
    value: 'SIZE',
    doc: 'budget of all objects, like 64m or 1g (default 256m)',
    apply: (options, value) => (options.heap.maxBytes = value),
  },
  '--collector': {
    value: 'NAME',
    doc: 'auto, concurrent, stop-the-world or none (default auto)',
    apply: (options, value) => (options.heap.collector = value as CollectorName),
  },
  '--stats': {
    doc: "the heap's statistics on standard error at exit; --stats=json as one JSON object",
    apply: (options, value) => (options.stats = value === 'json' ? 'json' : 'text'),
  },
  '--gc-log': { doc: 'a line on standard error for each collection', apply: (options) => (options.gcLog = true) },
  '--gc-stress': {
    doc: 'collect at every allocation site',
    apply: (options) => (options.heap.stress = { everySite: true }),
  },
  '--checked': { doc: 'check every access to the heap (slow)', apply: (options) => (options.heap.checked = true) },
  '--show-code': {
    doc: 'the generated JavaScript on standard error, before it runs',
    apply: (options) => (options.showCode = true),
  },
  '--snapshot': {
    value: 'FILE',
    doc: 'what is alive at exit, for the developer tools of Chrome',
    apply: (options, value) => (options.snapshot = value),
  },
  '--help': { doc: 'this text', apply: (options) => (options.help = true) },
}

export const USAGE = `Usage: lox [options] [FILE]

Runs FILE, or reads from the terminal if there is none.

${Object.entries(FLAGS)
  .map(([name, { value, doc }]) => `  ${(value ? `${name} ${value}` : name).padEnd(18)} ${doc}`)
  .join('\n')}
`

export class UsageError extends Error {}

export function parseOptions(args: readonly string[]): Options {
  const options: Options = {
    file: null,
    heap: {},
    stats: 'none',
    gcLog: false,
    showCode: false,
    snapshot: null,
    help: false,
  }
  for (let i = 0; i < args.length; i++) {
    const [name, ...rest] = args[i].split('=')
    const flag = Object.hasOwn(FLAGS, name) ? FLAGS[name] : undefined
    if (flag?.value) {
      const value = rest.length > 0 ? rest.join('=') : args[++i]
      if (value === undefined) throw new UsageError(`${name} takes a value: ${name} ${flag.value}`)
      flag.apply(options, value)
    } else if (flag) {
      if (rest.length > 0 && args[i] !== '--stats=json') throw new UsageError(`${name} takes no value: ${args[i]}`)
      flag.apply(options, rest.join('='))
    } else if (args[i].startsWith('-') && args[i] !== '-') {
      throw new UsageError(`unknown option ${args[i]}`)
    } else if (options.file !== null) {
      throw new UsageError('one file at a time')
    } else options.file = args[i]
  }
  return options
}
