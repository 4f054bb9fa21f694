// Reading, assigning and defining variables, in all their representations.

import { Tag } from 'glissade'
import { Effect, type Expr, type Local, type Target, type Variable } from '../syntax/ast.js'
import { FrameWriter } from './frame-writer.js'
import { cellSlot, frameSlot, isSimple, type Operand, type SlotOperand } from './operands.js'
import type { Global } from '../runtime/globals.js'
import { VALUE_CARD_SHIFT } from '../runtime/machine.js'

export abstract class VariableWriter extends FrameWriter {
  /** The value of an expression. `wanted`: the offset of a slot where it is welcome, if it needs one. */
  protected abstract value(expr: Expr, wanted?: number | null): Operand

  /** Evaluates into the slot at `offset`. Returns what is known of the value there. */
  protected toSlot(expr: Expr, offset: number): Operand {
    const operand = this.value(expr, offset)
    this.store(operand, frameSlot(offset))
    return operand
  }

  // ---- reading

  protected read(variable: Variable, line: number, wanted: number | null): Operand {
    switch (variable.kind) {
      case 'global':
        return this.#readGlobal(variable.name, line)
      case 'local':
        return this.#readLocal(variable.local, wanted)
      case 'captured':
        return this.#load(this.#capturedAt(variable.index), variable.local, wanted)
    }
  }

  #readLocal(local: Local, wanted: number | null): Operand {
    switch (this.represent(local)) {
      case 'number':
        return { kind: 'number', js: this.mirror(local), stable: local.assignments.length === 0 }
      case 'box':
        return this.#load(this.#boxedAt(this.home(local).payload), local, wanted)
      case 'slot': {
        const fact = this.fact(local)
        if (fact === 'number') return { kind: 'number', js: this.mirror(local), stable: false }
        const slot = this.home(local)
        if (this.program.representations.isNumber(local)) {
          this.emit(`${this.mirror(local)} = ${slot.value}`)
          this.learn(local, 'number')
          return { kind: 'number', js: this.mirror(local), stable: false }
        }
        const isInstance = local === this.node.self && this.info.isMethod
        return { kind: 'slot', slot, origin: 'local', local, isInstance, ...(fact && { view: this.mirror(local) }) }
      }
    }
  }

  /** How a variable of this function is kept in it: in a slot, if more than one JavaScript function needs it. */
  protected represent(local: Local): 'number' | 'slot' | 'box' {
    const representation = this.program.representations.of(local)
    const needsSlot = this.info.isSplit || this.program.isShared(local)
    return representation === 'number' && needsSlot ? 'slot' : representation
  }

  /** Text of the f64 index of the value in the box that `reference` refers to. */
  #boxedAt(reference: string): string {
    return `(${reference} >>> 1) + ${this.program.shapes.box.at.value}`
  }
  #capturedAt(index: number): string {
    const { local } = this.node.captures[index]
    const at = this.info.captureAt[index]
    const closure = this.closure.payload
    if (this.program.representations.isBoxed(local)) return this.#boxedAt(`i32[(${closure}) + ${at}]`)
    return `((${closure}) >>> 1) + ${at}`
  }

  /** Text of a raw reference to the class in the hidden variable `super`, for use before the next safepoint. */
  protected referenceTo(variable: Variable): string {
    if (variable.kind === 'captured') return `i32[(${this.#capturedAt(variable.index)}) << 1]`
    if (variable.kind === 'local') return this.home(variable.local).payload
    throw new Error('super is no global')
  }

  #load(at: string, local: Local, wanted: number | null): Operand {
    if (this.program.representations.isNumber(local)) return this.#number(`f64[${at}]`)
    const slot = frameSlot(wanted ?? this.takeSlots(1))
    const view = this.temporary('t')
    this.emit(`${slot.value} = ${view} = f64[${at}]`)
    return { kind: 'slot', slot, origin: 'temporary', view, isInstance: local.name === 'this' }
  }
  #number(text: string): Operand {
    const js = this.temporary('t')
    this.emit(`${js} = ${text}`)
    return { kind: 'number', js, stable: true }
  }

  #readGlobal(name: string, line: number): SlotOperand {
    const global = this.program.global(name)
    const slot = cellSlot(global.cell)
    if (!this.isDefined(name)) {
      this.emitAt(line, `if (${slot.tag} === ${Tag.Undefined}) undefinedVariable(${global.index})`)
      this.learnDefined(name)
    }
    return { kind: 'slot', slot, origin: 'global' }
  }

  /** An operand that keeps its value while code with these effects runs. */
  protected keep(operand: Operand, effects: number): Operand {
    if (operand.kind === 'number') {
      if (operand.stable || !(effects & Effect.Assigns)) return operand
      return this.#number(operand.js)
    }
    if (operand.kind !== 'slot') return operand
    const danger = operand.origin === 'local' ? Effect.Assigns : Effect.Assigns | Effect.Calls
    if (operand.origin === 'temporary' || operand.origin === 'constant' || !(effects & danger)) return operand
    const slot = this.temporarySlot()
    this.store(operand, slot)
    return { kind: 'slot', slot, origin: 'temporary', isInstance: operand.isInstance }
  }

  // ---- assigning

  protected assign(variable: Variable, value: Expr, line: number): Operand {
    if (variable.kind === 'local') return this.#assignLocal(variable.local, value)
    const operand = this.value(value)
    if (variable.kind === 'captured') this.#storeHeap(this.#capturedAt(variable.index), operand)
    else {
      const { name } = variable
      const global = this.program.global(name)
      if (!this.isDefined(name)) {
        this.emitAt(line, `if (${cellSlot(global.cell).tag} === ${Tag.Undefined}) undefinedVariable(${global.index})`)
        this.learnDefined(name)
      }
      this.#storeGlobal(global, operand)
    }
    return operand
  }

  #assignLocal(local: Local, value: Expr): Operand {
    switch (this.represent(local)) {
      case 'box': {
        const operand = this.value(value)
        this.#storeHeap(this.#boxedAt(this.home(local).payload), operand)
        return operand
      }
      case 'number':
        return this.#setNumber(local, this.value(value), '')
      case 'slot': {
        const operand = this.value(value)
        if (operand.kind === 'number') return this.#setNumber(local, operand, `${this.home(local).value} = `)
        this.store(operand, this.home(local))
        this.forget(local)
        return operand.kind === 'slot' ? { kind: 'slot', slot: this.home(local), origin: 'local', local } : operand
      }
    }
  }
  /** Sets the JavaScript local of a variable, and its slot if it has one. */
  #setNumber(local: Local, operand: Operand, slot: string): Operand {
    if (operand.kind !== 'number') throw new Error(`${local.name} was inferred to hold numbers only`)
    const name = this.mirror(local)
    this.emit(`${slot}${name} = ${operand.js}`)
    if (slot !== '') this.learn(local, 'number')
    return { kind: 'number', js: name, stable: false }
  }

  #storeGlobal(global: Global, operand: Operand): void {
    const { cell, index } = global
    this.emit(`slots[${cell}] = ${this.content(operand)}`)
    if (operand.kind === 'slot') this.emit(`rootCards[${cell >>> VALUE_CARD_SHIFT}] = 1`)
    // Whatever was known of a function in this variable is known no longer.
    this.emit(`guards[${index}] = 0`)
  }
  /** Stores into a value slot of a heap object; anything that may be a reference marks the card. */
  #storeHeap(at: string, operand: Operand): void {
    if (operand.kind !== 'slot') {
      this.emit(`f64[${at}] = ${this.content(operand)}`)
      return
    }
    const k = this.temporary('k')
    this.emit(`${k} = ${at}`)
    this.emit(`f64[${k}] = ${operand.slot.value}`)
    this.emit(`cards[${k} >>> ${VALUE_CARD_SHIFT}] = 1`)
  }

  // ---- defining

  /** A variable begins to exist with the value of an expression (`null`: nil). */
  protected define(target: Target, value: Expr | null): void {
    const init = value ?? { kind: 'nil', effects: 0 }
    if ('global' in target) {
      this.defineGlobal(target.global, this.value(init))
      return
    }
    if (this.represent(target) === 'number') {
      this.#setNumber(target, this.value(init), '')
      return
    }
    const home = this.giveHome(target)
    const operand = this.scoped(() => this.toSlot(init, home))
    this.forget(target)
    if (this.represent(target) === 'box') this.emit(`wrap(${this.home(target).index}, ${this.top})`)
    else if (operand.kind === 'number') {
      this.emit(`${this.mirror(target)} = ${isSimple(operand.js) ? operand.js : this.home(target).value}`)
      this.learn(target, 'number')
    }
  }
  protected defineGlobal(name: string, operand: Operand): void {
    this.#storeGlobal(this.program.global(name), operand)
    this.learnDefined(name)
  }
}
