// What generated code knows about a value while it computes with it.

import type { Local } from '../syntax/ast.js'

/** A slot of the value stack or a cell, as text: its index, and how to read it. */
export interface Slot {
  readonly index: string
  readonly value: string
  readonly payload: string
  readonly tag: string
}

export function frameSlot(offset: number): Slot {
  const index = offset === 0 ? 'sp' : `sp + ${offset}`
  return { index, value: `slots[${index}]`, payload: `words[${index} << 1]`, tag: `words[(${index} << 1) + 1]` }
}
export function cellSlot(cell: number): Slot {
  return { index: `${cell}`, value: `slots[${cell}]`, payload: `words[${2 * cell}]`, tag: `words[${2 * cell + 1}]` }
}

/** Where a slot operand comes from, hence what can change it behind the operand's back. */
export type Origin = 'temporary' | 'local' | 'global' | 'constant'

/** The value of an expression. The texts have no effects, and are cheap to repeat unless `js` is compound. */
export type Operand =
  /** A number, known to be one. `stable`: no assignment can change what the text means. */
  | { readonly kind: 'number'; readonly js: string; readonly stable: boolean }
  | { readonly kind: 'boolean'; readonly js: string }
  | { readonly kind: 'nil' }
  | SlotOperand

/** A value of any type, in a slot. */
export interface SlotOperand {
  readonly kind: 'slot'
  readonly slot: Slot
  readonly origin: Origin
  /** A JavaScript local that holds the slot as a double. */
  readonly view?: string
  /** The variable whose home the slot is. */
  readonly local?: Local
  /** Known to be an instance: `this`. */
  readonly isInstance?: boolean
}

export const isSimple = (js: string): boolean => /^[\w$.]+$/.test(js)
