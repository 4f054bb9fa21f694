// One walk over a tree for what code generation wants to know before it starts.

import type { ClassNode, Expr, FunctionNode, Local, Loop, Stmt } from '../syntax/ast.js'
import { LoopTracker } from './loops.js'

export interface Collected {
  /** Every function, the script first, a function before those inside it. */
  readonly functions: FunctionNode[]
  readonly classes: ClassNode[]
  /** Names of the fields that the methods of a class assign on `this`. */
  readonly fieldsOf: Map<ClassNode, Set<string>>
  /** Names of the fields that no method assigns on `this`, but somebody does on something else. */
  readonly foreignFields: ReadonlySet<string>
  /** Globals declared by `fun`; null if they are defined or assigned in any other way as well. */
  readonly globalFunctions: Map<string, FunctionNode | null>
  /** Globals declared by `class`. */
  readonly globalClasses: Set<string>
  /** Loops that become JavaScript functions, and variables that more than one of a function's JavaScript functions use. */
  readonly outlined: ReadonlySet<Loop>
  readonly shared: ReadonlySet<Local>
}

export function collect(script: FunctionNode): Collected {
  const functions: FunctionNode[] = []
  const classes: ClassNode[] = []
  const fieldsOf = new Map<ClassNode, Set<string>>()
  const foreignFields = new Set<string>()
  const globalFunctions = new Map<string, FunctionNode | null>()
  const globalClasses = new Set<string>()
  const loops = new LoopTracker()
  let inScript = true
  /** The fields of the class whose methods are being walked. */
  let fields = foreignFields
  let inMethods = false

  const defineGlobal = (name: string, node: FunctionNode | null): void => {
    globalFunctions.set(name, globalFunctions.has(name) ? null : node)
  }

  const walkFunction = (node: FunctionNode): void => {
    functions.push(node)
    for (const { local, from } of node.captures) if (from === 'local') loops.use(local)
    const outer = inScript
    inScript = node.kind === 'script'
    loops.inFunction(() => node.body.forEach(walk))
    inScript = outer
  }

  const walkAll = (list: readonly Expr[]): void => list.forEach(walkExpr)

  const walkExpr = (expr: Expr): void => {
    // Sums, comparisons and conditions may be long chains of left operands: a loop.
    while (expr.kind === 'binary' || expr.kind === 'logical') {
      walkExpr(expr.right)
      expr = expr.left
    }
    switch (expr.kind) {
      case 'get':
        if (expr.variable.kind === 'local') loops.use(expr.variable.local)
        return
      case 'set':
        if (expr.variable.kind === 'local') loops.use(expr.variable.local)
        if (expr.variable.kind === 'global') globalFunctions.set(expr.variable.name, null)
        return walkExpr(expr.value)
      case 'unary':
        return walkExpr(expr.operand)
      case 'call':
        loops.touch()
        walkExpr(expr.callee)
        return walkAll(expr.args)
      case 'invoke':
        loops.touch()
        walkExpr(expr.object)
        return walkAll(expr.args)
      case 'superInvoke':
        loops.touch()
        return walkAll(expr.args)
      case 'property':
        loops.touch()
        return walkExpr(expr.object)
      case 'setProperty': {
        loops.touch()
        const onThis =
          inMethods &&
          expr.object.kind === 'get' &&
          expr.object.variable.kind !== 'global' &&
          expr.object.variable.local.name === 'this'
        ;(onThis ? fields : foreignFields).add(expr.name)
        walkExpr(expr.object)
        return walkExpr(expr.value)
      }
    }
  }

  const walkClass = (node: ClassNode): void => {
    classes.push(node)
    if ('global' in node.target) {
      defineGlobal(node.target.global, null)
      globalClasses.add(node.target.global)
    }
    const outer = { fields, inMethods }
    fields = new Set()
    inMethods = true
    fieldsOf.set(node, fields)
    node.methods.forEach(walkFunction)
    fields = outer.fields
    inMethods = outer.inMethods
  }

  const walk = (statement: Stmt): void => {
    switch (statement.kind) {
      case 'expression':
      case 'print':
        return walkExpr(statement.expr)
      case 'var':
        if ('global' in statement.target) defineGlobal(statement.target.global, null)
        else loops.declare(statement.target)
        if (statement.value) walkExpr(statement.value)
        return
      case 'function':
        if ('global' in statement.target) defineGlobal(statement.target.global, statement.function)
        return walkFunction(statement.function)
      case 'class':
        return walkClass(statement)
      case 'block':
        return statement.body.forEach(walk)
      case 'if':
        walkExpr(statement.condition)
        walk(statement.then)
        if (statement.otherwise) walk(statement.otherwise)
        return
      case 'while':
        return loops.inLoop(statement, inScript, () => {
          if (statement.condition) walkExpr(statement.condition)
          if (statement.increment) walkExpr(statement.increment)
          walk(statement.body)
        })
      case 'return':
        if (statement.value) walkExpr(statement.value)
    }
  }

  walkFunction(script)
  for (const own of fieldsOf.values()) for (const name of own) foreignFields.delete(name)
  return {
    functions,
    classes,
    fieldsOf,
    foreignFields,
    globalFunctions,
    globalClasses,
    outlined: loops.outlined,
    shared: loops.shared(),
  }
}
