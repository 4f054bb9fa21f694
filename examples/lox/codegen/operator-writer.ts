// Operators: compute on doubles first, ask for types when the result is a NaN (runtime/operators.ts says why).

import { Tag } from 'glissade'
import type { Binary, Expr } from '../syntax/ast.js'
import { frameSlot, isSimple, type Operand, type SlotOperand } from './operands.js'
import { VariableWriter } from './variable-writer.js'

type Comparison = '<' | '<=' | '>' | '>='
const OPPOSITE: { readonly [operator in Comparison]: string } = { '<': '>=', '<=': '>', '>': '<=', '>=': '<' }

/** How deeply right operands may nest in one expression of generated text. */
const MAX_DEPTH = 4

export abstract class OperatorWriter extends VariableWriter {
  protected binary(expr: Binary, wanted: number | null): Operand {
    switch (expr.operator) {
      case '+':
      case '-':
      case '*':
      case '/':
        return this.#arithmeticChain(expr, wanted)
      default:
        return this.#boolean(this.comparison(expr))
    }
  }

  #boolean(text: string): Operand {
    const js = this.temporary('b')
    this.emit(`${js} = ${text}`)
    return { kind: 'boolean', js }
  }

  /** `a + b + c …`: down the left operands and up again in loops, for a sum may have thousands of terms. */
  #arithmeticChain(expr: Binary, wanted: number | null): Operand {
    const chain: Binary[] = []
    let first: Expr = expr
    while (first.kind === 'binary' && '+-*/'.includes(first.operator)) {
      chain.push(first)
      first = first.left
    }
    let result = this.value(first)
    for (let next = chain.pop(); next; next = chain.pop()) {
      result = this.#arithmetic(result, next, chain.length === 0 ? wanted : null)
    }
    return result
  }

  #arithmetic(before: Operand, { operator, right, line }: Binary, wanted: number | null): Operand {
    const left = this.keep(before, right.effects)
    const other = this.#shallow(this.value(right))
    if (left.kind === 'number' && other.kind === 'number') {
      return { kind: 'number', js: `(${left.js} ${operator} ${other.js})`, stable: left.stable && other.stable }
    }
    const x = this.view(left)
    const y = this.view(other)
    const sum = operator === '+'
    if (sum && left.kind !== 'number' && other.kind !== 'number') {
      return this.#add(this.inSlot(left), this.inSlot(other), x, y, line, wanted)
    }
    const t = this.temporary('t')
    this.emit(`${t} = ${x} ${operator} ${y}`)
    this.emitAt(line, `if (${t} !== ${t}) ${this.#demandNumbers(left, other, sum ? 'addend' : 'number')}`)
    this.narrow(left)
    this.narrow(other)
    return { kind: 'number', js: t, stable: true }
  }

  /**
   * V8 keeps a register for each level of right operands inside one another, which the length of a frame (generate.ts) has
   * to count: beyond a few levels each is a temporary, which is counted.
   */
  #shallow(operand: Operand): Operand {
    if (operand.kind !== 'number' || depthOf(operand.js) <= MAX_DEPTH) return operand
    const js = this.temporary('t')
    this.emit(`${js} = ${operand.js}`)
    return { kind: 'number', js, stable: true }
  }

  /** Two values of any type: the result has any type too, and is in a slot. */
  #add(left: SlotOperand, right: SlotOperand, x: string, y: string, line: number, wanted: number | null): Operand {
    const slot = frameSlot(wanted ?? this.takeSlots(1))
    const t = this.temporary('t')
    this.emit(`${t} = ${x} + ${y}`)
    const slow = `${t} = add(${left.slot.index}, ${right.slot.index}, ${slot.index}, ${this.top})`
    this.emitAt(line, `if (${t} === ${t}) ${slot.value} = ${t}; else ${slow}`)
    return { kind: 'slot', slot, origin: 'temporary', view: t }
  }

  /** A call that throws unless the operands, of which at least one is in doubt, are numbers; its value is false. */
  #demandNumbers(left: Operand, right: Operand, one: 'number' | 'addend'): string {
    if (left.kind === 'number') return `${one}(${this.inSlot(right).slot.index})`
    if (right.kind === 'number') return `${one}(${this.inSlot(left).slot.index})`
    return `numbers(${this.inSlot(left).slot.index}, ${this.inSlot(right).slot.index})`
  }

  protected negate(operand: Operand, line: number): Operand {
    if (operand.kind === 'number') return { kind: 'number', js: `(-${operand.js})`, stable: operand.stable }
    const inSlot = this.inSlot(operand)
    const t = this.temporary('t')
    this.emit(`${t} = -${this.view(inSlot)}`)
    this.emitAt(line, `if (${t} !== ${t}) negatable(${inSlot.slot.index})`)
    this.narrow(inSlot)
    return { kind: 'number', js: t, stable: true }
  }

  // ---- conditions

  /** A JavaScript condition for the truth of an expression, to be used at once. */
  protected condition(expr: Expr): string {
    switch (expr.kind) {
      case 'unary':
        if (expr.operator === '!') return `!(${this.condition(expr.operand)})`
        break
      case 'binary':
        if (!'+-*/'.includes(expr.operator)) return this.comparison(expr)
        break
      case 'logical':
        return this.#logicalCondition(expr)
    }
    return this.truth(this.value(expr))
  }

  protected truth(operand: Operand): string {
    switch (operand.kind) {
      case 'number':
        return 'true'
      case 'nil':
        return 'false'
      case 'boolean':
        return operand.js
      case 'slot': {
        const { tag, payload } = operand.slot
        return `!(${tag} === ${Tag.Nil} || ${tag} === ${Tag.Boolean} && ${payload} === 0)`
      }
    }
  }

  #logicalCondition(expr: Expr & { kind: 'logical' }): string {
    const left = this.condition(expr.left)
    const before = this.copyFacts()
    let right = ''
    const inner = this.capture(() => (right = this.condition(expr.right)))
    this.mergeFacts(before)
    const isAnd = expr.operator === 'and'
    if (inner.length === 0) return `(${left} ${isAnd ? '&&' : '||'} ${right})`
    const b = this.temporary('b')
    this.emit(`${b} = ${left}`)
    this.emit(`if (${isAnd ? b : `!${b}`}) {`)
    this.lines.push(...inner)
    this.emit(`  ${b} = ${right}`)
    this.emit('}')
    return b
  }

  protected comparison({ operator, left: leftExpr, right: rightExpr, line }: Binary): string {
    const left = this.keep(this.value(leftExpr), rightExpr.effects)
    const right = this.value(rightExpr)
    if (operator === '==') return this.#equality(left, right)
    if (operator === '!=') return `!${this.#equality(left, right)}`
    return this.#ordering(operator as Comparison, left, right, line)
  }

  #ordering(operator: Comparison, left: Operand, right: Operand, line: number): string {
    const x = this.#repeatable(left)
    const y = this.#repeatable(right)
    // Lox's a <= b is !(a > b), which differs when one of them is a NaN.
    const isNegated = operator === '<=' || operator === '>='
    if (left.kind === 'number' && right.kind === 'number') {
      return isNegated ? `!(${x} ${OPPOSITE[operator]} ${y})` : `(${x} ${operator} ${y})`
    }
    const check = `${this.at(line)}${this.#demandNumbers(left, right, 'number')}`
    this.narrow(left)
    this.narrow(right)
    // If neither the comparison nor its opposite holds, one operand is a NaN or no number.
    if (isNegated) return `(${x} ${operator} ${y} || !(${x} ${OPPOSITE[operator]} ${y}) && !${check})`
    return `(${x} ${operator} ${y} || !(${x} ${OPPOSITE[operator]} ${y}) && ${check})`
  }
  #repeatable(operand: Operand): string {
    const text = this.view(operand)
    if (isSimple(text)) return text
    const t = this.temporary('t')
    this.emit(`${t} = ${text}`)
    return t
  }

  #equality(left: Operand, right: Operand): string {
    if (left.kind === 'slot' && right.kind !== 'slot') return this.#equality(right, left)
    if (right.kind !== 'slot') {
      if (left.kind !== right.kind) return 'false'
      return left.kind === 'nil' ? 'true' : `(${(left as { js: string }).js} === ${(right as { js: string }).js})`
    }
    const { tag, payload, index } = right.slot
    switch (left.kind) {
      case 'number':
        // What is no number reads as a NaN, which equals nothing.
        return `(${left.js} === ${this.view(right)})`
      case 'nil':
        return `(${tag} === ${Tag.Nil})`
      case 'boolean':
        return `(${tag} === ${Tag.Boolean} && ${payload} === +${left.js})`
    }
    if (left.origin === 'constant' && right.origin === 'constant') return String(left.slot.index === index)
    const areSame = this.#areSame(left, right)
    if (left.origin === 'constant' || right.origin === 'constant') return areSame
    const x = this.view(left)
    const y = this.view(right)
    return `(${x} === ${y} || ${x} !== ${x} && ${y} !== ${y} && ${areSame})`
  }

  /** Two values that are not both numbers. Symbols are equal if they are one object; only others need a call. */
  #areSame(left: SlotOperand, right: SlotOperand): string {
    const { symbolShape } = this.program.runtime.strings
    const areSymbols = [left, right]
      .filter(({ origin }) => origin !== 'constant')
      .map(({ slot: { tag, payload } }) => `${tag} === ${Tag.Ref} && i32[${payload}] === ${symbolShape}`)
      .join(' && ')
    const { slot } = left
    return `(${areSymbols} ? ${slot.payload} === ${right.slot.payload} : same(${slot.index}, ${right.slot.index}))`
  }

  // ---- and, or

  protected logical(expr: Expr & { kind: 'logical' }, wanted: number | null): Operand {
    const isAnd = expr.operator === 'and'
    if (this.program.representations.isNumeric(expr)) {
      // A number is true: `and` gives its right operand, `or` its left.
      const left = this.value(expr.left)
      return isAnd ? this.value(expr.right) : left
    }
    const offset = wanted ?? this.takeSlots(1)
    const slot = frameSlot(offset)
    const left = this.toSlot(expr.left, offset)
    const truth = this.truth(left.kind === 'slot' ? { kind: 'slot', slot, origin: 'temporary' } : left)
    const before = this.copyFacts()
    this.block(`if (${isAnd ? truth : `!(${truth})`})`, () => this.scoped(() => this.toSlot(expr.right, offset)))
    this.mergeFacts(before)
    return { kind: 'slot', slot, origin: 'temporary' }
  }
}

/** How deeply the parentheses of a text nest. */
function depthOf(js: string): number {
  let depth = 0
  let most = 0
  for (const c of js) {
    if (c === '(') most = Math.max(most, ++depth)
    else if (c === ')') depth--
  }
  return most
}
