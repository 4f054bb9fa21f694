// Lox as a library: one interpreter is one heap with one program's world in it.

import { Heap, HeapError, type ErrorCode, type HeapOptions } from 'glissade'
import { generate } from './codegen/generate.js'
import { LimitError, LoxError } from './runtime/errors.js'
import { Machine } from './runtime/machine.js'
import type { Output } from './runtime/output.js'
import { Runtime } from './runtime/runtime.js'
import { parse } from './syntax/parser.js'

export type Outcome = 'ok' | 'syntax error' | 'runtime error'

/** The callbacks may take their time, for no collection waits for them. None of them may call `run` of this interpreter. */
export interface LoxOptions {
  readonly heap?: HeapOptions
  /** Receives what `print` writes. */
  readonly output: Output
  /** Receives messages, as bytes in a string. */
  readonly error: (text: string) => void
  /** Receives the JavaScript that is generated. */
  readonly onText?: (text: string) => void
  /**
   * Is called after a collection, or several, when the program allocates next or ends. It may use the heap as any code
   * outside `heap.run` does.
   */
  readonly onCollection?: () => void
}

export class Lox {
  readonly heap: Heap
  readonly #runtime: Runtime
  readonly #output: Output
  readonly #error: (text: string) => void
  #running = false

  constructor({ heap, output, error, onText, onCollection }: LoxOptions) {
    this.heap = Heap.create(heap)
    this.#output = output
    this.#error = error
    try {
      this.#runtime = this.heap.run((m) => new Runtime(new Machine(this.heap, m, output, onCollection)))
    } catch (error) {
      this.heap.close()
      throw error
    }
    this.#runtime.onText = onText ?? null
  }

  /** Runs a program text, one character per byte. Globals stay for the next one. */
  run(source: string): Outcome {
    if (this.#running) {
      throw new Error(
        'Lox.run inside Lox.run: its frames are in use; let the callback return first, or make another Lox',
      )
    }
    const parsed = parse(source)
    if (!parsed.ok) {
      this.#error(parsed.errors.map((line) => line + '\n').join(''))
      return 'syntax error'
    }
    const { machine } = this.#runtime
    let stage: Outcome = 'syntax error'
    this.#running = true
    try {
      this.heap.run(() => {
        machine.publish(machine.base)
        const script = generate(this.#runtime, parsed.script)
        stage = 'runtime error'
        script(machine.base)
        // What its last frames held is alive no longer.
        machine.publish(machine.base)
        machine.reportCollections()
      })
      return 'ok'
    } catch (error) {
      this.#output.flush()
      const { text, outcome } = explain(error, stage)
      this.#error(text)
      return outcome
    } finally {
      this.#running = false
    }
  }

  /**
   * Writes what is alive as a file for the developer tools of Chrome, under the names that the program has for it. After a
   * run-time error what was on the stack is alive still.
   */
  writeSnapshot(file: string): void {
    const { objects, strings } = this.#runtime
    this.heap.writeSnapshot(file, {
      className: (ref, m) => objects.className(m.shapeOf(ref)),
      slotName: (ref, slot, m) => objects.fieldName(m.shapeOf(ref), slot),
      text: (ref, m) => (strings.isString(ref) ? m.readString(ref) : undefined),
    })
  }

  /** Whether more text might complete this one: for a REPL. */
  static isIncomplete(source: string): boolean {
    const parsed = parse(source)
    return !parsed.ok && parsed.incomplete
  }

  close(): void {
    this.heap.close()
  }
}

/** What went wrong, in Lox's words. Anything but an error of the Lox program is passed on. */
function explain(error: unknown, stage: Outcome): { text: string; outcome: Outcome } {
  if (error instanceof LoxError) return { text: error.report(), outcome: stage }
  if (error instanceof RangeError && /call stack/.test(error.message)) {
    // The parser has a limit for nesting, and a running program one for its depth (runtime/machine.ts): the embedder's own
    // frames have left less of the stack than these reckon with.
    return { text: stage === 'syntax error' ? 'Error: Code nests too deeply.\n' : 'Stack overflow.\n', outcome: stage }
  }
  const limit = error instanceof LimitError ? error.what : error instanceof HeapError ? LIMITS[error.code] : undefined
  if (limit === undefined) throw error
  if (limit === 'memory') return { text: 'Out of memory.\n', outcome: 'runtime error' }
  return { text: 'Program too large.\n', outcome: stage }
}

/** What the heap has no room for any more: objects, or what describes the program text: shapes and root areas. */
const LIMITS: { readonly [code in ErrorCode]?: LimitError['what'] } = {
  ERR_HEAP_EXHAUSTED: 'memory',
  ERR_BAD_SHAPE: 'program',
  ERR_ROOTS_EXHAUSTED: 'program',
}
