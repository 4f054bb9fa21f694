// Lox strings: arrays of bytes in the heap.
//
// Two shapes tell two kinds apart in one compare. A *symbol* is a constant of the program text: one object for each
// distinct content, held by a cell for good. A *string* was made at run time and lives as long as it is used. Two symbols
// are equal when they are the same object; any other pair compares length and content. There is no table of all strings
// to maintain: what Lox looks up by name (fields, methods, globals) is resolved when code is generated.

import { layout, Tag } from 'glissade'
import { LimitError } from './errors.js'
import { FLAG_BITS, type Machine } from './machine.js'

export interface Strings {
  readonly stringShape: number
  readonly symbolShape: number
  /** The cell that holds the constant with these bytes. Allocates; the caller has published the stack. */
  constant(bytes: string): number
  isString(ref: number): boolean
  /** Whether two strings have the same bytes. (Two symbols have if they are the same object: no need to ask.) */
  same(a: number, b: number): boolean
  /** Concatenates the strings in slots `a` and `b` into slot `target`. A safepoint. */
  concatenate(a: number, b: number, target: number, top: number): void
  length(ref: number): number
  byte(ref: number, index: number): number
}

/** Below this length a loop beats a call of copyWithin. */
const SHORT = 64

export function createStrings(machine: Machine): Strings {
  const { heap, m, words } = machine
  const { i32, u8 } = m
  const stringArray = heap.defineArray('String', 'u8')
  const symbolArray = heap.defineArray('Symbol', 'u8')
  const stringShape = stringArray.id
  const symbolShape = symbolArray.id
  const allocate = machine.arrayAllocator(stringArray)
  const allocateSymbol = machine.arrayAllocator(symbolArray)
  const cells = new Map<string, number>()

  const length = (ref: number): number => i32[ref + 1] >>> FLAG_BITS
  const start = (ref: number): number => ref * 4 + 8

  const copy = (from: number, to: number, bytes: number): void => {
    if (bytes > SHORT) u8.copyWithin(to, from, from + bytes)
    else for (let i = 0; i < bytes; i++) u8[to + i] = u8[from + i]
  }

  return {
    stringShape,
    symbolShape,

    constant(bytes) {
      let cell = cells.get(bytes)
      if (cell === undefined) {
        // The cell comes first: a table of more cells is a safepoint as well.
        cell = machine.newTaggedCell(Tag.Nil, 0)
        const ref = allocateSymbol(bytes.length)
        const from = start(ref)
        for (let i = 0; i < bytes.length; i++) u8[from + i] = bytes.charCodeAt(i)
        machine.setCellRef(cell, ref)
        cells.set(bytes, cell)
      }
      return cell
    },

    isString: (ref) => i32[ref] === stringShape || i32[ref] === symbolShape,

    same(a, b) {
      if (i32[a + 1] >>> FLAG_BITS !== i32[b + 1] >>> FLAG_BITS) return false
      // Bytes past the end of an array are zero, so whole words may be compared.
      const end = (length(a) + 3) >>> 2
      for (let i = 2; i < end + 2; i++) if (i32[a + i] !== i32[b + i]) return false
      return true
    },

    concatenate(a, b, target, top) {
      machine.publish(top)
      const bytes = length(words[2 * a]) + length(words[2 * b])
      if (bytes > layout.MAX_ARRAY_LENGTH) throw new LimitError('memory')
      const ref = allocate(bytes)
      // The allocation may have moved both operands: they are read again from their slots.
      const left = words[2 * a]
      const right = words[2 * b]
      copy(start(left), start(ref), length(left))
      copy(start(right), start(ref) + length(left), length(right))
      machine.setSlotRef(target, ref)
    },

    length,
    byte: (ref, index) => u8[start(ref) + index],
  }
}
