// The other objects of Lox, and what code runs when one of them is called.
//
// A *closure* has a shape for each function of the program text, so its word 0 says which code it runs and what it has
// captured. A captured variable that is never assigned is copied into the closure; one that is assigned lives in a *box*
// that all closures share with the function that declared it. A *class* object has a shape for each kind (layouts.ts). So
// one table, indexed by shape, says for any object whether and how it can be called.

import type { Shape } from 'glissade'
import { compileConstructor, compileMethodEntry } from './entry-points.js'
import {
  Kind,
  type Callable,
  type ClassInfo,
  type ClassSlots,
  type Enter,
  type Layout,
  type Method,
} from './layouts.js'
import type { Machine } from './machine.js'

export type ClosureSlots = { readonly [capture: `c${number}`]: 'ref' | 'value' }

export class Objects {
  readonly box: Shape<{ readonly value: 'value' }>
  /** Every script has it, for nobody makes a closure of one: a REPL runs more of them than a heap has shapes. */
  readonly script: Shape<ClosureSlots>
  readonly boundMethod: Shape<{ readonly receiver: 'value'; readonly closure: 'ref' }>
  /** By shape: what can be called. */
  readonly callables: (Callable | undefined)[] = []
  /** By shape: the layouts of instances. */
  readonly layouts: (Layout | undefined)[] = []
  /** By shape: the kinds of class objects. */
  readonly kinds: (Kind | undefined)[] = []
  readonly #machine: Machine
  readonly #allocateBound: () => number
  readonly #kindsByKey = new Map<string, Kind>()
  #closureShapes = 0

  constructor(machine: Machine) {
    this.#machine = machine
    const { heap } = machine
    this.box = heap.defineShape('Box', { value: 'value' })
    this.boundMethod = heap.defineShape('BoundMethod', { receiver: 'value', closure: 'ref' })
    this.script = heap.defineShape('script', {})
    this.#allocateBound = machine.allocator(this.boundMethod)
  }

  /** What objects of a shape are to the program: instances of a class, functions of a name. */
  className(shape: number): string | undefined {
    const layout = this.layouts[shape]
    if (layout) return layout.kind.info.name
    const kind = this.kinds[shape]
    if (kind) return `class ${kind.info.name}`
    const callable = this.callables[shape]
    return callable && `${callable.id < 0 ? 'native' : 'fun'} ${callable.name}`
  }

  /** The field that a slot of an instance holds. */
  fieldName(shape: number, slot: string | number): string | undefined {
    const layout = this.layouts[shape]
    if (!layout) return undefined
    for (const [field, place] of layout.fields) if (slot === `f${place}`) return field
    return undefined
  }

  /** The shape of the closures of one function of the program text. */
  defineClosure(name: string, captures: ClosureSlots): Shape<ClosureSlots> {
    return this.#machine.heap.defineShape(`fun ${name} #${this.#closureShapes++}`, captures)
  }

  /** Makes a function of the machine's own into a value in a new cell. Allocates. */
  defineNative(name: string, enter: Enter): number {
    const machine = this.#machine
    const shape = machine.heap.defineShape(`native ${name}`, {})
    this.callables[shape.id] = { id: -1, name, arity: -1, enter, closureSlot: -1, getter: null }
    machine.publish(machine.base)
    const cell = machine.newCell()
    machine.setCellRef(cell, machine.m.alloc(shape))
    return cell
  }

  /**
   * Puts into slot `target` the method bound to the receiver in slot `receiver`. Its closure is taken from the class in
   * slot `owner`, or from the receiver's own if that is −1. A safepoint.
   */
  bind(receiver: number, owner: number, method: Method, target: number, top: number): void {
    const machine = this.#machine
    const { i32, f64 } = machine.m
    const { slots, words } = machine
    machine.publish(top)
    // Until it is in its slot nobody else knows it: no cards.
    const bound = this.#allocateBound()
    const from = owner < 0 ? this.classOf(words[2 * receiver]) : words[2 * owner]
    const { at } = this.boundMethod
    i32[bound + at.closure] = i32[from + method.at]
    f64[(bound >>> 1) + at.receiver] = slots[receiver]
    machine.setSlotRef(target, bound)
  }

  /** The class object of an instance. */
  classOf(instance: number): number {
    const { i32 } = this.#machine.m
    return i32[instance + this.layouts[i32[instance]]!.kind.classAt]
  }

  /** The kind of the classes that a declaration makes below a given superclass. */
  kindOf(info: ClassInfo, superKind: Kind | null): Kind {
    const key = `${info.id}<${superKind?.tableKey ?? ''}`
    let kind = this.#kindsByKey.get(key)
    if (!kind) this.#kindsByKey.set(key, (kind = this.#newKind(info, superKind)))
    return kind
  }

  #newKind(info: ClassInfo, superKind: Kind | null): Kind {
    const { heap } = this.#machine
    const name = `${info.name} #${this.#kindsByKey.size}`
    const callables = new Map<string, Callable>()
    for (const [method, { callable }] of superKind?.methods ?? []) callables.set(method, callable)
    for (const { name: method, callable } of info.methods) callables.set(method, callable)
    const tableKey = [...callables].map(([method, { id }]) => `${method}:${id}`).join()

    const slots: Record<`m${number}`, 'ref'> = {}
    for (let i = 0; i < callables.size; i++) slots[`m${i}`] = 'ref'
    const classShape = heap.defineShape(`class ${name}`, slots) as Shape<ClassSlots>
    const methods = new Map<string, Method>()
    const fields = superKind ? [...superKind.fields, ...info.fields] : info.fields
    const kind = new Kind(heap, name, info, methods, tableKey, classShape, new Set(fields), (layout) => {
      this.layouts[layout.id] = layout
    })
    for (const [method, callable] of callables) {
      const at = classShape.at[`m${methods.size}`]
      methods.set(method, { callable, at, enter: compileMethodEntry(this.#machine, kind, callable, at) })
    }

    this.kinds[classShape.id] = kind
    const init = methods.get('init') ?? null
    const arity = init?.callable.arity ?? 0
    const enter = compileConstructor(this.#machine, kind, init)
    this.callables[classShape.id] = { id: -1, name: info.name, arity, enter, closureSlot: -1, getter: null }
    return kind
  }
}
