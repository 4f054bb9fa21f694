// One program text (a file, or one input of the REPL) on its way to JavaScript: what its functions share.
//
// All functions of a text become functions of one JavaScript closure, so that they call each other directly and V8 can
// inline across them. They see heap memory through constants of that closure.

import type { Shape } from 'glissade'
import type { FunctionCode } from '../runtime/declarations.js'
import type { Global } from '../runtime/globals.js'
import type { ClassInfo } from '../runtime/layouts.js'
import type { Runtime } from '../runtime/runtime.js'
import type { ClassNode, FunctionNode, Local, Loop } from '../syntax/ast.js'
import { collect, type Collected } from './collect.js'
import { Representations } from './representation.js'

/** A function whose bytecode would be longer than this is split (statement-writer.ts). */
const SPLIT_SIZE = 2500

export interface FunctionInfo extends FunctionCode {
  readonly node: FunctionNode
  /** Its name in the text. */
  readonly text: string
  /** Where a closure has each capture: in `f64` units if copied, in words if a box. */
  readonly captureAt: readonly number[]
  readonly isMethod: boolean
  readonly isSplit: boolean
}

export class Program {
  readonly runtime: Runtime
  readonly representations: Representations
  readonly functions: readonly FunctionInfo[]
  readonly classes: readonly ClassInfo[]
  readonly siteNames: string[] = []
  readonly #infos = new Map<FunctionNode, FunctionInfo>()
  readonly #classInfos = new Map<ClassNode, ClassInfo>()
  readonly #globalFunctions: ReadonlyMap<string, FunctionNode | null>
  readonly #globalClasses: ReadonlySet<string>
  readonly #outlined: ReadonlySet<Loop>
  readonly #shared: ReadonlySet<Local>

  constructor(runtime: Runtime, script: FunctionNode) {
    this.runtime = runtime
    const collected = collect(script)
    this.representations = new Representations(collected.functions)
    this.#globalFunctions = collected.globalFunctions
    this.#globalClasses = collected.globalClasses
    this.#outlined = collected.outlined
    this.#shared = collected.shared
    this.functions = collected.functions.map((node) => this.#functionInfo(node))
    this.classes = collected.classes.map((node) => this.#classInfo(node, collected))
  }

  info(node: FunctionNode): FunctionInfo {
    return this.#infos.get(node)!
  }
  classInfo(node: ClassNode): ClassInfo {
    return this.#classInfos.get(node)!
  }

  get layout(): { base: number; control: { limit: number } } {
    const { machine } = this.runtime
    return { base: machine.base, control: { limit: machine.limitIndex } }
  }
  get cells(): { nil: number; true: number; false: number } {
    return this.runtime.machine
  }
  get shapes(): { box: Shape<{ readonly value: 'value' }> } {
    return this.runtime.objects
  }

  global(name: string): Global {
    return this.runtime.globals.get(name)
  }
  /** The function that `name` holds unless an assignment comes: the program declares it once and never assigns it. */
  globalFunction(name: string): FunctionInfo | null {
    const node = this.#globalFunctions.get(name)
    return node ? this.info(node) : null
  }
  isGlobalClass(name: string): boolean {
    return this.#globalClasses.has(name)
  }
  /** Whether a loop becomes a JavaScript function of its own (loops.ts). */
  isOutlined(loop: Loop): boolean {
    return this.#outlined.has(loop)
  }
  /** Whether more than one JavaScript function uses a variable: it needs a slot then. */
  isShared(local: Local): boolean {
    return this.#shared.has(local)
  }
  constant(bytes: string): number {
    return this.runtime.strings.constant(bytes)
  }
  newSite(name: string): number {
    return this.siteNames.push(name) - 1
  }

  #functionInfo(node: FunctionNode): FunctionInfo {
    const { captures, kind } = node
    const slots: Record<`c${number}`, 'ref' | 'value'> = {}
    captures.forEach(({ local }, i) => (slots[`c${i}`] = this.representations.isBoxed(local) ? 'ref' : 'value'))
    const { objects } = this.runtime
    const shape = kind === 'script' ? objects.script : objects.defineClosure(node.name, slots)
    const id = this.runtime.nextFunction++
    const isMethod = kind === 'method' || kind === 'initializer'
    const info: FunctionInfo = {
      id,
      name: node.name,
      arity: node.parameters.length,
      node,
      text: `f${id}_${node.name}`,
      shape,
      captureAt: captures.map((_, i) => shape.at[`c${i}`]),
      getter: isMethod ? getterOf(node) : null,
      closureSlot: captures.length === 0 ? -1 : isMethod ? node.parameters.length + 1 : 0,
      isMethod,
      isSplit: node.size > SPLIT_SIZE,
    }
    this.#infos.set(node, info)
    return info
  }

  #classInfo(node: ClassNode, { fieldsOf, foreignFields }: Collected): ClassInfo {
    const fields = fieldsOf.get(node)!
    const methods = node.methods.map((method) => ({
      name: method.name,
      callable: this.runtime.callable(this.info(method)),
    }))
    // Whose fields the foreign ones are is not known: room for a few of them costs less than an overflow array.
    const foreign = [...foreignFields].slice(0, fields.size > 0 || node.superclass ? 3 : 8)
    const info: ClassInfo = {
      id: this.runtime.classes.length,
      name: node.name,
      methods,
      fields: [...fields, ...foreign],
    }
    this.runtime.classes.push(info)
    this.#classInfos.set(node, info)
    return info
  }
}

/** The field that a method only returns, if that is all it does: `name() { return this.field; }`. */
function getterOf({ parameters, body: [first], self }: FunctionNode): string | null {
  if (parameters.length > 0 || first?.kind !== 'return' || first.value?.kind !== 'property') return null
  const { object, name } = first.value
  return object.kind === 'get' && object.variable.kind === 'local' && object.variable.local === self ? name : null
}
