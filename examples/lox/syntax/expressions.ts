// Expressions: a Pratt parser, one token at a time, building the tree and telling the meter what bytecode would need.

import { Effect, type BinaryOperator, type CallPart, type Expr, type Variable } from './ast.js'
import type { TokenType } from './scanner.js'
import type { FunctionScope } from './scope.js'
import { TokenStream } from './token-stream.js'

/** Binding powers, weakest first. */
const Power = {
  None: 0,
  Assignment: 1,
  Or: 2,
  And: 3,
  Equality: 4,
  Comparison: 5,
  Term: 6,
  Factor: 7,
  Unary: 8,
  Call: 9,
}

/** Infix operators: how tightly they bind. */
const INFIX: { readonly [type in TokenType]?: number } = {
  '(': Power.Call,
  '.': Power.Call,
  '-': Power.Term,
  '+': Power.Term,
  '/': Power.Factor,
  '*': Power.Factor,
  '!=': Power.Equality,
  '==': Power.Equality,
  '>': Power.Comparison,
  '>=': Power.Comparison,
  '<': Power.Comparison,
  '<=': Power.Comparison,
  and: Power.And,
  or: Power.Or,
}

const MAX_ARGUMENTS = 255
/** Stands where an error was reported; no code is generated from a tree with errors. */
const NOTHING: Expr = { kind: 'nil', effects: 0 }

export interface ClassScope {
  readonly enclosing: ClassScope | null
  hasSuperclass: boolean
}

export abstract class ExpressionParser extends TokenStream {
  protected abstract scope: FunctionScope
  protected classScope: ClassScope | null = null

  protected expression(): Expr {
    return this.#parse(Power.Assignment)
  }

  #parse(power: number): Expr {
    this.descend()
    const expr = this.#parsePrecedence(power)
    this.ascend()
    return expr
  }
  #parsePrecedence(power: number): Expr {
    this.advance()
    const canAssign = power <= Power.Assignment
    let expr = this.#prefix(canAssign)
    if (!expr) {
      this.error('Expect expression.')
      return NOTHING
    }
    while (power <= (INFIX[this.current.type] ?? Power.None)) {
      this.advance()
      expr = this.#infix(expr, canAssign)
    }
    if (canAssign && this.match('=')) this.error('Invalid assignment target.')
    return expr
  }

  #prefix(canAssign: boolean): Expr | null {
    const { type, lexeme } = this.previous
    const { meter } = this.scope
    switch (type) {
      case 'number':
        meter.emitWithConstant(2)
        return { kind: 'number', value: Number(lexeme), effects: 0 }
      case 'string':
        meter.emitWithConstant(2)
        return { kind: 'string', bytes: lexeme.slice(1, -1), effects: 0 }
      case 'nil':
        meter.emit(1)
        return { kind: 'nil', effects: 0 }
      case 'true':
      case 'false':
        meter.emit(1)
        return { kind: 'boolean', value: type === 'true', effects: 0 }
      case 'identifier':
        return this.#variable(lexeme, canAssign)
      case '(': {
        const inner = this.expression()
        this.consume(')', "Expect ')' after expression.")
        return inner
      }
      case '-':
      case '!': {
        const operand = this.#parse(Power.Unary)
        meter.emit(1)
        return { kind: 'unary', operator: type, operand, line: this.previous.line, effects: operand.effects }
      }
      case 'this':
        if (!this.classScope) {
          this.error("Can't use 'this' outside of a class.")
          return NOTHING
        }
        return this.#variable('this', false)
      case 'super':
        return this.#super()
    }
    return null
  }

  #infix(left: Expr, canAssign: boolean): Expr {
    const { type } = this.previous
    switch (type) {
      case '(':
        return this.#call(left)
      case '.':
        return this.#dot(left, canAssign)
      case 'and':
      case 'or':
        return this.#logical(left, type)
      default:
        return this.#binary(left, type as BinaryOperator)
    }
  }

  #binary(left: Expr, operator: BinaryOperator): Expr {
    const right = this.#parse(INFIX[operator]! + 1)
    // Three of the operators are two instructions: the opposite comparison, and a negation.
    this.scope.meter.emit(operator === '!=' || operator === '<=' || operator === '>=' ? 2 : 1)
    const allocates = operator === '+' ? Effect.Allocates : 0
    const effects = left.effects | right.effects | allocates
    return { kind: 'binary', operator, left, right, line: this.previous.line, effects }
  }

  #logical(left: Expr, operator: 'and' | 'or'): Expr {
    const { meter } = this.scope
    const otherwise = operator === 'or' ? meter.jump() : 0
    const end = meter.jump()
    if (operator === 'or') meter.land(otherwise)
    meter.emit(1)
    const right = this.#parse(operator === 'and' ? Power.And : Power.Or)
    meter.land(end)
    return { kind: 'logical', operator, left, right, effects: left.effects | right.effects }
  }

  #variable(name: string, canAssign: boolean): Expr {
    const { line } = this.previous
    const variable = this.scope.resolve(name)
    if (!canAssign || !this.match('=')) {
      this.scope.meter.emit(2)
      return { kind: 'get', variable, line, effects: 0 }
    }
    const value = this.expression()
    this.scope.meter.emit(2)
    this.scope.assign(variable, value)
    return { kind: 'set', variable, value, line: this.previous.line, effects: value.effects | Effect.Assigns }
  }

  /** A read of a variable that the syntax implies: `this` and `super` in `super.name`. */
  protected implied(name: string): Variable {
    const variable = this.scope.resolve(name)
    this.scope.meter.emit(2)
    return variable
  }

  #dot(object: Expr, canAssign: boolean): Expr {
    const { meter } = this.scope
    this.consume('identifier', "Expect property name after '.'.")
    const name = this.previous.lexeme
    meter.constant()
    if (canAssign && this.match('=')) {
      const value = this.expression()
      meter.emit(2)
      const effects = object.effects | value.effects | Effect.Allocates
      return { kind: 'setProperty', object, name, value, line: this.previous.line, effects }
    }
    if (this.match('(')) {
      const call = this.#arguments(object.effects)
      meter.emit(3)
      return { kind: 'invoke', object, name, ...call }
    }
    meter.emit(2)
    return { kind: 'property', object, name, line: this.previous.line, effects: object.effects | Effect.Allocates }
  }

  #call(callee: Expr): Expr {
    const call = this.#arguments(callee.effects)
    this.scope.meter.emit(2)
    return { kind: 'call', callee, ...call }
  }

  #arguments(before: number): CallPart {
    const args: Expr[] = []
    let effects = before | Effect.Calls | Effect.Allocates
    if (!this.check(')')) {
      do {
        const arg = this.expression()
        effects |= arg.effects
        if (args.length === MAX_ARGUMENTS) this.error("Can't have more than 255 arguments.")
        args.push(arg)
      } while (this.match(','))
    }
    this.consume(')', "Expect ')' after arguments.")
    return { args, line: this.previous.line, effects }
  }

  #super(): Expr {
    if (!this.classScope) this.error("Can't use 'super' outside of a class.")
    else if (!this.classScope.hasSuperclass) this.error("Can't use 'super' in a class with no superclass.")
    this.consume('.', "Expect '.' after 'super'.")
    this.consume('identifier', 'Expect superclass method name.')
    const name = this.previous.lexeme
    this.scope.meter.constant()
    const self = this.implied('this')
    if (this.match('(')) {
      const call = this.#arguments(0)
      const superclass = this.implied('super')
      this.scope.meter.emit(3)
      return { kind: 'superInvoke', self, superclass, name, ...call }
    }
    const superclass = this.implied('super')
    this.scope.meter.emit(2)
    return { kind: 'superGet', self, superclass, name, line: this.previous.line, effects: Effect.Allocates }
  }
}
