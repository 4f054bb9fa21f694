// The slow paths of `object.name` and `object.name = value`: what generated code calls when its inline cache misses.

import { Tag } from 'glissade'
import type { Layout } from './layouts.js'
import { CARD_SHIFT, FLAG_BITS, VALUE_CARD_SHIFT, type Machine } from './machine.js'
import type { Objects } from './objects.js'
import { LookupCache, rememberField, Site, type Sites } from './sites.js'

export interface Properties {
  /** Reads a property of the object in slot `object` into slot `target`; returns that slot as a double. */
  get(sites: Sites, site: number, object: number, target: number, top: number): number
  /** Stores the value in slot `value` into a field of the object in slot `object`. */
  set(sites: Sites, site: number, object: number, value: number, top: number): void
  /** Reads the field at `place` of an instance; false if a sparse instance has none. */
  read(layout: Layout, instance: number, place: number, target: number): boolean
  /** Where instances of a layout have a field, in `f64` units from the object; −1 if they have it nowhere inline. */
  inlineIndex(layout: Layout, name: string): number
}

/** f64 index of the first field, and of the first element of an array, from the object. */
const FIRST = 1

export function createProperties(machine: Machine, objects: Objects): Properties {
  const { heap, m, slots, words } = machine
  const { i32, f64, cards } = m
  const { layouts } = objects
  const fieldArray = heap.defineArray('Fields', 'value')
  const allocateFields = machine.arrayAllocator(fieldArray)
  const known = new LookupCache()

  const layoutAt = (slot: number): Layout | undefined =>
    words[2 * slot + 1] === Tag.Ref ? layouts[i32[words[2 * slot]]] : undefined

  const read = (layout: Layout, instance: number, place: number, target: number): boolean => {
    const { capacity } = layout.kind
    let at = (instance >>> 1) + FIRST + place
    if (place >= capacity) {
      const more = i32[instance + layout.shape.at.more]
      if (place - capacity >= i32[more + 1] >>> FLAG_BITS) return false
      at = (more >>> 1) + FIRST + place - capacity
    }
    if (layout.sparse && i32[2 * at + 1] === Tag.Undefined) return false
    slots[target] = f64[at]
    return true
  }

  /** Makes room in the overflow array of the instance in slot `object` for `place`. A safepoint. */
  const makeRoom = (layout: Layout, object: number, place: number, top: number): void => {
    const needed = place - layout.kind.capacity + 1
    const { more } = layout.shape.at
    let old = i32[words[2 * object] + more]
    const before = old === 0 ? 0 : i32[old + 1] >>> FLAG_BITS
    if (needed <= before) return
    machine.publish(top)
    const array = allocateFields(Math.max(4, 2 * before, needed))
    const instance = words[2 * object]
    old = i32[instance + more]
    for (let i = 0; i < before; i++) copyField((old >>> 1) + FIRST + i, (array >>> 1) + FIRST + i)
    const length = i32[array + 1] >>> FLAG_BITS
    for (let i = before; i < length; i++) clearField((array >>> 1) + FIRST + i)
    i32[instance + more] = array
    cards[(instance + more) >>> CARD_SHIFT] = 1
  }
  /** Into an array that nobody else knows yet: no card. */
  const copyField = (from: number, to: number): void => {
    f64[to] = f64[from]
  }
  const clearField = (at: number): void => {
    i32[2 * at + 1] = Tag.Undefined
    i32[2 * at] = 0
  }
  /** Marks as absent every field that a layout about to turn sparse does not have. */
  const clearAbsent = (layout: Layout, instance: number): void => {
    const present = new Set(layout.fields.values())
    const { capacity } = layout.kind
    for (let place = 0; place < capacity; place++) {
      if (!present.has(place)) clearField((instance >>> 1) + FIRST + place)
    }
  }

  const missing = (name: string): Error => machine.error(`Undefined property '${name}'.`)

  const inlineIndex = ({ fields, kind, sparse }: Layout, name: string): number => {
    const place = fields.get(name)
    return place !== undefined && place < kind.capacity && !sparse ? FIRST + place : -1
  }

  return {
    read,
    inlineIndex,

    get(sites, site, object, target, top) {
      const layout = layoutAt(object)
      if (!layout) throw machine.error('Only instances have properties.')
      const instance = words[2 * object]
      const nameId = sites.nameIds[site]
      let index = known.find(layout.id, nameId)
      if (index < 0) {
        const name = sites.names[site]
        index = inlineIndex(layout, name)
        if (index < 0) {
          const place = layout.fields.get(name)
          if (place === undefined || !read(layout, instance, place, target)) {
            const method = layout.kind.methods.get(name)
            if (!method) throw missing(name)
            objects.bind(object, -1, method, target, top)
          }
          return slots[target]
        }
        known.enter(layout.id, nameId, index)
      }
      rememberField(sites, site, layout.id, index)
      slots[target] = f64[(instance >>> 1) + index]
      return slots[target]
    },

    set(sites, site, object, value, top) {
      const layout = layoutAt(object)
      if (!layout) throw machine.error('Only instances have fields.')
      const name = sites.names[site]
      const { kind } = layout
      const next = layout.fields.has(name) && !layout.sparse ? layout : kind.extend(layout, name)
      const place = kind.place(name)
      const isInline = place < kind.capacity
      if (!isInline) makeRoom(layout, object, place, top)
      const instance = words[2 * object]
      if (next.sparse && !layout.sparse) clearAbsent(layout, instance)
      i32[instance] = next.id
      const at = isInline
        ? (instance >>> 1) + FIRST + place
        : (i32[instance + layout.shape.at.more] >>> 1) + FIRST + place - kind.capacity
      f64[at] = slots[value]
      cards[at >>> VALUE_CARD_SHIFT] = 1
      if (next.sparse || !isInline) return
      const { cache } = sites
      cache[Site.Words * site + Site.Shape] = layout.id
      cache[Site.Words * site + Site.Index] = FIRST + place
      cache[Site.Words * site + Site.NextShape] = next.id
    },
  }
}
