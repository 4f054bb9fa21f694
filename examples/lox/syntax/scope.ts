// Which variable a name means: one FunctionScope per function being parsed, innermost first.
//
// Resolution happens while parsing, because its errors are part of the token-by-token order in which Lox reports them.

import type { Capture, Expr, FunctionNode, Local, Variable } from './ast.js'
import { ChunkMeter } from './chunk-meter.js'

const MAX_LOCALS = 256
const MAX_CAPTURES = 256
/** The depth of a variable whose initializer is being parsed. */
const UNINITIALIZED = -1

export type ReportError = (message: string) => void

interface Entry {
  readonly name: string
  local: Local
  depth: number
}

export class FunctionScope {
  readonly enclosing: FunctionScope | null
  readonly node: FunctionNode
  readonly meter: ChunkMeter
  readonly #error: ReportError
  readonly #entries: Entry[] = []
  /** Sets of the loops around the current token: each collects the variables it assigns. */
  readonly #loops: Set<Local>[] = []
  #depth = 0

  constructor(enclosing: FunctionScope | null, kind: FunctionNode['kind'], name: string, error: ReportError) {
    this.enclosing = enclosing
    this.#error = error
    this.meter = new ChunkMeter(error)
    const isMethod = kind === 'method' || kind === 'initializer'
    const node = {
      kind,
      name,
      parameters: [],
      locals: [],
      captures: [],
      body: [],
      size: 0,
      sizes: new Map(),
      endLine: 0,
    }
    const self: Local = {
      name: isMethod ? 'this' : '',
      owner: node as unknown as FunctionNode,
      initial: 'other',
      assignments: [],
      captured: false,
    }
    this.node = Object.assign(node, { self })
    this.#entries.push({ name: self.name, local: self, depth: 0 })
  }

  get atTopLevel(): boolean {
    return this.#depth === 0
  }

  begin(): void {
    this.#depth++
  }
  end(): void {
    this.#depth--
    const entries = this.#entries
    while (entries.length > 0 && entries[entries.length - 1].depth > this.#depth) {
      entries.pop()
      this.meter.emit(1)
    }
  }

  enterLoop(): ReadonlySet<Local> {
    const assigned = new Set<Local>()
    this.#loops.push(assigned)
    return assigned
  }
  leaveLoop(): void {
    this.#loops.pop()
  }

  /** Takes a name in the current block; it can be read once `define` has said what it starts as. */
  declare(name: string): void {
    for (let i = this.#entries.length - 1; i >= 0; i--) {
      const entry = this.#entries[i]
      if (entry.depth !== UNINITIALIZED && entry.depth < this.#depth) break
      if (entry.name === name) this.#error('Already a variable with this name in this scope.')
    }
    this.add(name)
  }
  /** `declare` without the check: for `super`. */
  add(name: string): void {
    if (this.#entries.length === MAX_LOCALS) {
      this.#error('Too many local variables in function.')
      return
    }
    this.#entries.push({ name, local: this.#newLocal(name, 'other'), depth: UNINITIALIZED })
  }
  /** The name declared last begins to exist. */
  define(initial: Local['initial']): Local {
    const entry = this.#entries[this.#entries.length - 1]
    entry.depth = this.#depth
    if (initial !== 'other') entry.local = this.#newLocal(entry.name, initial)
    this.node.locals.push(entry.local)
    return entry.local
  }
  #newLocal(name: string, initial: Local['initial']): Local {
    return { name, owner: this.node, initial, assignments: [], captured: false }
  }

  resolve(name: string): Variable {
    const local = this.#resolveLocal(name)
    if (local) return { kind: 'local', local }
    const index = this.#resolveCapture(name)
    if (index >= 0) return { kind: 'captured', local: this.node.captures[index].local, index }
    this.meter.constant()
    return { kind: 'global', name }
  }

  assign(variable: Variable, value: Expr): void {
    if (variable.kind === 'global') return
    variable.local.assignments.push(value)
    if (variable.kind === 'local') for (const loop of this.#loops) loop.add(variable.local)
  }

  #resolveLocal(name: string): Local | null {
    for (let i = this.#entries.length - 1; i >= 0; i--) {
      const entry = this.#entries[i]
      if (entry.name !== name) continue
      if (entry.depth === UNINITIALIZED) this.#error("Can't read local variable in its own initializer.")
      return entry.local
    }
    return null
  }

  #resolveCapture(name: string): number {
    const { enclosing } = this
    if (!enclosing) return -1
    const local = enclosing.#resolveLocal(name)
    if (local) {
      local.captured = true
      return this.#capture({ local, from: 'local' })
    }
    const index = enclosing.#resolveCapture(name)
    if (index < 0) return -1
    return this.#capture({ local: enclosing.node.captures[index].local, from: index })
  }

  #capture(capture: Capture): number {
    const { captures } = this.node
    const known = captures.findIndex((c) => c.local === capture.local)
    if (known >= 0) return known
    if (captures.length === MAX_CAPTURES) {
      this.#error('Too many closure variables in function.')
      return 0
    }
    return captures.push(capture) - 1
  }
}
