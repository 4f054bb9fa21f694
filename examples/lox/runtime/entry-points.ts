// Small generated functions between a call and the code it is meant for: one for each kind, or method of a kind, so that
// V8 can inline allocation, code and target into the caller.

import { Script } from 'node:vm'
import { Tag } from 'glissade'
import type { Callable, Enter, Kind, Method } from './layouts.js'
import type { Machine } from './machine.js'

type Make = (machine: Machine, target: Enter | null, allocate: (() => number) | null) => Enter

function compile(machine: Machine, name: string, body: string): Make {
  return new Script(`(function (machine, target, allocate) {
  'use strict'
  // machine ${machine.id}
  const { m, words } = machine
  const { i32, cards, control } = m
  return function ${name}(sp) {
${body}
  }
})`).runInThisContext() as Make
}

/** What runs when a class is called: the class is in the slot at `sp`, and the instance replaces it. */
export function compileConstructor(machine: Machine, kind: Kind, init: Method | null): Enter {
  const arity = init?.callable.arity ?? 0
  const { root } = kind
  // Until the instance is in its slot nobody else knows it: its class needs no card.
  const body = `    control[${machine.topIndex}] = sp + ${arity + 1 - machine.base}
    const instance = allocate()
    i32[instance + ${kind.classAt}] = words[sp << 1]
    words[sp << 1] = instance${init ? '\n    target(sp)' : ''}`
  const make = compile(machine, `construct_${root.id}`, body)
  return make(machine, init?.enter ?? null, machine.allocator(root.shape))
}

/** How instances of a kind enter a method: directly, or with the closure taken from their class first. */
export function compileMethodEntry(machine: Machine, kind: Kind, callable: Callable, at: number): Enter {
  const { closureSlot } = callable
  if (closureSlot < 0) return callable.enter
  const slot = `sp + ${closureSlot}`
  const body = `    words[${slot} << 1] = i32[i32[words[sp << 1] + ${kind.classAt}] + ${at}]
    words[(${slot} << 1) + 1] = ${Tag.Ref}
    target(sp)`
  return compile(machine, `enter_${kind.root.id}_${at}`, body)(machine, callable.enter, null)
}
