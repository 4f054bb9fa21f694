// How each variable is kept, decided for a whole program before code is generated.
//
//   number   a JavaScript local, no slot at all: every value it ever holds is a number
//   slot     a slot of the frame; a JavaScript local may mirror it as a double
//   box      an object on the heap, because closures share it and somebody assigns it
//
// A captured variable that nobody assigns needs no box: closures copy it. "Every value is a number" is an optimistic fixed
// point: assume it of all variables, and withdraw it where an initializer or an assignment contradicts. The result of
// `a + b` is a number as soon as one operand is, because anything else is a run-time error.

import type { Expr, FunctionNode, Local } from '../syntax/ast.js'

export type Representation = 'number' | 'slot' | 'box'

export class Representations {
  readonly #numeric = new Set<Local>()

  constructor(functions: readonly FunctionNode[]) {
    for (const { locals } of functions) {
      for (const local of locals) if (typeof local.initial === 'object') this.#numeric.add(local)
    }
    let before
    do {
      before = this.#numeric.size
      for (const local of this.#numeric) {
        if (this.isNumeric(local.initial as Expr) && local.assignments.every((value) => this.isNumeric(value))) continue
        this.#numeric.delete(local)
      }
    } while (this.#numeric.size < before)
  }

  /** Every value the variable ever holds is a number. */
  isNumber(local: Local): boolean {
    return this.#numeric.has(local)
  }
  isBoxed(local: Local): boolean {
    return local.captured && local.assignments.length > 0
  }
  of(local: Local): Representation {
    if (this.isBoxed(local)) return 'box'
    return this.#numeric.has(local) ? 'number' : 'slot'
  }

  isNumeric(expr: Expr): boolean {
    switch (expr.kind) {
      case 'number':
        return true
      case 'get':
        return expr.variable.kind !== 'global' && this.#numeric.has(expr.variable.local)
      case 'set':
        return this.isNumeric(expr.value)
      case 'unary':
        return expr.operator === '-'
      case 'logical':
        return this.isNumeric(expr.left) && this.isNumeric(expr.right)
      case 'binary':
        return this.#isNumericBinary(expr)
      default:
        return false
    }
  }

  /** Walks down the left operands in a loop: a sum may have thousands of terms. */
  #isNumericBinary(expr: Expr): boolean {
    while (expr.kind === 'binary') {
      if (expr.operator === '-' || expr.operator === '*' || expr.operator === '/') return true
      if (expr.operator !== '+') return false
      if (this.isNumeric(expr.right)) return true
      expr = expr.left
    }
    return this.isNumeric(expr)
  }
}
