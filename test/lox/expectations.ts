// What a Lox test file expects, read from its comments, and what a run of it gave instead.
//
//   // expect: TEXT                     a line of standard output
//   // expect runtime error: MESSAGE    a run-time error on this line (or `error [line N]:`; `?`: on any)
//   // expect trace: [line N] in f()    a line of its stack trace, innermost first
//   // expect error at 'x': MESSAGE     a syntax error on this line; after `[line N]`, on that line
//
// Files are bytes; text here is one character per byte.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { HeapOptions } from 'glissade'
import { Lox, type LoxOptions, type Outcome } from '../../dist/examples/lox/lox.js'
import { BufferedOutput } from '../../dist/examples/lox/runtime/output.js'

export interface Result {
  readonly outcome: Outcome
  readonly output: string
  readonly errors: string
}

/** Runs a program text in a heap of its own. */
export function runLox(source: string, heap: HeapOptions = {}): Result {
  let output = ''
  let errors = ''
  const buffered = new BufferedOutput((bytes) => (output += Buffer.from(bytes).toString('latin1')))
  const lox = new Lox({
    heap: { maxBytes: '4m', maxRootBytes: '1m', ...heap },
    output: buffered,
    error: (text) => (errors += text),
  })
  try {
    const outcome = lox.run(source)
    buffered.flush()
    return { outcome, output, errors }
  } finally {
    lox.close()
  }
}

export interface Session {
  readonly lox: Lox
  output: string
  errors: string
}

/** An interpreter in a small heap, whose output and messages are collected. */
export function open(options: Partial<LoxOptions> = {}): Session & Disposable {
  const session: Session & Disposable = {
    output: '',
    errors: '',
    lox: new Lox({
      heap: { maxBytes: '1m', maxRootBytes: '1m', collector: 'stop-the-world' },
      output: new BufferedOutput((bytes) => (session.output += Buffer.from(bytes).toString('latin1')), true),
      error: (text) => (session.errors += text),
      ...options,
    }),
    [Symbol.dispose]: () => session.lox.close(),
  }
  return session
}

export interface Expected {
  readonly outcome: Outcome
  readonly output: string
  /** The first lines of standard error. */
  readonly errors: readonly string[]
}

export function readExpected(source: string): Expected {
  const output: string[] = []
  const syntax: string[] = []
  const trace: string[] = []
  let runtime: { message: string; line: number | '?' } | undefined
  source.split('\n').forEach((text, index) => {
    const line = index + 1
    let match
    if ((match = /\/\/ expect: ?(.*)$/.exec(text))) output.push(match[1])
    else if ((match = /\/\/ expect trace: (.*)$/.exec(text))) trace.push(match[1])
    else if ((match = /\/\/ expect runtime error(?: \[line (\d+|\?)\])?: (.*)$/.exec(text))) {
      runtime = { message: match[2], line: match[1] === '?' ? '?' : Number(match[1] ?? line) }
    } else if ((match = /\/\/ (?:\[line (\d+)\] )?expect error(.*?): (.*)$/.exec(text))) {
      syntax.push(`[line ${match[1] ?? line}] Error${match[2]}: ${match[3]}`)
    }
  })
  const outcome = syntax.length > 0 ? 'syntax error' : runtime ? 'runtime error' : 'ok'
  const errors = runtime
    ? [runtime.message, ...(trace.length > 0 ? trace : [runtime.line === '?' ? '[line' : `[line ${runtime.line}] in`])]
    : syntax
  return { outcome, output: output.map((text) => text + '\n').join(''), errors }
}

/** Says how a result differs from what is expected; null if it does not. */
export function differences(expected: Expected, { outcome, output, errors }: Result): string | null {
  const said: string[] = []
  if (outcome !== expected.outcome) said.push(`ended in ${outcome}, expected ${expected.outcome}`)
  if (output !== expected.output) said.push(`printed\n${output}expected\n${expected.output}`)
  const lines = errors === '' ? [] : errors.trimEnd().split('\n')
  const exact = expected.outcome !== 'runtime error'
  const matches = expected.errors.every((line, i) => (exact ? lines[i] === line : lines[i]?.startsWith(line)))
  if (!matches || (exact && lines.length !== expected.errors.length)) {
    said.push(`reported\n${errors.slice(0, 1000)}\nexpected\n${expected.errors.join('\n')}`)
  }
  return said.length > 0 ? said.join('\n') : null
}

/** The test files below a folder, by the folder they are in. */
export function testFiles(root: string): Map<string, { name: string; source: string }[]> {
  const groups = new Map<string, { name: string; source: string }[]>()
  for (const folder of readdirSync(root)) {
    const files = readdirSync(join(root, folder)).filter((name) => name.endsWith('.lox'))
    groups.set(
      folder,
      files.map((name) => ({ name, source: readFileSync(join(root, folder, name), 'latin1') })),
    )
  }
  return groups
}
