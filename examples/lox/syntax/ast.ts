// What the parser hands to the code generator: a tree in which every variable is resolved.
//
// `line` on a node is the line that a run-time error in it reports. Lox fixes it as the line of the last token read when
// the operation would have been emitted by a one-pass compiler: for a call the line of its `)`, for `a + b` the end of b.

/** What evaluating an expression can do to the values around it. */
export const Effect = {
  /** Assigns a variable. */
  Assigns: 1,
  /** Runs Lox code, which may assign globals and captured variables. */
  Calls: 2,
  /** Is a safepoint: raw references die. */
  Allocates: 4,
} as const

/** A variable of a function. Everything the code generator decides about it is in codegen/representation.ts. */
export interface Local {
  readonly name: string
  readonly owner: FunctionNode
  /** What it starts as: an expression, or a value that the generator makes (argument, class, closure…). */
  readonly initial: Expr | 'nil' | 'other'
  /** Values assigned later, in any function. */
  readonly assignments: Expr[]
  /** Some inner function uses it. */
  captured: boolean
}

export type Variable =
  | { readonly kind: 'local'; readonly local: Local }
  /** A variable of an enclosing function, number `index` of this function's captures. */
  | { readonly kind: 'captured'; readonly local: Local; readonly index: number }
  | { readonly kind: 'global'; readonly name: string }

/** Where a closure finds a captured variable when it is made: in the function around it, or among that one's captures. */
export interface Capture {
  readonly local: Local
  readonly from: 'local' | number
}

export interface FunctionNode {
  readonly kind: 'script' | 'function' | 'method' | 'initializer'
  /** Empty for a script. */
  readonly name: string
  /** Slot 0: `this` in methods, the callee itself in functions. */
  readonly self: Local
  readonly parameters: Local[]
  readonly locals: Local[]
  readonly captures: Capture[]
  readonly body: Stmt[]
  /** Length as bytecode, of the whole and of each statement in a list of statements. */
  size: number
  readonly sizes: Map<Stmt, number>
  /** Line of the closing brace, where an implicit return happens. */
  endLine: number
}

export interface CallPart {
  readonly args: readonly Expr[]
  readonly line: number
  readonly effects: number
}

export type BinaryOperator = '+' | '-' | '*' | '/' | '<' | '<=' | '>' | '>=' | '==' | '!='

export type Expr =
  | { readonly kind: 'number'; readonly value: number; readonly effects: 0 }
  | { readonly kind: 'string'; readonly bytes: string; readonly effects: 0 }
  | { readonly kind: 'nil'; readonly effects: 0 }
  | { readonly kind: 'boolean'; readonly value: boolean; readonly effects: 0 }
  | { readonly kind: 'get'; readonly variable: Variable; readonly line: number; readonly effects: 0 }
  | Assignment
  | {
      readonly kind: 'unary'
      readonly operator: '-' | '!'
      readonly operand: Expr
      readonly line: number
      readonly effects: number
    }
  | Binary
  | {
      readonly kind: 'logical'
      readonly operator: 'and' | 'or'
      readonly left: Expr
      readonly right: Expr
      readonly effects: number
    }
  | ({ readonly kind: 'call'; readonly callee: Expr } & CallPart)
  | ({ readonly kind: 'invoke'; readonly object: Expr; readonly name: string } & CallPart)
  | ({
      readonly kind: 'superInvoke'
      readonly self: Variable
      readonly superclass: Variable
      readonly name: string
    } & CallPart)
  | {
      readonly kind: 'superGet'
      readonly self: Variable
      readonly superclass: Variable
      readonly name: string
      readonly line: number
      readonly effects: number
    }
  | {
      readonly kind: 'property'
      readonly object: Expr
      readonly name: string
      readonly line: number
      readonly effects: number
    }
  | {
      readonly kind: 'setProperty'
      readonly object: Expr
      readonly name: string
      readonly value: Expr
      readonly line: number
      readonly effects: number
    }

export interface Assignment {
  readonly kind: 'set'
  readonly variable: Variable
  readonly value: Expr
  readonly line: number
  readonly effects: number
}
export interface Binary {
  readonly kind: 'binary'
  readonly operator: BinaryOperator
  readonly left: Expr
  readonly right: Expr
  readonly line: number
  readonly effects: number
}

/** What a declaration defines: a variable of this function, or a global. */
export type Target = Local | { readonly global: string }

export interface ClassNode {
  readonly kind: 'class'
  readonly name: string
  readonly target: Target
  readonly superclass: Variable | null
  /** The hidden variable `super` of the methods, when there is a superclass. */
  readonly superLocal: Local | null
  readonly methods: readonly FunctionNode[]
  readonly superLine: number
}

export interface Loop {
  readonly kind: 'while'
  readonly condition: Expr | null
  readonly increment: Expr | null
  readonly body: Stmt
  /** Variables of this function that the loop assigns. */
  readonly assigned: ReadonlySet<Local>
}

export type Stmt =
  | { readonly kind: 'expression'; readonly expr: Expr }
  | { readonly kind: 'print'; readonly expr: Expr }
  | { readonly kind: 'var'; readonly target: Target; readonly value: Expr | null }
  | { readonly kind: 'function'; readonly target: Target; readonly function: FunctionNode }
  | ClassNode
  | { readonly kind: 'block'; readonly body: readonly Stmt[] }
  | { readonly kind: 'if'; readonly condition: Expr; readonly then: Stmt; readonly otherwise: Stmt | null }
  | Loop
  | { readonly kind: 'return'; readonly value: Expr | null }
