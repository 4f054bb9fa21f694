// The slow paths of operators. Generated code computes on doubles first and comes here when the result is a NaN.
//
// A tagged value read as a double is a NaN, arithmetic on a NaN gives a NaN, and a comparison with one is false. So
// generated code adds first and asks afterwards: a result that is not a NaN proves that both operands were numbers.

import { Tag } from 'glissade'
import type { Machine } from './machine.js'
import type { Strings } from './strings.js'

export interface Operators {
  /** Throws unless the values in both slots are numbers. Returns false: what a comparison with a NaN gives. */
  numbers(a: number, b: number): boolean
  /** The same for one slot, where the other operand is known to be a number. */
  number(a: number): boolean
  /** The operand of a unary minus. */
  negatable(a: number): void
  /** An operand of `+` whose other operand is a number. */
  addend(a: number): void
  /** Adds two numbers or two strings into slot `target`, and returns that slot as a double. A safepoint. */
  add(a: number, b: number, target: number, top: number): number
  /** Whether two values, not both of them numbers, are equal. */
  same(a: number, b: number): boolean
}

export function createOperators(machine: Machine, strings: Strings): Operators {
  const { slots, words, m } = machine
  const { i32 } = m
  const { symbolShape } = strings

  const isNumber = (slot: number): boolean => words[2 * slot + 1] < Tag.First
  const isString = (slot: number): boolean => words[2 * slot + 1] === Tag.Ref && strings.isString(words[2 * slot])

  return {
    numbers(a, b) {
      if (isNumber(a) && isNumber(b)) return false
      throw machine.error('Operands must be numbers.')
    },
    number(a) {
      if (isNumber(a)) return false
      throw machine.error('Operands must be numbers.')
    },
    negatable(a) {
      if (!isNumber(a)) throw machine.error('Operand must be a number.')
    },
    addend(a) {
      if (!isNumber(a)) throw machine.error('Operands must be two numbers or two strings.')
    },
    add(a, b, target, top) {
      if (isString(a) && isString(b)) strings.concatenate(a, b, target, top)
      else if (isNumber(a) && isNumber(b)) slots[target] = NaN
      else throw machine.error('Operands must be two numbers or two strings.')
      return slots[target]
    },
    same(a, b) {
      const tag = words[2 * a + 1]
      if (tag !== words[2 * b + 1]) return false
      const left = words[2 * a]
      const right = words[2 * b]
      if (left === right) return tag >= Tag.First
      if (tag !== Tag.Ref || (i32[left] === symbolShape && i32[right] === symbolShape)) return false
      return strings.isString(left) && strings.isString(right) && strings.same(left, right)
    },
  }
}
