// The other objects of Lox, and what code runs when one of them is called.
//
// A *closure* has a shape for each function of the program text, so its word 0 says which code it runs and what it has
// captured. A captured variable that is never assigned is copied into the closure; one that is assigned lives in a *box*
// that all closures share with the function that declared it. A *class* object has a shape for each kind (layouts.ts). So
// one table, indexed by shape, says for any object whether and how it can be called.

import type { Shape } from 'glissade'
import { compileConstructor } from './constructor.js'
import { Kind, type Callable, type ClassInfo, type Enter, type Layout, type Method } from './layouts.js'
import type { Machine } from './machine.js'

export type ClosureSlots = { readonly [capture: `c${number}`]: 'ref' | 'value' }

export class Objects {
  readonly box: Shape<{ readonly value: 'value' }>
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
    const { heap, m } = machine
    this.box = heap.defineShape('Box', { value: 'value' })
    this.boundMethod = heap.defineShape('BoundMethod', { receiver: 'value', closure: 'ref' })
    this.#allocateBound = m.allocator(this.boundMethod)
  }

  /** The shape of the closures of one function of the program text. */
  defineClosure(name: string, captures: ClosureSlots): Shape<ClosureSlots> {
    return this.#machine.heap.defineShape(`fun ${name} #${this.#closureShapes++}`, captures)
  }

  /** Makes a function of the machine's own into a value in a new cell. Allocates. */
  defineNative(name: string, enter: Enter): number {
    const machine = this.#machine
    const shape = machine.heap.defineShape(`native ${name}`, {})
    this.callables[shape.id] = { id: -1, name, arity: -1, enter, closureSlot: -1 }
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
    const { i32, f64, cards } = machine.m
    const { slots, words } = machine
    machine.publish(top)
    const bound = this.#allocateBound()
    const from = owner < 0 ? this.classOf(words[2 * receiver]) : words[2 * owner]
    const { at } = this.boundMethod
    i32[bound + at.closure] = this.closureIn(from, method.index)
    cards[(bound + at.closure) >>> 8] = 1
    f64[(bound >>> 1) + at.receiver] = slots[receiver]
    cards[(bound + 2 * at.receiver) >>> 8] = 1
    machine.setSlotRef(target, bound)
  }

  /** The closure of method number `index` of a class object. */
  closureIn(classRef: number, index: number): number {
    const { i32 } = this.#machine.m
    return i32[classRef + this.kinds[i32[classRef]]!.classShape.at[`m${index}`]]
  }

  /** The class object of an instance. */
  classOf(instance: number): number {
    const { i32 } = this.#machine.m
    return i32[instance + this.layouts[i32[instance]]!.shape.at.class]
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
    const methods = new Map<string, Method>()
    for (const [name, { callable, index }] of superKind?.methods ?? []) {
      methods.set(name, { callable, index, enter: this.#methodEntry(callable, index) })
    }
    for (const { name, callable } of info.methods) {
      const index = methods.get(name)?.index ?? methods.size
      methods.set(name, { callable, index, enter: this.#methodEntry(callable, index) })
    }
    const tableKey = [...methods].map(([name, { callable }]) => `${name}:${callable.id}`).join()
    const fields = new Set([...(superKind?.info.fields ?? []), ...info.fields])
    const capacity = Math.max(superKind?.capacity ?? 0, fields.size)
    const name = `${info.name} #${this.#kindsByKey.size}`
    const kind = new Kind(heap, name, info, methods, tableKey, capacity, (layout) => {
      this.layouts[layout.id] = layout
    })
    this.kinds[kind.classShape.id] = kind
    const init = methods.get('init')
    this.callables[kind.classShape.id] = {
      id: -1,
      name: info.name,
      arity: init?.callable.arity ?? 0,
      enter: compileConstructor(this.#machine, kind, init ?? null),
      closureSlot: -1,
    }
    return kind
  }

  /** How instances enter a method: directly, or with the closure taken from their class first. */
  #methodEntry(callable: Callable, index: number): Enter {
    if (callable.closureSlot < 0) return callable.enter
    const machine = this.#machine
    const { closureSlot } = callable
    return (sp) => {
      machine.setSlotRef(sp + closureSlot, this.closureIn(this.classOf(machine.words[2 * sp]), index))
      callable.enter(sp)
    }
  }
}
