// The slow paths of calls: what generated code asks when its inline cache misses.
//
// A call leaves callee (or receiver) and arguments in consecutive slots from `base`, which becomes the callee's `sp`; the
// result comes back in the slot at `base`. These functions find the target, put into the slots what it needs, and return
// it; generated code then calls it. So no frame of theirs stands between two Lox frames on V8's stack. Whether the number
// of arguments fits is settled here: a call that hits the cache need not ask.

import { Tag } from 'glissade'
import type { Callable, Enter, Method } from './layouts.js'
import type { Machine } from './machine.js'
import type { Objects } from './objects.js'
import type { Properties } from './properties.js'
import { LookupCache, isUnseen, rememberGetter, rememberTarget, Site, type Sites } from './sites.js'

export interface Calls {
  /** The code of the value in slot `base`. */
  findCallee(sites: Sites, site: number, base: number, count: number): Enter
  /** The code of a method, or of a function in a field, of the object in slot `base`. */
  findMethod(sites: Sites, site: number, base: number, count: number): Enter
  /** The code of a method of the class object `owner`, for the receiver in slot `base`. */
  findSuper(sites: Sites, site: number, owner: number, base: number, count: number): Enter
  /** Binds a method of the class in slot `owner` to the receiver in slot `receiver`, into slot `target`. */
  bindSuper(sites: Sites, site: number, owner: number, receiver: number, target: number, top: number): void
}

export function createCalls(machine: Machine, objects: Objects, properties: Properties): Calls {
  const { m, slots, words } = machine
  const { i32, f64 } = m
  const { callables, layouts, kinds, boundMethod } = objects
  const known = new LookupCache()
  const targets: Enter[] = []
  const indices = new Map<Enter, number>()

  const checkCount = ({ arity }: Callable, count: number): void => {
    if (arity !== count && arity >= 0) throw machine.error(`Expected ${arity} arguments but got ${count}.`)
  }

  /** The code of the value in a slot; a cache may remember it if `site` says where. */
  const findValue = (base: number, count: number, sites: Sites | null, site: number): Enter => {
    if (words[2 * base + 1] !== Tag.Ref) throw machine.error('Can only call functions and classes.')
    const object = words[2 * base]
    const shape = i32[object]
    const callable = callables[shape]
    if (callable) {
      checkCount(callable, count)
      if (sites) rememberTarget(sites, site, shape, callable.enter)
      return callable.enter
    }
    if (shape !== boundMethod.id) throw machine.error('Can only call functions and classes.')
    const closure = i32[object + boundMethod.at.closure]
    const method = callables[i32[closure]]!
    checkCount(method, count)
    slots[base] = f64[(object >>> 1) + boundMethod.at.receiver]
    if (method.closureSlot >= 0) machine.setSlotRef(base + method.closureSlot, closure)
    return method.enter
  }

  const superMethod = (name: string, classShape: number): Method => {
    const method = kinds[classShape]!.methods.get(name)
    if (!method) throw machine.error(`Undefined property '${name}'.`)
    return method
  }

  return {
    findCallee: (sites, site, base, count) => findValue(base, count, sites, site),

    findMethod(sites, site, base, count) {
      if (words[2 * base + 1] !== Tag.Ref) throw machine.error('Only instances have methods.')
      const instance = words[2 * base]
      const shape = i32[instance]
      const key = 256 * sites.nameIds[site] + count
      const isFresh = isUnseen(sites, site)
      let index = isFresh ? -1 : known.find(shape, key)
      if (index < 0) {
        const layout = layouts[shape]
        if (!layout) throw machine.error('Only instances have methods.')
        const name = sites.names[site]
        const place = layout.fields.get(name)
        if (place !== undefined && properties.read(layout, instance, place, base))
          return findValue(base, count, null, 0)
        const method = layout.kind.methods.get(name)
        if (!method) throw machine.error(`Undefined property '${name}'.`)
        checkCount(method.callable, count)
        // In a sparse layout the next object may have a field of this name.
        if (layout.sparse) return method.enter
        if (isFresh) {
          const { getter } = method.callable
          const index = getter === null ? -1 : properties.inlineIndex(layout, getter)
          if (index >= 0) {
            rememberGetter(sites, site, shape, index)
            return method.enter
          }
        }
        index = indices.get(method.enter) ?? -1
        if (index < 0) indices.set(method.enter, (index = targets.push(method.enter) - 1))
        known.enter(shape, key, index)
      }
      const enter = targets[index]
      rememberTarget(sites, site, shape, enter)
      return enter
    },

    findSuper(sites, site, owner, base, count) {
      const { callable, at } = superMethod(sites.names[site], i32[owner])
      checkCount(callable, count)
      machine.setSlotRef(base + count + 1, i32[owner + at])
      rememberTarget(sites, site, i32[owner], callable.enter)
      sites.cache[Site.Words * site + Site.Index] = at
      return callable.enter
    },

    bindSuper(sites, site, owner, receiver, target, top) {
      const method = superMethod(sites.names[site], i32[words[2 * owner]])
      objects.bind(receiver, owner, method, target, top)
    },
  }
}
