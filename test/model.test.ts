// Property: a random program over the heap and the same program over plain JavaScript objects end with equal graphs,
// wherever collections fall between (or, stepped, inside) its operations.
//
// Each run prints its seed when it fails; GLISSADE_SEED=n npx vitest run test/model.test.ts replays it. Invariants 2, 6,
// 7 and 8 of the design are what such a program would break.

import { Heap, Tag, Tagged, type Mutator, type Ref, type UserTag } from 'glissade'
import { graphHash, Random, seedFromEnvironment, step } from 'glissade/testing'
import { describe, expect, it } from 'vitest'
import { configurations } from './conformance/configurations.js'

const ROOTS = 24

/** The model: what the heap should hold. */
interface Node {
  kind: 'node'
  id: number
  left: Thing | null
  right: Thing | null
  value: Value
  number: number
}
interface List {
  kind: 'refs' | 'values'
  items: (Thing | null | Value)[]
}
interface Bytes {
  kind: 'bytes'
  bytes: number[]
}
type Thing = Node | List | Bytes
type Value = number | boolean | null | undefined | { tag: UserTag; payload: number } | Thing

class Program {
  readonly #heap: Heap
  readonly #random: Random
  readonly #stepped: boolean
  readonly #shapes
  readonly #model: (Thing | null)[] = Array.from({ length: ROOTS }, () => null)
  #nextId = 1

  constructor(heap: Heap, random: Random, stepped: boolean) {
    this.#heap = heap
    this.#random = random
    this.#stepped = stepped
    this.#shapes = {
      node: heap.defineShape('Node', { left: 'ref', right: 'ref', value: 'value', number: 'f64', id: 'i32' }),
      refs: heap.defineArray('Refs', 'ref'),
      values: heap.defineArray('Values', 'value'),
      bytes: heap.defineArray('Bytes', 'u8'),
    }
  }

  run(operations: number): void {
    this.#heap.run((m) => {
      const stack = m.roots.stack('ref', ROOTS)
      stack.top = ROOTS
      for (let slot = 0; slot < ROOTS; slot++) stack.set(slot, 0)
      const get = (slot: number): Ref => stack.get(slot) as Ref
      for (let i = 0; i < operations; i++) {
        this.#operation(m, get, (slot, ref) => stack.set(slot, ref))
        if (this.#random.chance(this.#stepped ? 0.1 : 0.01)) this.#collect()
      }
      this.#compare(m, get)
      const before = graphHash(this.#heap)
      this.#heap.collectSync()
      expect(graphHash(this.#heap)).toEqual(before)
      this.#compare(m, get)
      stack.free()
    })
  }

  #collect(): void {
    if (this.#stepped) step(this.#heap, 1 + this.#random.below(3))
    else this.#heap.collectSync()
    if (this.#random.chance(0.05)) this.#heap.assertValid()
  }

  #operation(m: Mutator, get: (slot: number) => Ref, set: (slot: number, ref: Ref | 0) => void): void {
    const random = this.#random
    const slot = random.below(ROOTS)
    switch (random.below(10)) {
      case 0:
      case 1:
      case 2:
        return this.#allocate(m, slot, set)
      case 3: {
        const from = random.below(ROOTS)
        this.#model[slot] = this.#model[from]
        return set(slot, get(from))
      }
      case 4: {
        if (random.chance(0.3)) {
          this.#model[slot] = null
          set(slot, 0)
        }
        return
      }
      case 5:
        return this.#follow(m, slot, get, set)
      default:
        return this.#store(m, slot, random.below(ROOTS), get)
    }
  }

  #allocate(m: Mutator, slot: number, set: (slot: number, ref: Ref) => void): void {
    const { node, refs, values, bytes } = this.#shapes
    const random = this.#random
    const length = random.chance(0.02) ? 4000 + random.below(9000) : random.below(20)
    switch (random.below(6)) {
      case 0:
        this.#model[slot] = { kind: 'refs', items: Array.from({ length }, () => null) }
        return set(slot, m.allocArray(refs, length))
      case 1:
        this.#model[slot] = { kind: 'values', items: Array.from({ length }, () => 0) }
        return set(slot, m.allocArray(values, length))
      case 2: {
        const contents = Array.from({ length: length * 3 }, () => random.below(256))
        this.#model[slot] = { kind: 'bytes', bytes: contents }
        const ref = m.allocArray(bytes, contents.length)
        m.copyIn(ref, Uint8Array.from(contents))
        return set(slot, ref)
      }
      default: {
        const id = this.#nextId++
        this.#model[slot] = { kind: 'node', id, left: null, right: null, value: 0, number: id / 2 }
        const ref = m.alloc(node)
        m.i32[ref + node.at.id] = id
        m.f64[(ref >>> 1) + node.at.number] = id / 2
        return set(slot, ref)
      }
    }
  }

  /** Moves a root to what one of its object's slots holds: references travel without stores into the heap. */
  #follow(m: Mutator, slot: number, get: (slot: number) => Ref, set: (slot: number, ref: Ref | 0) => void): void {
    const thing = this.#model[slot]
    const to = this.#random.below(ROOTS)
    if (thing?.kind === 'node') {
      const left = this.#random.chance(0.5)
      this.#model[to] = left ? thing.left : thing.right
      const { at } = this.#shapes.node
      set(to, m.getRef(get(slot), left ? at.left : at.right))
    } else if (thing?.kind === 'refs' && thing.items.length > 0) {
      const index = this.#random.below(thing.items.length)
      this.#model[to] = thing.items[index] as Thing | null
      set(to, m.getRef(get(slot), 2 + index))
    }
  }

  /** Stores into the object of root `slot`, often a reference to the object of root `other`. */
  #store(m: Mutator, slot: number, other: number, get: (slot: number) => Ref): void {
    const random = this.#random
    const thing = this.#model[slot]
    if (thing === null) return
    const target = this.#model[other]
    const object = get(slot)
    const { at } = this.#shapes.node
    if (thing.kind === 'node') {
      const which = random.below(3)
      if (which === 0) {
        thing.left = target
        m.setRef(object, at.left, get(other))
      } else if (which === 1) {
        thing.right = target
        m.setRef(object, at.right, get(other))
      } else thing.value = this.#storeValue(m, object, at.value, target, get(other))
    } else if (thing.kind === 'refs' && thing.items.length > 0) {
      const index = random.below(thing.items.length)
      thing.items[index] = target
      m.setElementRef(object, index, get(other))
    } else if (thing.kind === 'values' && thing.items.length > 0) {
      const index = random.below(thing.items.length)
      thing.items[index] = this.#storeValue(m, object, 1 + index, target, get(other))
    }
  }

  #storeValue(m: Mutator, object: Ref, at: number, target: Thing | null, ref: Ref): Value {
    const random = this.#random
    switch (random.below(8)) {
      case 0: {
        const number = random.pick([0, -0, NaN, -(1 + Math.log(-1)), 1e308, -Infinity, random.next() / 7])
        m.setValueNumber(object, at, number)
        return number
      }
      case 1: {
        const integer = random.next() | 0
        m.setValueInt(object, at, integer)
        return integer
      }
      case 2:
        m.setValueBool(object, at, true)
        return true
      case 3:
        m.setValueNil(object, at)
        return null
      case 4:
        m.setValueUndefined(object, at)
        return undefined
      case 5: {
        // A payload that looks like a Ref.
        const payload = random.below(2 ** 24) & ~1
        m.setValueTagged(object, at, Tag.User1, payload)
        return { tag: Tag.User1, payload }
      }
      default:
        if (target === null) {
          m.setValueNil(object, at)
          return null
        }
        m.setValueRef(object, at, ref)
        return target
    }
  }

  /** Walks both graphs in step: the same things at the same places, and one object for one thing. */
  #compare(m: Mutator, get: (slot: number) => Ref): void {
    const refOfThing = new Map<Thing, Ref>()
    const thingOfRef = new Map<Ref, Thing>()
    const pending: [Thing, Ref][] = []
    const same = (thing: Thing | null, ref: Ref, where: string): void => {
      if (thing === null || ref === 0) {
        if ((thing === null) !== (ref === 0))
          throw new Error(`${where}: ${ref} for ${thing === null ? 'null' : thing.kind}`)
        return
      }
      const known = refOfThing.get(thing)
      const back = thingOfRef.get(ref)
      if (known === undefined && back === undefined) {
        refOfThing.set(thing, ref)
        thingOfRef.set(ref, thing)
        pending.push([thing, ref])
      } else if (known !== ref || back !== thing) throw new Error(`${where}: another object than before`)
    }
    const sameValue = (value: Value, object: Ref, at: number, where: string): void => {
      const found = m.getValue(object, at)
      if (typeof value === 'object' && value !== null && 'kind' in value) {
        if (!(found instanceof Tagged) || found.tag !== Tag.Ref)
          throw new Error(`${where}: ${String(found)} for a reference`)
        same(value, found.payload as Ref, where)
      } else if (typeof value === 'object' && value !== null)
        expect(found).toEqual(new Tagged(value.tag, value.payload))
      else if (!Object.is(found, value)) throw new Error(`${where}: ${String(found)} for ${String(value)}`)
    }
    this.#model.forEach((thing, slot) => same(thing, get(slot), `root ${slot}`))
    const { node, refs, values, bytes } = this.#shapes
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      const [thing, ref] = next
      const shape = m.shapeOf(ref)
      if (thing.kind === 'node') {
        expect(shape).toBe(node.id)
        expect(m.i32[ref + node.at.id]).toBe(thing.id)
        expect(m.f64[(ref >>> 1) + node.at.number]).toBe(thing.number)
        same(thing.left, m.getRef(ref, node.at.left), `node ${thing.id}.left`)
        same(thing.right, m.getRef(ref, node.at.right), `node ${thing.id}.right`)
        sameValue(thing.value, ref, node.at.value, `node ${thing.id}.value`)
      } else if (thing.kind === 'bytes') {
        expect(shape).toBe(bytes.id)
        expect(Buffer.compare(m.copyOut(ref), Uint8Array.from(thing.bytes))).toBe(0)
      } else {
        expect(shape).toBe(thing.kind === 'refs' ? refs.id : values.id)
        expect(m.lengthOf(ref)).toBe(thing.items.length)
        thing.items.forEach((item, i) => {
          if (thing.kind === 'refs') same(item as Thing | null, m.getRef(ref, 2 + i), `refs[${i}]`)
          else sameValue(item as Value, ref, 1 + i, `values[${i}]`)
        })
      }
    }
  }
}

const first = seedFromEnvironment()
const replay = process.env['GLISSADE_SEED'] !== undefined

describe.each(configurations)('random programs equal their model ($name)', ({ options, collects }) => {
  it.each(collects ? [false, true] : [false])('stepped: %s', (stepping) => {
    for (let round = 0; round < (replay ? 1 : 6); round++) {
      const seed = (first + round) >>> 0
      using heap = Heap.create({ maxBytes: collects ? '16m' : '512m', stepping, ...options })
      try {
        new Program(heap, new Random(seed), stepping).run(6000)
        heap.assertValid()
      } catch (error) {
        console.error(`replay with GLISSADE_SEED=${seed}`)
        throw error
      }
    }
  })
})
