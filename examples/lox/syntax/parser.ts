// Declarations and statements: the top of the parser.
//
// Lox is compiled in one pass in the book, and its error messages are those of one pass: which variable a name means,
// which limit is exceeded, what may follow what, all are settled at the token where they come up. This parser keeps that
// order while it builds a tree, because good code needs to know more than one pass can (which variables are captured,
// which always hold numbers).

import type { Expr, FunctionNode, Local, Stmt, Target } from './ast.js'
import { ExpressionParser, type ClassScope } from './expressions.js'
import { FunctionScope } from './scope.js'
import { NestingError } from './token-stream.js'

const MAX_PARAMETERS = 255

export type ParseResult =
  | { readonly ok: true; readonly script: FunctionNode }
  /** `incomplete`: more text might make it right (for a REPL). */
  | { readonly ok: false; readonly errors: readonly string[]; readonly incomplete: boolean }

export function parse(source: string): ParseResult {
  const errors: string[] = []
  const parser = new Parser(source, (line) => errors.push(line))
  try {
    const script = parser.script()
    if (!parser.failed) return { ok: true, script }
  } catch (error) {
    // A RangeError: the embedder has left little of the stack.
    if (!(error instanceof NestingError || error instanceof RangeError)) throw error
    errors.push(parser.tooDeep())
  }
  return { ok: false, errors, incomplete: parser.incomplete }
}

class Parser extends ExpressionParser {
  protected scope = new FunctionScope(null, 'script', '', (message) => this.error(message))

  get incomplete(): boolean {
    return this.wantedMore
  }
  tooDeep(): string {
    return `[line ${this.current.line}] Error at '${this.current.lexeme}': Code nests too deeply.`
  }

  script(): FunctionNode {
    const { node } = this.scope
    while (!this.match('eof')) this.#declaration(node.body)
    node.endLine = this.previous.line
    node.size = this.scope.meter.position
    return node
  }

  #declaration(into: Stmt[]): void {
    const { node, meter } = this.scope
    const start = meter.position
    const statement = this.#declarationOrStatement()
    into.push(statement)
    node.sizes.set(statement, meter.position - start)
    this.synchronize()
  }
  #declarationOrStatement(): Stmt {
    if (this.match('class')) return this.#class()
    if (this.match('fun')) return this.#function()
    if (this.match('var')) return this.#var()
    return this.#statement()
  }

  /** The name of a declaration. A global's is a constant of the bytecode; a local's takes a slot. */
  #declareName(message: string): string {
    this.consume('identifier', message)
    const name = this.previous.lexeme
    if (this.scope.atTopLevel) this.scope.meter.constant()
    else this.scope.declare(name)
    return name
  }
  #define(name: string, initial: Local['initial']): Target {
    if (!this.scope.atTopLevel) return this.scope.define(initial)
    this.scope.meter.emit(2)
    return { global: name }
  }

  #var(): Stmt {
    const name = this.#declareName('Expect variable name.')
    let value: Expr | null = null
    if (this.match('=')) value = this.expression()
    else this.scope.meter.emit(1)
    this.consume(';', "Expect ';' after variable declaration.")
    return { kind: 'var', target: this.#define(name, value ?? 'nil'), value }
  }

  #function(): Stmt {
    const name = this.#declareName('Expect function name.')
    // A function may call itself, so its name exists before its body.
    const target = this.#define(name, 'other')
    return { kind: 'function', target, function: this.#functionBody('function') }
  }

  #functionBody(kind: FunctionNode['kind']): FunctionNode {
    const scope = new FunctionScope(this.scope, kind, this.previous.lexeme, (message) => this.error(message))
    this.scope = scope
    const { node, meter } = scope
    this.descend()
    scope.begin()
    this.consume('(', "Expect '(' after function name.")
    if (!this.check(')')) {
      do {
        if (node.parameters.length === MAX_PARAMETERS) this.errorAtCurrent("Can't have more than 255 parameters.")
        this.#declareName('Expect parameter name.')
        node.parameters.push(scope.define('other'))
      } while (this.match(','))
    }
    this.consume(')', "Expect ')' after parameters.")
    this.consume('{', "Expect '{' before function body.")
    this.#block(node.body)
    node.endLine = this.previous.line
    meter.emit(kind === 'initializer' ? 3 : 2)
    node.size = meter.position
    this.ascend()
    this.scope = scope.enclosing!
    this.scope.meter.emitWithConstant(2 + 2 * node.captures.length)
    return node
  }

  #class(): Stmt {
    this.consume('identifier', 'Expect class name.')
    const name = this.previous.lexeme
    const { scope } = this
    scope.meter.emitWithConstant(2)
    if (!scope.atTopLevel) scope.declare(name)
    const target = this.#define(name, 'other')
    const classScope: ClassScope = { enclosing: this.classScope, hasSuperclass: false }
    this.classScope = classScope

    let superclass = null
    let superLocal = null
    if (this.match('<')) {
      this.consume('identifier', 'Expect superclass name.')
      superclass = this.implied(this.previous.lexeme)
      if (this.previous.lexeme === name) this.error("A class can't inherit from itself.")
      scope.begin()
      scope.add('super')
      superLocal = scope.define('other')
      this.implied(name)
      scope.meter.emit(1)
      classScope.hasSuperclass = true
    }
    const superLine = this.previous.line

    this.implied(name)
    const methods: FunctionNode[] = []
    this.consume('{', "Expect '{' before class body.")
    while (!this.check('}') && !this.check('eof')) methods.push(this.#method())
    this.consume('}', "Expect '}' after class body.")
    scope.meter.emit(1)
    if (superclass) scope.end()
    this.classScope = classScope.enclosing
    return { kind: 'class', name, target, superclass, superLocal, methods, superLine }
  }

  #method(): FunctionNode {
    this.consume('identifier', 'Expect method name.')
    this.scope.meter.constant()
    const method = this.#functionBody(this.previous.lexeme === 'init' ? 'initializer' : 'method')
    this.scope.meter.emit(2)
    return method
  }

  #block(into: Stmt[]): void {
    while (!this.check('}') && !this.check('eof')) this.#declaration(into)
    this.consume('}', "Expect '}' after block.")
  }

  #statement(): Stmt {
    this.descend()
    const statement = this.#anyStatement()
    this.ascend()
    return statement
  }
  #anyStatement(): Stmt {
    if (this.match('print')) return this.#print()
    if (this.match('for')) return this.#for()
    if (this.match('if')) return this.#if()
    if (this.match('return')) return this.#return()
    if (this.match('while')) return this.#while()
    if (this.match('{')) {
      const body: Stmt[] = []
      this.scope.begin()
      this.#block(body)
      this.scope.end()
      return { kind: 'block', body }
    }
    const expr = this.expression()
    this.consume(';', "Expect ';' after expression.")
    this.scope.meter.emit(1)
    return { kind: 'expression', expr }
  }

  #print(): Stmt {
    const expr = this.expression()
    this.consume(';', "Expect ';' after value.")
    this.scope.meter.emit(1)
    return { kind: 'print', expr }
  }

  #return(): Stmt {
    const { kind } = this.scope.node
    if (kind === 'script') this.error("Can't return from top-level code.")
    if (this.match(';')) {
      this.scope.meter.emit(kind === 'initializer' ? 3 : 2)
      return { kind: 'return', value: null }
    }
    if (kind === 'initializer') this.error("Can't return a value from an initializer.")
    const value = this.expression()
    this.consume(';', "Expect ';' after return value.")
    this.scope.meter.emit(1)
    return { kind: 'return', value }
  }

  #if(): Stmt {
    const { meter } = this.scope
    this.consume('(', "Expect '(' after 'if'.")
    const condition = this.expression()
    this.consume(')', "Expect ')' after condition.")
    const skipThen = meter.jump()
    meter.emit(1)
    const then = this.#statement()
    const skipElse = meter.jump()
    meter.land(skipThen)
    meter.emit(1)
    const otherwise = this.match('else') ? this.#statement() : null
    meter.land(skipElse)
    return { kind: 'if', condition, then, otherwise }
  }

  #while(): Stmt {
    const { meter } = this.scope
    const start = meter.position
    const assigned = this.scope.enterLoop()
    this.consume('(', "Expect '(' after 'while'.")
    const condition = this.expression()
    this.consume(')', "Expect ')' after condition.")
    const exit = meter.jump()
    meter.emit(1)
    const body = this.#statement()
    meter.loop(start)
    meter.land(exit)
    meter.emit(1)
    this.scope.leaveLoop()
    return { kind: 'while', condition, increment: null, body, assigned }
  }

  #for(): Stmt {
    const { scope } = this
    const { meter } = scope
    const block: Stmt[] = []
    scope.begin()
    this.consume('(', "Expect '(' after 'for'.")
    if (this.match('var')) block.push(this.#var())
    else if (!this.match(';')) {
      block.push({ kind: 'expression', expr: this.expression() })
      this.consume(';', "Expect ';' after expression.")
      meter.emit(1)
    }

    let start = meter.position
    const assigned = scope.enterLoop()
    let condition: Expr | null = null
    let exit = -1
    if (!this.match(';')) {
      condition = this.expression()
      this.consume(';', "Expect ';' after loop condition.")
      exit = meter.jump()
      meter.emit(1)
    }
    let increment: Expr | null = null
    if (!this.match(')')) {
      // Bytecode has the increment before the body and jumps around it.
      const toBody = meter.jump()
      const incrementStart = meter.position
      increment = this.expression()
      meter.emit(1)
      this.consume(')', "Expect ')' after for clauses.")
      meter.loop(start)
      start = incrementStart
      meter.land(toBody)
    }
    const body = this.#statement()
    meter.loop(start)
    if (condition) {
      meter.land(exit)
      meter.emit(1)
    }
    scope.leaveLoop()
    block.push({ kind: 'while', condition, increment, body, assigned })
    scope.end()
    return { kind: 'block', body: block }
  }
}
