// The slow paths of calls: what generated code calls when its inline cache misses.
//
// A call leaves callee (or receiver) and arguments in consecutive slots from `base`, which becomes the callee's `sp`; the
// result comes back in the slot at `base`. Whether the number of arguments fits is settled when a cache is filled.

import { Tag } from 'glissade'
import type { Callable, Enter, Method } from './layouts.js'
import type { Machine } from './machine.js'
import type { Objects } from './objects.js'
import type { Properties } from './properties.js'
import { rememberTarget, Site, type Sites } from './sites.js'

export interface Calls {
  /** Calls the value in slot `base`. */
  call(sites: Sites, site: number, base: number, count: number): void
  /** Calls a method, or a function in a field, of the object in slot `base`. */
  invoke(sites: Sites, site: number, base: number, count: number): void
  /** Calls a method of the class object `owner` on the receiver in slot `base`. */
  invokeSuper(sites: Sites, site: number, owner: number, base: number, count: number): void
  /** Binds a method of the class in slot `owner` to the receiver in slot `receiver`, into slot `target`. */
  getSuper(sites: Sites, site: number, owner: number, receiver: number, target: number, top: number): void
}

/** A method call site with an entry in the shared table: target by (shape, name). */
const ENTRIES = 1024
interface Known {
  readonly shape: number
  readonly name: number
  readonly count: number
  readonly enter: Enter
}

export function createCalls(machine: Machine, objects: Objects, properties: Properties): Calls {
  const { m, slots, words } = machine
  const { i32, f64 } = m
  const { callables, layouts, kinds, boundMethod } = objects
  const known = new Array<Known>(ENTRIES).fill({ shape: -1, name: -1, count: -1, enter: () => {} })

  const checkCount = (callable: Callable, count: number): void => {
    if (callable.arity !== count && callable.arity >= 0) {
      throw machine.error(`Expected ${callable.arity} arguments but got ${count}.`)
    }
  }

  const callValue = (base: number, count: number): Callable | null => {
    if (words[2 * base + 1] !== Tag.Ref) throw machine.error('Can only call functions and classes.')
    const object = words[2 * base]
    const shape = i32[object]
    const callable = callables[shape]
    if (callable) {
      checkCount(callable, count)
      return callable
    }
    if (shape !== boundMethod.id) throw machine.error('Can only call functions and classes.')
    const closure = i32[object + boundMethod.at.closure]
    const method = callables[i32[closure]]!
    checkCount(method, count)
    slots[base] = f64[(object >>> 1) + boundMethod.at.receiver]
    if (method.closureSlot >= 0) machine.setSlotRef(base + method.closureSlot, closure)
    method.enter(base)
    return null
  }

  const findMethod = (name: string, classShape: number): Method => {
    const method = kinds[classShape]!.methods.get(name)
    if (!method) throw machine.error(`Undefined property '${name}'.`)
    return method
  }

  return {
    call(sites, site, base, count) {
      const callable = callValue(base, count)
      if (!callable) return
      rememberTarget(sites, site, i32[words[2 * base]], callable.enter)
      callable.enter(base)
    },

    invoke(sites, site, base, count) {
      if (words[2 * base + 1] !== Tag.Ref) throw machine.error('Only instances have methods.')
      const instance = words[2 * base]
      const shape = i32[instance]
      const nameId = sites.nameIds[site]
      const entry = (Math.imul(shape, 31) + nameId) & (ENTRIES - 1)
      let { enter } = known[entry]
      if (known[entry].shape !== shape || known[entry].name !== nameId || known[entry].count !== count) {
        const layout = layouts[shape]
        if (!layout) throw machine.error('Only instances have methods.')
        const name = sites.names[site]
        const place = layout.fields.get(name)
        if (place !== undefined && properties.read(layout, instance, place, base)) {
          callValue(base, count)?.enter(base)
          return
        }
        const method = layout.kind.methods.get(name)
        if (!method) throw machine.error(`Undefined property '${name}'.`)
        checkCount(method.callable, count)
        enter = method.enter
        // In a sparse layout the next object may have a field of this name.
        if (!layout.sparse) known[entry] = { shape, name: nameId, count, enter }
        else return enter(base)
      }
      rememberTarget(sites, site, shape, enter)
      enter(base)
    },

    invokeSuper(sites, site, owner, base, count) {
      const { callable, at } = findMethod(sites.names[site], i32[owner])
      checkCount(callable, count)
      machine.setSlotRef(base + count + 1, i32[owner + at])
      rememberTarget(sites, site, i32[owner], callable.enter)
      sites.cache[Site.Words * site + Site.Index] = at
      callable.enter(base)
    },

    getSuper(sites, site, owner, receiver, target, top) {
      const method = findMethod(sites.names[site], i32[words[2 * owner]])
      objects.bind(receiver, owner, method, target, top)
    },
  }
}
