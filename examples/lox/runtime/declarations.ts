// What declarations do at run time: make closures, boxes and classes.

import { Tag, type Shape } from 'glissade'
import type { Globals } from './globals.js'
import type { ClassInfo } from './layouts.js'
import { CARD_SHIFT, VALUE_CARD_SHIFT, type Machine } from './machine.js'
import type { ClosureSlots, Objects } from './objects.js'

/** A function of a program text, as the runtime knows it. */
export interface FunctionCode {
  readonly id: number
  readonly name: string
  readonly arity: number
  readonly shape: Shape<ClosureSlots>
  readonly closureSlot: number
  readonly getter: string | null
}

export interface Declarations {
  /** Makes a closure of function `id` into a slot. Its captures are for the caller to fill, before the next safepoint. */
  allocateClosure(id: number, slot: number, top: number): void
  /** Puts the value in a slot into a new box, and the box into the slot. */
  wrap(slot: number, top: number): void
  /** Stores a value into the box in slot `box`. */
  fill(box: number, value: number): void
  /** Makes a class into slot `target`; `superclass` is a slot, or −1. */
  declareClass(id: number, target: number, superclass: number, top: number): void
  /** Gives the class in a slot the closure of one of its methods. */
  addMethod(target: number, closure: number, name: string): void
  undefinedVariable(index: number): never
  /** Copies a global into a slot where its guard says that it is not the function that the text expects. */
  loadCallee(index: number, slot: number): void
}

export function createDeclarations(
  machine: Machine,
  objects: Objects,
  globals: Globals,
  codes: readonly FunctionCode[],
  classes: readonly ClassInfo[],
): Declarations {
  const { m, slots, words } = machine
  const { i32, f64, cards } = m
  const { box, kinds } = objects
  const allocateBox = machine.allocator(box)
  const boxValue = box.at.value
  const allocators: (() => number)[] = []

  const undefinedVariable = (index: number): never => {
    throw machine.error(`Undefined variable '${globals.at(index).name}'.`)
  }

  return {
    allocateClosure(id, slot, top) {
      const allocate = (allocators[id] ??= machine.allocator(codes[id].shape))
      machine.publish(top)
      machine.setSlotRef(slot, allocate())
    },

    wrap(slot, top) {
      machine.publish(top)
      const ref = allocateBox()
      f64[(ref >>> 1) + boxValue] = slots[slot] // nobody else knows it yet: no card
      machine.setSlotRef(slot, ref)
    },

    fill(boxSlot, value) {
      const at = (words[2 * boxSlot] >>> 1) + boxValue
      f64[at] = slots[value]
      cards[at >>> VALUE_CARD_SHIFT] = 1
    },

    declareClass(id, target, superclass, top) {
      const isClass = superclass >= 0 && words[2 * superclass + 1] === Tag.Ref
      const superKind = isClass ? kinds[i32[words[2 * superclass]]] : undefined
      if (superclass >= 0 && !superKind) throw machine.error('Superclass must be a class.')
      const kind = objects.kindOf(classes[id], superKind ?? null)
      machine.publish(top)
      const ref = m.alloc(kind.classShape) // as in wrap
      for (const [name, inherited] of superKind?.methods ?? []) {
        const at = ref + kind.methods.get(name)!.at
        i32[at] = i32[words[2 * superclass] + inherited.at]
      }
      machine.setSlotRef(target, ref)
    },

    addMethod(target, closure, name) {
      const ref = words[2 * target]
      const at = ref + kinds[i32[ref]]!.methods.get(name)!.at
      i32[at] = words[2 * closure]
      cards[at >>> CARD_SHIFT] = 1
    },

    undefinedVariable,

    loadCallee(index, slot) {
      const { cell } = globals.at(index)
      if (words[2 * cell + 1] === Tag.Undefined) undefinedVariable(index)
      slots[slot] = slots[cell]
    },
  }
}
