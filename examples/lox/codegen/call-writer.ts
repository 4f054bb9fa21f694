// Calls and properties: an inline cache in the text, a slow path behind it (runtime/calls.ts, runtime/properties.ts).
//
// Callee, arguments and result travel in slots, so a call passes one integer. The cache compares the shape of the callee or
// receiver; on a hit the target is a JavaScript function that V8 may inline. A call of a global function that the program
// defines once needs not even that: a guard word says that the variable still holds it.

import { Tag } from 'glissade'
import { Effect, type Expr } from '../syntax/ast.js'
import { VALUE_CARD_SHIFT } from '../runtime/machine.js'
import { Site } from '../runtime/sites.js'
import { OperatorWriter } from './operator-writer.js'
import { cellSlot, frameSlot, type Operand, type Slot, type SlotOperand } from './operands.js'

export abstract class CallWriter extends OperatorWriter {
  protected call(expr: Expr & { kind: 'call' }, wanted: number | null): Operand {
    const { callee, args, line } = expr
    const base = this.takeCallSlots(args.length, wanted)
    const slot = frameSlot(base)
    if (callee.kind === 'get' && callee.variable.kind === 'global') {
      const { name } = callee.variable
      if (this.program.isGlobalClass(name)) return this.#callGlobalClass(name, callee.line, base, args, line)
      const direct = this.#callGlobal(name, callee.line, base, args, line)
      if (direct) return this.#result(base)
    }
    this.scoped(() => this.toSlot(callee, base))
    this.#arguments(args, base)
    const site = this.program.newSite('')
    const hit = `${slot.tag} === ${Tag.Ref} && i32[${slot.payload}] === ${cache(site, Site.Shape)}`
    const slow = `findCallee(sites, ${site}, ${slot.index}, ${args.length})(${slot.index})`
    this.emitAt(line, `if (${hit}) targets[${site}](${slot.index}); else ${slow}`)
    return this.#result(base)
  }

  /** A call of a function that one declaration of the program gives to a global. */
  #callGlobal(name: string, nameLine: number, base: number, args: readonly Expr[], line: number): boolean {
    const target = this.program.globalFunction(name)
    if (!target || target.node.parameters.length !== args.length) return false
    const global = this.program.global(name)
    const slot = frameSlot(base)
    const guard = this.temporary('k')
    // The callee is evaluated before the arguments, which may assign the variable.
    this.emit(`${guard} = guards[${global.index}]`)
    this.emitAt(nameLine, `if (${guard} !== ${target.shape.id}) loadCallee(${global.index}, ${slot.index})`)
    this.#arguments(args, base)
    const site = this.program.newSite('')
    const slow = `findCallee(sites, ${site}, ${slot.index}, ${args.length})(${slot.index})`
    this.emitAt(line, `if (${guard} === ${target.shape.id}) ${target.text}(${slot.index}); else ${slow}`)
    return true
  }

  /** A call of a class that the program declares: the guard is the shape that the cache compares. */
  #callGlobalClass(name: string, nameLine: number, base: number, args: readonly Expr[], line: number): Operand {
    const global = this.program.global(name)
    const slot = frameSlot(base)
    const guard = this.temporary('k')
    this.emit(`${guard} = guards[${global.index}]`)
    const load = `loadCallee(${global.index}, ${slot.index})`
    this.emitAt(nameLine, `if (${guard} === 0) ${load}; else ${slot.value} = slots[${global.cell}]`)
    this.#arguments(args, base)
    const site = this.program.newSite('')
    const slow = `findCallee(sites, ${site}, ${slot.index}, ${args.length})(${slot.index})`
    const hit = `${guard} === ${cache(site, Site.Shape)}`
    this.emitAt(line, `if (${hit}) targets[${site}](${slot.index}); else ${slow}`)
    return this.#result(base)
  }

  #result(base: number): Operand {
    this.releaseAbove(base)
    return { kind: 'slot', slot: frameSlot(base), origin: 'temporary' }
  }

  #arguments(args: readonly Expr[], base: number): void {
    args.forEach((arg, i) => this.scoped(() => this.toSlot(arg, base + 1 + i)))
  }

  protected invoke(expr: Expr & { kind: 'invoke' }, wanted: number | null): Operand {
    const { object, name, args, line } = expr
    // The slots of the arguments are taken later: a receiver that is a call's result can then be left where it is.
    const base = this.takeCallSlots(-1, wanted)
    const slot = frameSlot(base)
    const site = this.program.newSite(name)
    if (args.length === 0) {
      const receiver = this.scoped(() => this.inSlot(this.value(object, base)))
      this.takeSlots(1)
      this.#invokeWithoutArguments(receiver, slot, site, line)
    } else {
      const receiver = this.scoped(() => this.toSlot(object, base))
      this.takeSlots(args.length + 1)
      this.#arguments(args, base)
      // The receiver is read where it was found, unless the arguments may have changed that place.
      const isSafe = receiver.kind === 'slot' && receiver.origin === 'local' && !(expr.effects & Effect.Assigns)
      const hit = this.#shapeMatches(isSafe ? receiver : { kind: 'slot', slot, origin: 'temporary' }, site)
      const slow = `findMethod(sites, ${site}, ${slot.index}, ${args.length})(${slot.index})`
      this.emitAt(line, `if (${hit}) targets[${site}](${slot.index}); else ${slow}`)
    }
    return this.#result(base)
  }

  /** The receiver is copied only if a call needs it: a method that just returns a field is read as that field. */
  #invokeWithoutArguments(receiver: SlotOperand, slot: Slot, site: number, line: number): void {
    const { payload, tag, index, value } = receiver.slot
    const ref = this.temporary('k')
    const shape = this.temporary('k')
    const load = `i32[${ref} = ${payload}]`
    this.emit(`${shape} = ${receiver.isInstance ? load : `${tag} === ${Tag.Ref} ? ${load} : 0`}`)
    const isGetter = `${shape} === ${cache(site, Site.GetterShape)}`
    this.emit(`if (${isGetter}) ${slot.value} = f64[(${ref} >>> 1) + ${cache(site, Site.Index)}]`)
    const copy = index === slot.index ? '' : `${slot.value} = ${value}; `
    const isMethod = `${shape} === ${cache(site, Site.Shape)} || ${shape} === ${cache(site, Site.OtherShape)}`
    this.emitAt(line, `else if (${isMethod}) { ${copy}targets[${site}](${slot.index}) }`)
    this.emitAt(line, `else { ${copy}findMethod(sites, ${site}, ${slot.index}, 0)(${slot.index}) }`)
  }

  /** Text that is true if an object has the shape that the site saw last. */
  #shapeMatches({ slot, isInstance }: SlotOperand, site: number, ref = slot.payload): string {
    const k = this.temporary('k')
    const same = `((${k} = i32[${ref}]) === ${cache(site, Site.Shape)} || ${k} === ${cache(site, Site.OtherShape)})`
    return isInstance ? same : `${slot.tag} === ${Tag.Ref} && ${same}`
  }

  // ---- properties

  protected property(expr: Expr & { kind: 'property' }, wanted: number | null): Operand {
    const object = this.inSlot(this.value(expr.object))
    const slot = frameSlot(wanted ?? this.takeSlots(1))
    const site = this.program.newSite(expr.name)
    const view = this.temporary('t')
    const k = this.temporary('k')
    this.emit(`${k} = ${object.slot.payload}`)
    const load = `${slot.value} = ${view} = f64[(${k} >>> 1) + ${cache(site, Site.Index)}]`
    const slow = `${view} = get(sites, ${site}, ${object.slot.index}, ${slot.index}, ${this.top})`
    this.emitAt(expr.line, `if (${this.#shapeMatches(object, site, k)}) ${load}; else ${slow}`)
    return { kind: 'slot', slot, origin: 'temporary', view }
  }

  protected setProperty(expr: Expr & { kind: 'setProperty' }): Operand {
    const object = this.inSlot(this.keep(this.value(expr.object), expr.value.effects))
    const value = this.value(expr.value)
    const site = this.program.newSite(expr.name)
    const k = this.temporary('k')
    this.emit(`${k} = ${object.slot.payload}`)
    const same = `i32[${k}] === ${cache(site, Site.Shape)}`
    const hit = object.isInstance ? same : `${object.slot.tag} === ${Tag.Ref} && ${same}`
    this.block(
      `if (${hit})`,
      () => {
        this.emit(`i32[${k}] = ${cache(site, Site.NextShape)}`)
        const at = `(${k} >>> 1) + ${cache(site, Site.Index)}`
        if (value.kind !== 'slot') this.emit(`f64[${at}] = ${this.content(value)}`)
        else {
          this.emit(`f64[${k} = ${at}] = ${value.slot.value}`)
          this.emit(`cards[${k} >>> ${VALUE_CARD_SHIFT}] = 1`)
        }
      },
      '} else {',
    )
    const slow = this.capture(() =>
      this.scoped(() => {
        const { slot } = this.inSlot(value)
        this.emitAt(expr.line, `set(sites, ${site}, ${object.slot.index}, ${slot.index}, ${this.top})`)
      }),
    )
    this.lines.push(...slow)
    this.emit('}')
    return value
  }

  // ---- super

  protected superInvoke(expr: Expr & { kind: 'superInvoke' }, wanted: number | null): Operand {
    const base = this.takeCallSlots(expr.args.length, wanted)
    const slot = frameSlot(base)
    this.scoped(() => this.store(this.read(expr.self, expr.line, base), slot))
    this.#arguments(expr.args, base)
    const site = this.program.newSite(expr.name)
    const owner = this.temporary('k')
    this.emit(`${owner} = ${this.referenceTo(expr.superclass)}`)
    // The closure comes from the superclass, not from the receiver's class.
    const closure = frameSlot(base + expr.args.length + 1)
    const target = `targets[${site}](${slot.index})`
    this.block(
      `if (i32[${owner}] === ${cache(site, Site.Shape)})`,
      () => {
        this.emit(`${closure.payload} = i32[${owner} + ${cache(site, Site.Index)}]`)
        this.emit(`${closure.tag} = ${Tag.Ref}`)
        this.emitAt(expr.line, target)
      },
      '} else {',
    )
    const found = `findSuper(sites, ${site}, ${owner}, ${slot.index}, ${expr.args.length})`
    this.emitAt(expr.line, `  ${found}(${slot.index})`)
    this.emit('}')
    return this.#result(base)
  }

  protected superGet(expr: Expr & { kind: 'superGet' }, wanted: number | null): Operand {
    const receiver = this.inSlot(this.read(expr.self, expr.line, null))
    const owner = this.inSlot(this.read(expr.superclass, expr.line, null)).slot
    const slot = frameSlot(wanted ?? this.takeSlots(1))
    const site = this.program.newSite(expr.name)
    const target = `${receiver.slot.index}, ${slot.index}, ${this.top}`
    this.emitAt(expr.line, `bindSuper(sites, ${site}, ${owner.index}, ${target})`)
    return { kind: 'slot', slot, origin: 'temporary' }
  }

  // ---- constants

  protected string(bytes: string): Operand {
    return { kind: 'slot', slot: cellSlot(this.program.constant(bytes)), origin: 'constant' }
  }
}

const cache = (site: number, word: number): string => `cache[${Site.Words * site + word}]`
