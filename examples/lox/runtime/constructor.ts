// What runs when a class is called: generated once per kind, so that allocation and `init` can be inlined.

import { Script } from 'node:vm'
import type { Enter, Kind, Method } from './layouts.js'
import type { Machine } from './machine.js'

/** The class is in the slot at `sp`, the arguments after it; the instance replaces the class. */
export function compileConstructor(machine: Machine, kind: Kind, init: Method | null): Enter {
  const { m, base, topIndex } = machine
  const { root } = kind
  const arity = init?.callable.arity ?? 0
  const text = `(function (machine, allocate, init) {
  'use strict'
  const { m, words } = machine
  const { i32, cards, control } = m
  // heap ${machine.id}, kind ${root.id}
  return function construct_${root.id}(sp) {
    control[${topIndex}] = sp + ${arity + 1 - base}
    const instance = allocate()
    const at = instance + ${root.shape.at.class}
    i32[at] = words[sp << 1]
    cards[at >>> 8] = 1
    words[sp << 1] = instance
    ${init ? 'init(sp)' : ''}
  }
})`
  const make = new Script(text).runInThisContext() as (m: Machine, allocate: () => number, init: Enter | null) => Enter
  return make(machine, m.allocator(root.shape), init?.enter ?? null)
}
