// `print`: a value as Lox writes it.

import { Tag } from 'glissade'
import type { Machine } from './machine.js'
import { formatNumber } from './numbers.js'
import type { Objects } from './objects.js'
import type { Strings } from './strings.js'

/** Writes the value in a slot and a newline. */
export type Print = (slot: number) => void

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

  return (slot) => {
    const payload = words[2 * slot]
    switch (words[2 * slot + 1]) {
      case Tag.Nil:
        output.text('nil')
        break
      case Tag.Boolean:
        output.text(payload === 0 ? 'false' : 'true')
        break
      case Tag.Ref:
        if (strings.isString(payload)) strings.write(payload)
        else output.text(describe(payload))
        break
      default:
        output.text(formatNumber(slots[slot]))
    }
    output.newline()
  }
}
