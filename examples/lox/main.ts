#!/usr/bin/env node
// The `lox` command. Exit codes are those of sysexits.h, as in the book: 64 usage, 65 syntax error, 70 run-time error, 74
// a file that cannot be read or written. Nothing is written to standard error unless the program fails or an option asks for it.

import { fstatSync, readFileSync } from 'node:fs'
import { HeapError } from 'glissade'
import { Lox, type Outcome } from './lox.js'
import { parseOptions, USAGE, UsageError, type Options } from './options.js'
import { BufferedOutput, writeAll } from './runtime/output.js'
import { describeCollection, describeStatistics } from './statistics.js'

const EXIT: { readonly [outcome in Outcome]: number } = { ok: 0, 'syntax error': 65, 'runtime error': 70 }
const EXIT_USAGE = 64
const EXIT_IO = 74

/** Where this fails as well nobody can be told; the exit code still says what happened. */
const warn = (text: string, encoding: BufferEncoding = 'utf8'): void => {
  try {
    writeAll(2, Buffer.from(text, encoding))
  } catch {
    // A full disk, a terminal that is gone.
  }
}

class Exit extends Error {
  constructor(
    readonly code: number,
    readonly text: string,
  ) {
    super(text)
  }
}

function readSource(file: string): string {
  try {
    return readFileSync(file, 'latin1')
  } catch (error) {
    const verb = (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'open' : 'read'
    throw new Exit(EXIT_IO, `Could not ${verb} file "${file}".\n`)
  }
}

function print(bytes: Uint8Array): void {
  try {
    writeAll(1, bytes)
  } catch (error) {
    throw new Exit(EXIT_IO, `Could not write to standard output (${(error as NodeJS.ErrnoException).code}).\n`)
  }
}

function readOptions(): Options {
  try {
    return parseOptions(process.argv.slice(2))
  } catch (error) {
    if (error instanceof UsageError) throw new Exit(EXIT_USAGE, `${error.message}\n${USAGE}`)
    throw error
  }
}

function open(options: Options, output: BufferedOutput): Lox {
  const start = performance.now()
  try {
    const lox: Lox = new Lox({
      heap: options.heap,
      output,
      error: (bytes) => warn(bytes, 'latin1'),
      ...(options.showCode && { onText: (text: string) => warn(text + '\n') }),
      ...(options.gcLog && {
        onCollection: () => warn(describeCollection(lox.heap.stats(), (performance.now() - start) / 1000)),
      }),
    })
    return lox
  } catch (error) {
    if (error instanceof HeapError)
      throw new Exit(EXIT_USAGE, `lox: ${error.message.replace('option maxBytes', 'option --heap')}\n`)
    throw error
  }
}

function writeSnapshot(lox: Lox, file: string): void {
  try {
    lox.writeSnapshot(file)
  } catch (error) {
    if (!(error instanceof HeapError) || error.code !== 'ERR_SNAPSHOT') throw error
    const { code } = error.cause as NodeJS.ErrnoException
    throw new Exit(EXIT_IO, `Could not write file "${file}" (${code}).\n`)
  }
}

/** Asked of the file first, because `process.stdout` takes milliseconds to come into being. */
function isTerminal(descriptor: 1): boolean {
  return fstatSync(descriptor).isCharacterDevice() && process.stdout.isTTY
}

async function main(): Promise<number> {
  const options = readOptions()
  if (options.help) {
    print(Buffer.from(USAGE))
    return 0
  }
  const source = options.file === null ? null : readSource(options.file)
  const output = new BufferedOutput(print, isTerminal(1))
  const lox = open(options, output)
  let outcome: Outcome = 'ok'
  try {
    if (source === null) {
      const { repl } = await import('./repl.js')
      await repl(lox, output)
    } else outcome = lox.run(source)
    output.flush()
    if (options.snapshot !== null) writeSnapshot(lox, options.snapshot)
    return EXIT[outcome]
  } finally {
    if (options.stats === 'json') warn(JSON.stringify(lox.heap.stats()) + '\n')
    if (options.stats === 'text') warn(describeStatistics(lox.heap.stats()))
    lox.close()
  }
}

/** No `await` at the top: the command is also built as one CommonJS file, which starts in half the time. */
main().then(
  (code) => (process.exitCode = code),
  (error: unknown) => {
    if (!(error instanceof Exit)) throw error
    warn(error.text)
    process.exitCode = error.code
  },
)
