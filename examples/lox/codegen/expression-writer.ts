// Expressions: which writer a node goes to.

import type { Expr } from '../syntax/ast.js'
import { CallWriter } from './call-writer.js'
import type { Operand } from './operands.js'

export abstract class ExpressionWriter extends CallWriter {
  protected override value(expr: Expr, wanted: number | null = null): Operand {
    switch (expr.kind) {
      case 'number':
        return { kind: 'number', js: String(expr.value), stable: true }
      case 'boolean':
        return { kind: 'boolean', js: String(expr.value) }
      case 'nil':
        return { kind: 'nil' }
      case 'string':
        return this.string(expr.bytes)
      case 'get':
        return this.read(expr.variable, expr.line, wanted)
      case 'set':
        return this.assign(expr.variable, expr.value, expr.line)
      case 'unary': {
        if (expr.operator === '-') return this.negate(this.value(expr.operand), expr.line)
        const js = this.temporary('b')
        this.emit(`${js} = ${this.condition(expr)}`)
        return { kind: 'boolean', js }
      }
      case 'binary':
        return this.binary(expr, wanted)
      case 'logical':
        return this.logical(expr, wanted)
      case 'call':
        return this.call(expr, wanted)
      case 'invoke':
        return this.invoke(expr, wanted)
      case 'property':
        return this.property(expr, wanted)
      case 'setProperty':
        return this.setProperty(expr)
      case 'superInvoke':
        return this.superInvoke(expr, wanted)
      case 'superGet':
        return this.superGet(expr, wanted)
    }
  }
}
