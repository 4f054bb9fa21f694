// Global variables: a cell for each name, resolved when code is generated.
//
// An undefined global holds the value `undefined`. Beside each cell is a *guard*: while the variable holds a function
// that captures nothing, or a class, as its declaration put it there, the shape of that object; otherwise 0. Whoever
// stores into the cell sets the guard, so a call of a global function compares one integer instead of looking at the
// function.

import { Tag } from 'glissade'
import { LimitError } from './errors.js'
import type { Machine } from './machine.js'

export interface Global {
  readonly name: string
  readonly cell: number
  readonly index: number
}

const MAX_GLOBALS = 1 << 16

export class Globals {
  readonly guards = new Int32Array(MAX_GLOBALS)
  readonly #machine: Machine
  readonly #byName = new Map<string, Global>()
  readonly #byIndex: Global[] = []

  constructor(machine: Machine) {
    this.#machine = machine
  }

  /** The global of this name, made undefined when it is first mentioned. */
  get(name: string): Global {
    let global = this.#byName.get(name)
    if (!global) {
      const index = this.#byIndex.length
      if (index === MAX_GLOBALS) throw new LimitError('program')
      global = { name, cell: this.#machine.newTaggedCell(Tag.Undefined, 0), index }
      this.#byIndex.push(global)
      this.#byName.set(name, global)
    }
    return global
  }
  at(index: number): Global {
    return this.#byIndex[index]
  }

  /** Gives a global the value in another cell. */
  define(name: string, from: number): void {
    const { cell } = this.get(name)
    this.#machine.setCellRef(cell, this.#machine.words[2 * from])
  }
}
