// The text of one function and the frame it runs in: lines, slots, JavaScript locals, and what is known of variables.
//
// Slots are given out like a stack. JavaScript locals hold only doubles, booleans and integers that no collection can
// change: that is why they survive safepoints without being told to anybody. A raw reference is read from its slot, used
// at once, and forgotten. Locals are declared once at the top and used again and again, because V8's first tier keeps a
// register for each.

import { lineMark } from '../runtime/code-map.js'
import type { FunctionNode, Local } from '../syntax/ast.js'
import { frameSlot, type Operand, type Slot, type SlotOperand } from './operands.js'
import type { FunctionInfo, Program } from './program.js'

/** Stands in the text for the end of the frame, which is known only when the text is complete. */
const TOP = '@TOP@'
const LIMIT = '@LIMIT@'

/**
 * A function that neither calls nor loops does not check the stack: whoever calls it has made sure that there are this
 * many slots above his own.
 */
const LEAF_SLOTS = 32

/** What is known of a variable at a point of the text: its mirror holds its slot; and its value is a number. */
type Fact = 'mirrored' | 'number'
export type Facts = { readonly locals: Map<Local, Fact>; readonly globals: Set<string> }

/**
 * Views that a function with a loop binds to locals of its own: V8 enters a running loop by on-stack replacement, and code
 * compiled for that does not take constants of the enclosing function for constants.
 */
const VIEWS = ['slots', 'words', 'i32', 'f64', 'cards', 'control', 'cache', 'targets']
/** Declares the outer names of {@link VIEWS} for such functions. */
export const OUTER_VIEWS = `const ${VIEWS.map((view) => `$${view} = ${view}`).join(', ')}`
const BIND_VIEWS = `  const ${VIEWS.map((view) => `${view} = $${view}`).join(', ')}`

type TemporaryKind = 't' | 'k' | 'b'

export class FrameWriter {
  readonly program: Program
  readonly info: FunctionInfo
  readonly node: FunctionNode
  protected lines: string[] = []
  #indent = 1
  #next: number
  #size: number
  /** Calls start no lower than this: frames must be long enough for their JavaScript frames (runtime/machine.ts). */
  readonly #firstCall: number
  readonly #homes = new Map<Local, number>()
  #locals = new JsLocals()
  #mostLocals = 0
  /** JavaScript functions around the text being written, and the most there were. */
  #nesting = 1
  #mostNesting = 1
  #facts: Facts = { locals: new Map(), globals: new Set() }
  protected hasLoop = false
  protected makesCalls = false

  constructor(program: Program, info: FunctionInfo, firstCall: number) {
    this.program = program
    this.info = info
    this.node = info.node
    this.#firstCall = firstCall
    this.#next = 1
    this.#homes.set(this.node.self, 0)
    for (const parameter of this.node.parameters) this.#homes.set(parameter, this.#next++)
    if (info.closureSlot > 0) this.#next++
    this.#size = this.#next
  }

  // ---- lines

  protected emit(text: string): void {
    this.lines.push('  '.repeat(this.#indent) + text)
  }
  /** Emits text that can fail or call: stack traces show it as Lox line `line`. */
  protected emitAt(line: number, text: string): void {
    this.lines.push('  '.repeat(this.#indent) + lineMark(line) + ' ' + text)
  }
  /** The same inside an expression: the rest of the text goes to a line of its own. */
  protected at(line: number): string {
    return `\n${'  '.repeat(this.#indent + 1)}${lineMark(line)} `
  }
  protected block(head: string, body: () => void, tail = '}'): void {
    this.emit(`${head} {`)
    this.#indent++
    body()
    this.#indent--
    this.emit(tail)
  }
  /** Runs `body` and returns what it emitted instead of keeping it. */
  protected capture(body: () => void): string[] {
    const outer = this.lines
    this.lines = []
    this.#indent++
    body()
    this.#indent--
    const inner = this.lines
    this.lines = outer
    return inner
  }

  // ---- slots

  /** A number of consecutive slots above all that are in use; returns the first. */
  protected takeSlots(count: number): number {
    const first = this.#next
    this.#next += count
    if (this.#next > this.#size) this.#size = this.#next
    return first
  }
  /**
   * The first slot of a call with `count` arguments, −1 if it is the only one to be taken now: `wanted`, if that is the
   * last slot in use and high enough.
   */
  protected takeCallSlots(count: number, wanted: number | null): number {
    this.makesCalls = true
    // A slot more than callee and arguments: a method may find its closure there.
    if (wanted !== null && wanted === this.#next - 1 && wanted >= this.#firstCall) {
      this.takeSlots(count + 1)
      return wanted
    }
    if (this.#next < this.#firstCall) this.takeSlots(this.#firstCall - this.#next)
    return this.takeSlots(count + 2)
  }
  /** Gives back the slots and temporaries that `body` takes. */
  protected scoped<T>(body: () => T): T {
    const next = this.#next
    const inUse = { ...this.#locals.inUse }
    const result = body()
    this.#next = next
    this.#locals.inUse = inUse
    return result
  }
  /** Gives back all slots above `offset`: a call is over, and only its result counts. */
  protected releaseAbove(offset: number): void {
    this.#next = offset + 1
  }
  protected temporarySlot(): Slot {
    return frameSlot(this.takeSlots(1))
  }

  protected get top(): string {
    return TOP
  }
  /** The text of the compare that is stack check and poll at once. */
  protected get checkStack(): string {
    return LIMIT
  }

  // ---- JavaScript locals

  /** A temporary: `t` for a double, `k` for an integer, `b` for a boolean. */
  protected temporary(kind: TemporaryKind): string {
    return this.#locals.take(kind)
  }
  /** The JavaScript local of a variable: its value, or the mirror of its slot. */
  protected mirror(local: Local): string {
    return this.#locals.mirror(local)
  }

  // ---- variables

  protected home(local: Local): Slot {
    return frameSlot(this.#homes.get(local)!)
  }
  protected homeOffset(local: Local): number {
    return this.#homes.get(local)!
  }
  protected giveHome(local: Local): number {
    const offset = this.takeSlots(1)
    this.#homes.set(local, offset)
    return offset
  }
  protected get closure(): Slot {
    return frameSlot(this.info.closureSlot)
  }

  // ---- facts

  protected fact(local: Local): Fact | undefined {
    return this.#facts.locals.get(local)
  }
  protected learn(local: Local, fact: Fact): void {
    this.#facts.locals.set(local, fact)
  }
  protected forget(local: Local): void {
    this.#facts.locals.delete(local)
  }
  /** An operation succeeded that fails unless the operand is a number. */
  protected narrow(operand: Operand): void {
    if (operand.kind === 'slot' && operand.local && this.fact(operand.local)) this.learn(operand.local, 'number')
  }
  protected isDefined(name: string): boolean {
    return this.#facts.globals.has(name)
  }
  protected learnDefined(name: string): void {
    this.#facts.globals.add(name)
  }
  protected get facts(): Facts {
    return this.#facts
  }
  protected set facts(facts: Facts) {
    this.#facts = facts
  }
  protected copyFacts(): Facts {
    return { locals: new Map(this.#facts.locals), globals: new Set(this.#facts.globals) }
  }
  /** Where two paths meet only what both know holds. */
  protected mergeFacts(other: Facts): void {
    const { locals, globals } = this.#facts
    for (const [local, fact] of locals) {
      const there = other.locals.get(local)
      if (!there) locals.delete(local)
      else if (there !== fact) locals.set(local, 'mirrored')
    }
    for (const name of globals) if (!other.globals.has(name)) globals.delete(name)
  }
  protected forgetAll(): void {
    this.#facts = { locals: new Map(), globals: new Set(this.#facts.globals) }
  }

  // ---- operands as text

  /** The operand as a double: NaN unless it is a number. May emit a load. */
  protected view(operand: Operand): string {
    if (operand.kind === 'number') return operand.js
    const { slot, view, local } = this.inSlot(operand)
    if (view) return view
    if (local) {
      const mirror = this.mirror(local)
      if (!this.fact(local)) {
        this.emit(`${mirror} = ${slot.value}`)
        this.learn(local, 'mirrored')
      }
      return mirror
    }
    const t = this.temporary('t')
    this.emit(`${t} = ${slot.value}`)
    return t
  }

  /** The operand in a slot, wherever it is; a temporary one if it is in none. */
  protected inSlot(operand: Operand): SlotOperand {
    if (operand.kind === 'slot') return operand
    const slot = this.temporarySlot()
    this.store(operand, slot)
    return { kind: 'slot', slot, origin: 'temporary' }
  }
  /** Emits the store of the operand into the slot, unless it is there already. */
  protected store(operand: Operand, slot: Slot): void {
    if (operand.kind === 'slot' && operand.slot.index === slot.index) return
    this.emit(`${slot.value} = ${this.content(operand)}`)
  }
  /** What to assign to a place that holds values. */
  protected content(operand: Operand): string {
    const { cells } = this.program
    switch (operand.kind) {
      case 'number':
        return operand.js
      case 'boolean':
        return `slots[${operand.js} ? ${cells.true} : ${cells.false}]`
      case 'nil':
        return `slots[${cells.nil}]`
      case 'slot':
        return operand.slot.value
    }
  }

  // ---- the whole

  /** Moves what `body` emits into a JavaScript function of its own, which runs in the same frame. */
  protected piece(name: string, body: () => void): string {
    const outer = this.#locals
    this.#locals = new JsLocals()
    this.forgetAll()
    this.#mostNesting = Math.max(this.#mostNesting, ++this.#nesting)
    const lines = this.capture(body)
    this.#nesting--
    const text = this.#function(name, lines)
    this.forgetAll()
    this.#locals = outer
    return text
  }

  /** The JavaScript frames that stand for one frame of the function at most, and the locals in the longest of them. */
  get frames(): { count: number; locals: number } {
    return { count: this.#mostNesting, locals: this.#mostLocals }
  }

  protected finish(pieces: readonly string[]): string {
    const { base, control } = this.program.layout
    const end = this.#size + LEAF_SLOTS
    const limit = `if (sp + ${end - base} > control[${control.limit}]) enter(sp + ${end})`
    const isLeaf = !this.hasLoop && !this.makesCalls && this.#size <= LEAF_SLOTS
    if (!isLeaf) this.lines.unshift(`  ${limit}`)
    const text = [...pieces, this.#function(this.info.text, this.lines)].join('\n')
    return text.replaceAll(TOP, `sp + ${this.#size}`).replaceAll(LIMIT, limit)
  }
  #function(name: string, lines: readonly string[]): string {
    const declarations = this.#locals.declarations()
    this.#mostLocals = Math.max(this.#mostLocals, declarations.length)
    const head = `const ${name} = function ${name}(sp) {`
    const views = lines.some((line) => line.includes('for (;;)')) ? [BIND_VIEWS] : []
    return [
      head,
      ...views,
      ...(declarations.length > 0 ? [`  let ${declarations.join(', ')}`] : []),
      ...lines,
      '}',
    ].join('\n')
  }
}

/** The JavaScript locals of one function: temporaries, used again and again, and one for each variable that wants one. */
class JsLocals {
  inUse = { t: 0, k: 0, b: 0 }
  readonly #declared = { t: 0, k: 0, b: 0 }
  readonly #mirrors = new Map<Local, string>()

  take(kind: TemporaryKind): string {
    const n = this.inUse[kind]++
    if (n === this.#declared[kind]) this.#declared[kind]++
    return `${kind}${n}`
  }
  mirror(local: Local): string {
    let name = this.#mirrors.get(local)
    if (!name) this.#mirrors.set(local, (name = `${local.name}$${this.#mirrors.size}`))
    return name
  }
  declarations(): string[] {
    const declared = [...this.#mirrors.values()].map((name) => `${name} = 0`)
    for (const kind of ['t', 'k', 'b'] as const) {
      for (let i = 0; i < this.#declared[kind]; i++) declared.push(`${kind}${i} = ${kind === 'b' ? 'false' : '0'}`)
    }
    return declared
  }
}
