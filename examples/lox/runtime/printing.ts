// `print`: a value as Lox writes it.

import { Tag } from 'glissade'
import type { Machine } from './machine.js'
import { formatNumber } from './numbers.js'
import type { Objects } from './objects.js'
import type { Strings } from './strings.js'

/** Writes the value in a slot and a newline. A safepoint. */
export type Print = (slot: number, top: number) => void

export function createPrint(machine: Machine, objects: Objects, strings: Strings): Print {
  const { output, slots, words, m } = machine
  const { i32 } = m
  const { callables, kinds, layouts, boundMethod } = objects

  const describe = (ref: number): string => {
    const shape = i32[ref]
    if (shape === boundMethod.id) return describe(i32[ref + boundMethod.at.closure])
    const kind = kinds[shape]
    if (kind) return kind.info.name
    const layout = layouts[shape]
    if (layout) return `${layout.kind.info.name} instance`
    const { id, name } = callables[shape]!
    return id < 0 ? '<native fn>' : `<fn ${name}>`
  }

  // A reader that is slow holds up this program, but no collection.
  const flush = (): void => output.flush()
  const flushIfDue = (top: number): void => {
    if (!output.isDue) return
    machine.publish(top)
    m.parked(flush)
  }
  const writeText = (text: string, top: number): void => {
    for (let i = 0; i < text.length; i++) {
      flushIfDue(top)
      output.byte(text.charCodeAt(i))
    }
  }
  /** The string is taken from its slot for each byte, because it may have moved while the one before was written. */
  const writeString = (slot: number, top: number): void => {
    const length = strings.length(words[2 * slot])
    for (let i = 0; i < length; i++) {
      flushIfDue(top)
      output.byte(strings.byte(words[2 * slot], i))
    }
  }

  return (slot, top) => {
    const payload = words[2 * slot]
    switch (words[2 * slot + 1]) {
      case Tag.Nil:
        writeText('nil', top)
        break
      case Tag.Boolean:
        writeText(payload === 0 ? 'false' : 'true', top)
        break
      case Tag.Ref:
        if (strings.isString(payload)) writeString(slot, top)
        else writeText(describe(payload), top)
        break
      default:
        writeText(formatNumber(slots[slot]), top)
    }
    flushIfDue(top)
    output.newline()
    flushIfDue(top)
  }
}
