// Statements and declarations.
//
// V8 does not optimise a function of more than 60 KB of its bytecode. A long Lox function is therefore *split*: lists of
// statements in it are cut into pieces, each a JavaScript function on the same frame. That works because variables of a
// split function live in slots only. A piece that returned from the Lox function says so by returning true. The body of
// a loop is such a piece as well where that makes faster code (loops.ts); it returns how it ended.

import { CARD_SHIFT, VALUE_CARD_SHIFT } from '../runtime/machine.js'
import type { Capture, ClassNode, Expr, FunctionNode, Loop, Stmt } from '../syntax/ast.js'
import { ExpressionWriter } from './expression-writer.js'
import { frameSlot, type SlotOperand } from './operands.js'

/** Longest piece, in bytes of Lox bytecode. */
const PIECE_SIZE = 1000

export class StatementWriter extends ExpressionWriter {
  readonly #pieces: string[] = []
  /** What the text being written stands in, and how it returns from the Lox function. */
  #return: 'return' | 'return true' | 'return 2' = 'return'

  /** The text of the function. */
  write(): string {
    for (const parameter of this.node.parameters) {
      if (this.represent(parameter) === 'box') this.emit(`wrap(${this.home(parameter).index}, ${this.top})`)
    }
    if (this.#statements(this.node.body)) this.#implicitReturn()
    return this.finish(this.#pieces)
  }

  #implicitReturn(): void {
    if (this.node.kind === 'function' || this.node.kind === 'method') this.store({ kind: 'nil' }, frameSlot(0))
  }

  /** False if control does not reach the end. */
  #statements(list: readonly Stmt[]): boolean {
    const { sizes } = this.node
    const total = list.reduce((sum, statement) => sum + sizes.get(statement)!, 0)
    if (this.info.isSplit && total > PIECE_SIZE) return this.#splitStatements(list)
    return list.every((statement) => this.statement(statement))
  }

  #splitStatements(list: readonly Stmt[]): boolean {
    const { sizes } = this.node
    for (let start = 0, end = 0; start < list.length; start = end) {
      let size = 0
      do size += sizes.get(list[end++])!
      while (end < list.length && size + sizes.get(list[end])! <= PIECE_SIZE)
      const part = list.slice(start, end)
      // A long statement has lists inside, which are split where they stand.
      if (size > PIECE_SIZE) {
        if (!this.statement(part[0])) return false
        continue
      }
      let goesOn = true
      const name = this.#piece('return true', () => (goesOn = part.every((statement) => this.statement(statement))))
      this.makesCalls = true
      this.emit(goesOn ? `if (${name}(sp)) ${this.#return}` : `${name}(sp); ${this.#return}`)
      if (!goesOn) return false
    }
    return true
  }
  /** Moves what `body` emits into a JavaScript function; returns its name. */
  #piece(returns: 'return true' | 'return 2', body: () => void): string {
    const slot = this.#pieces.push('') - 1
    const name = `${this.info.text}_${slot}`
    const outer = this.#return
    this.#return = returns
    this.#pieces[slot] = this.piece(name, body)
    this.#return = outer
    return name
  }

  /** False if control does not go on after the statement. */
  protected statement(statement: Stmt): boolean {
    switch (statement.kind) {
      case 'expression':
        this.scoped(() => this.value(statement.expr))
        return true
      case 'print':
        this.scoped(() => {
          const { slot } = this.inSlot(this.value(statement.expr))
          this.emit(`print(${slot.index}, ${this.top})`)
        })
        return true
      case 'var':
        this.define(statement.target, statement.value)
        return true
      case 'function':
        this.#function(statement)
        return true
      case 'class':
        this.#class(statement)
        return true
      case 'block':
        return this.scoped(() => this.#statements(statement.body))
      case 'if':
        return this.#if(statement)
      case 'while':
        return this.scoped(() => this.#while(statement))
      case 'return':
        this.scoped(() => {
          if (statement.value) this.#returnValue(statement.value)
          else this.#implicitReturn()
          this.emit(this.#return)
        })
        return false
    }
  }

  /** Into slot 0; at once, where nothing else of the expression can read that slot later. */
  #returnValue(value: Expr): void {
    const isLast = value.kind === 'property' || value.kind === 'get' || value.kind === 'binary'
    this.store(this.value(value, isLast ? 0 : null), frameSlot(0))
  }

  #if({ condition, then, otherwise }: Stmt & { kind: 'if' }): boolean {
    const test = this.scoped(() => this.condition(condition))
    const before = this.copyFacts()
    let goesOn = true
    this.block(`if (${test})`, () => (goesOn = this.scoped(() => this.statement(then))), otherwise ? '} else {' : '}')
    const afterThen = this.facts
    this.facts = before
    if (!otherwise) {
      if (goesOn) this.mergeFacts(afterThen)
      return true
    }
    let otherwiseGoesOn = true
    const lines = this.capture(() => (otherwiseGoesOn = this.scoped(() => this.statement(otherwise))))
    this.lines.push(...lines)
    this.emit('}')
    if (!otherwiseGoesOn) this.facts = afterThen
    else if (goesOn) this.mergeFacts(afterThen)
    return goesOn || otherwiseGoesOn
  }

  #while(loop: Loop): boolean {
    const { condition, increment, body, assigned } = loop
    this.hasLoop = true
    if (this.program.isOutlined(loop)) return this.#outlinedWhile(loop)
    for (const local of assigned) this.forget(local)
    this.block('for (;;)', () => {
      this.emit(this.checkStack)
      const atExit = this.scoped(() => {
        if (condition) this.emit(`if (!${parenthesised(this.condition(condition))}) break`)
        return this.copyFacts()
      })
      if (this.scoped(() => this.statement(body)) && increment) this.scoped(() => this.value(increment))
      this.facts = atExit
    })
    return condition !== null
  }

  /** A loop whose iterations are calls: 0 says that it goes on, 1 that it is over, 2 that the Lox function has returned. */
  #outlinedWhile({ condition, increment, body }: Loop): boolean {
    const name = this.#piece('return 2', () => {
      this.emit(this.checkStack)
      if (condition) this.scoped(() => this.emit(`if (!${parenthesised(this.condition(condition))}) return 1`))
      const atExit = this.copyFacts()
      if (this.scoped(() => this.statement(body))) {
        if (increment) this.scoped(() => this.value(increment))
        this.emit('return 0')
      }
      this.facts = atExit
    })
    const k = this.temporary('k')
    this.emit(`do ${k} = ${name}(sp); while (${k} === 0)`)
    this.emit(`if (${k} === 2) ${this.#return}`)
    return condition !== null
  }

  // ---- functions

  #function({ target, function: node }: Stmt & { kind: 'function' }): void {
    if ('global' in target) {
      this.scoped(() => {
        const slot = frameSlot(this.takeSlots(1))
        this.#closure(node, slot)
        this.defineGlobal(target.global, { kind: 'slot', slot, origin: 'temporary' })
        const { captures } = node
        const info = this.program.info(node)
        const { index } = this.program.global(target.global)
        if (captures.length === 0) this.emit(`guards[${index}] = ${info.shape.id}`)
      })
      return
    }
    const home = this.giveHome(target)
    this.forget(target)
    if (this.represent(target) === 'slot') {
      this.#closure(node, frameSlot(home))
      return
    }
    // The box comes first, because the function may refer to itself.
    this.store({ kind: 'nil' }, frameSlot(home))
    this.emit(`wrap(${frameSlot(home).index}, ${this.top})`)
    this.scoped(() => {
      const slot = frameSlot(this.takeSlots(1))
      this.#closure(node, slot)
      this.emit(`fill(${frameSlot(home).index}, ${slot.index})`)
    })
  }

  /** Makes a closure into `slot`; then its captures, one of which may be the closure itself. */
  #closure(node: FunctionNode, slot: SlotOperand['slot']): void {
    const info = this.program.info(node)
    this.scoped(() => {
      this.emit(`allocateClosure(${info.id}, ${slot.index}, ${this.top})`)
      if (node.captures.length === 0) return
      const k = this.temporary('k')
      this.emit(`${k} = ${slot.payload}`)
      node.captures.forEach((capture, i) => this.#captureInto(k, info.captureAt[i], capture))
    })
  }

  #captureInto(k: string, at: number, { local, from }: Capture): void {
    const { representations } = this.program
    const mine = from === 'local' ? null : this.info.captureAt[from]
    if (representations.isBoxed(local)) {
      const box = mine === null ? this.home(local).payload : `i32[(${this.closure.payload}) + ${mine}]`
      this.emit(`i32[${k} + ${at}] = ${box}`)
      this.emit(`cards[(${k} + ${at}) >>> ${CARD_SHIFT}] = 1`)
      return
    }
    const place = `(${k} >>> 1) + ${at}`
    if (mine !== null) this.emit(`f64[${place}] = f64[((${this.closure.payload}) >>> 1) + ${mine}]`)
    else if (this.represent(local) === 'number') this.emit(`f64[${place}] = ${this.mirror(local)}`)
    else this.emit(`f64[${place}] = ${this.home(local).value}`)
    this.emit(`cards[(${place}) >>> ${VALUE_CARD_SHIFT}] = 1`)
  }

  // ---- classes

  #class(node: ClassNode): void {
    this.scoped(() => {
      const { target, superclass, superLocal } = node
      const isLocal = !('global' in target)
      // The home outlives this scope: see below.
      const home = isLocal ? this.giveHome(target) : this.takeSlots(1)
      if (isLocal) this.forget(target)
      const slot = frameSlot(home)
      let superIndex = '-1'
      if (superclass && superLocal) {
        const superHome = this.giveHome(superLocal)
        this.store(this.read(superclass, node.superLine, superHome), frameSlot(superHome))
        superIndex = frameSlot(superHome).index
      }
      const boxed = isLocal && this.represent(target) === 'box'
      const classSlot = boxed ? frameSlot(this.takeSlots(1)) : slot
      const { id } = this.program.classInfo(node)
      this.emitAt(node.superLine, `declareClass(${id}, ${classSlot.index}, ${superIndex}, ${this.top})`)
      if (boxed) {
        this.store({ kind: 'slot', slot: classSlot, origin: 'temporary' }, slot)
        this.emit(`wrap(${slot.index}, ${this.top})`)
      }
      const method = frameSlot(this.takeSlots(1))
      for (const function_ of node.methods) {
        this.#closure(function_, method)
        this.emit(`addMethod(${classSlot.index}, ${method.index}, ${JSON.stringify(function_.name)})`)
      }
      // Last, for a closure may find no memory: then the program goes on without this class (a REPL does).
      if (!isLocal) {
        this.defineGlobal(target.global, { kind: 'slot', slot, origin: 'temporary' })
        this.emit(`guards[${this.program.global(target.global).index}] = i32[${slot.payload}]`)
      }
    })
    if (!('global' in node.target)) this.takeSlots(1)
  }
}

const parenthesised = (text: string): string => (/^[\w$]+$/.test(text) ? text : `(${text})`)
