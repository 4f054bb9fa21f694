// A random program over a heap, the same for every collector: what the differential oracle runs.
//
// Operation i draws from numbers of its own, made from the seed and i, and from what the program itself read: never from
// an address, a clock or a count of collections. So a program can be run with some of its operations left out and the
// others stay what they were, which is how a failing one is made smaller. Some operations are safepoints, where each
// configuration does as it likes: collect, start a cycle in the background, step one by a few gates, or nothing.
//
// A world (shapes, root areas) serves many programs one after another, each of which begins by emptying it: what the
// last one left is garbage then, and the heap that a program meets is as worn as those of real programs. Root areas are
// made in a fixed order, because the graph hash counts them by index.

import { HeapError } from '../heap/errors.js'
import type { Heap } from '../glissade.js'
import { Tag } from '../heap/layout.js'
import type { Mutator } from '../heap/mutator.js'
import type { AnyShape } from '../heap/shapes.js'
import { Tagged, type Ref } from '../heap/values.js'
import { Random } from './random.js'

const REGISTERS = 24
const VALUES = 12
const STACK_SLOTS = 512
/** A program allocates no more than this, so that `none` can be given room for it. */
export const MOST_BYTES = 1 << 20

export interface ProgramTrace {
  /** A checksum of everything the program read. */
  readonly read: number
  /** How many operations it has, those left out included. */
  readonly operations: number
  /** About what it allocated. */
  readonly bytes: number
}

/** What a configuration does at operation i of the program of `seed`, when that is a safepoint. */
export type Safepoint = (m: Mutator, random: Random) => void

/** How many operations the program of `seed` has. */
export function operationsOf(seed: number): number {
  const random = new Random(seed)
  // Most programs are short: a bug shows in a few operations of the right kind, and many programs find them.
  return 20 + random.below(random.pick([30, 80, 80, 600]))
}

function randomOf(seed: number, operation: number): Random {
  return new Random(Math.imul(seed ^ 0x2545f491, 0x9e3779b1) + Math.imul(operation + 1, 0x85ebca77))
}

export class World {
  #read = 0
  #bytes = 0
  #random = new Random(0)
  #m!: Mutator
  readonly #heap: Heap
  readonly #pair
  readonly #mixed
  readonly #refs
  readonly #values
  readonly #bytesShape
  readonly #doubles
  readonly #shapes: readonly AnyShape[]
  readonly #registers
  readonly #cells
  readonly #stack

  constructor(heap: Heap) {
    this.#heap = heap
    this.#pair = heap.defineShape('Pair', { left: 'ref', right: 'ref' })
    this.#mixed = heap.defineShape('Mixed', {
      small: 'u8',
      any: 'value',
      link: 'ref',
      real: 'f64',
      whole: 'i32',
      other: 'value',
    })
    this.#refs = heap.defineArray('Refs', 'ref')
    this.#values = heap.defineArray('Values', 'value')
    this.#bytesShape = heap.defineArray('Bytes', 'u8')
    this.#doubles = heap.defineArray('Doubles', 'f64')
    this.#shapes = [this.#pair, this.#mixed, this.#refs, this.#values, this.#bytesShape, this.#doubles] as AnyShape[]
    const { registers, cells, stack } = heap.run(({ roots }) => ({
      registers: roots.table('ref', REGISTERS),
      cells: roots.table('value', VALUES),
      stack: roots.stack('value', STACK_SLOTS),
    }))
    this.#registers = registers
    this.#cells = cells
    this.#stack = stack
  }

  /** Runs the program of `seed`, or of its operations only those in `kept`, and leaves its graph in the roots. */
  run(seed: number, safepoint: Safepoint, kept: readonly number[] | null = null): ProgramTrace {
    const operations = operationsOf(seed)
    return this.#heap.run((m) => {
      this.#m = m
      this.#read = this.#bytes = 0
      for (let i = 0; i < REGISTERS; i++) this.#registers.set(i, 0 as Ref)
      for (let i = 0; i < VALUES; i++) this.#cells.set(i, 0)
      this.#stack.top = 0
      const end = kept?.length ?? operations
      for (let i = 0; i < end; i++) {
        this.#random = randomOf(seed, kept === null ? i : kept[i])
        this.#operate(safepoint)
      }
      return { read: this.#read, operations, bytes: this.#bytes }
    })
  }

  #operate(safepoint: Safepoint): void {
    const random = this.#random
    const register = random.below(REGISTERS)
    switch (random.below(18)) {
      case 0:
      case 1:
      case 2:
        return this.#newObject(register)
      case 3:
        return this.#newArray(register)
      case 4:
      case 5:
        return this.#link(register, random.below(REGISTERS))
      case 6:
      case 7:
        return this.#follow(register)
      case 8:
        return this.#registers.set(
          register,
          random.chance(0.3) ? (0 as Ref) : (this.#registers.get(random.below(REGISTERS)) as Ref),
        )
      case 9:
        return this.#cells.set(random.below(VALUES), this.#plainOrRef(register))
      case 10:
        return this.#pushOrPop(register)
      case 11:
        return this.#chain(register, random.below(200))
      case 12:
        return this.#garbage(random.below(400))
      case 13:
        return this.#poke(register)
      case 14:
        return this.#sum(register)
      case 15:
        return this.#cluster(register, 1 + random.below(40))
      case 16:
        return this.#copy(register, random.below(REGISTERS))
      default:
        return safepoint(this.#m, random)
    }
  }

  /** False: the program has allocated its share. */
  #afford(bytes: number): boolean {
    if (this.#bytes + bytes > MOST_BYTES) return false
    this.#bytes += bytes
    return true
  }

  #newObject(register: number): void {
    if (!this.#afford(64)) return
    const shape = this.#random.pick([this.#pair, this.#mixed])
    this.#registers.set(register, this.#m.alloc(shape as never))
    this.#poke(register)
  }

  #newArray(register: number): void {
    const random = this.#random
    const shape = random.pick([this.#refs, this.#values, this.#bytesShape, this.#doubles] as const)
    const length = random.chance(0.05) ? random.below(15_000) : random.below(80)
    if (!this.#afford(16 + (length << shape.shift))) return
    this.#registers.set(register, this.#m.allocArray(shape, length))
  }

  /** Stores a reference to what `to` holds somewhere into what `from` holds. */
  #link(from: number, to: number): void {
    const m = this.#m
    const object = this.#registers.get(from) as Ref
    const target = this.#registers.get(to) as Ref
    const shape = this.#shapeOf(object)
    if (shape === undefined) return
    if (shape === this.#pair) {
      m.setRef(object, this.#random.chance(0.5) ? this.#pair.at.left : this.#pair.at.right, target)
    } else if (shape === this.#mixed) {
      const at = this.#random.chance(0.5) ? this.#mixed.at.any : this.#mixed.at.other
      if (this.#random.chance(0.3) || target === 0) m.setRef(object, this.#mixed.at.link, target)
      else m.setValueRef(object, at, target)
    } else if (shape === this.#refs || shape === this.#values) {
      const i = this.#random.below(m.lengthOf(object) || 1)
      if (i >= m.lengthOf(object)) return
      if (shape === this.#refs) m.setElementRef(object, i, target)
      else if (target !== 0) m.setValueRef(object, this.#values.elementsAt + i, target)
    }
  }

  /** Copies elements between two arrays of one kind, or within one. */
  #copy(from: number, to: number): void {
    const m = this.#m
    const random = this.#random
    const source = this.#registers.get(from) as Ref
    const shape = this.#shapeOf(source)
    if (shape === undefined || !shape.array) return
    const other = this.#registers.get(to) as Ref
    const target = this.#shapeOf(other) === shape ? other : source
    const count = random.below(1 + Math.min(m.lengthOf(source), m.lengthOf(target)))
    const start = random.below(1 + m.lengthOf(source) - count)
    m.copyElements(target, random.below(1 + m.lengthOf(target) - count), source, start, count)
  }

  /** Replaces a register by something that its object refers to. */
  #follow(register: number): void {
    const m = this.#m
    const object = this.#registers.get(register) as Ref
    const shape = this.#shapeOf(object)
    let next = 0 as Ref
    if (shape === this.#pair)
      next = m.getRef(object, this.#random.chance(0.5) ? this.#pair.at.left : this.#pair.at.right)
    else if (shape === this.#mixed)
      next = this.#refOfValue(object, this.#mixed.at.any) || m.getRef(object, this.#mixed.at.link)
    else if (shape === this.#refs && m.lengthOf(object) > 0) {
      next = m.getRef(object, this.#refs.elementsAt + this.#random.below(m.lengthOf(object)))
    } else if (shape === this.#values && m.lengthOf(object) > 0) {
      next = this.#refOfValue(object, this.#values.elementsAt + this.#random.below(m.lengthOf(object)))
    }
    this.#note(next === 0 ? 0 : m.i32[next])
    if (next !== 0) this.#registers.set(this.#random.below(REGISTERS), next)
  }

  /** Overwrites plain slots. */
  #poke(register: number): void {
    const m = this.#m
    const random = this.#random
    const object = this.#registers.get(register) as Ref
    const shape = this.#shapeOf(object)
    const number = random.next()
    if (shape === this.#mixed) {
      m.u8[object * 4 + this.#mixed.at.small] = number
      m.i32[object + this.#mixed.at.whole] = number
      m.f64[(object >>> 1) + this.#mixed.at.real] = number / 7
      this.#pokeValue(object, this.#mixed.at.other, number)
    } else if (shape !== undefined && shape !== this.#pair && m.lengthOf(object) > 0) {
      const i = random.below(m.lengthOf(object))
      if (shape === this.#bytesShape) m.u8[object * 4 + this.#bytesShape.elementsAt + i] = number
      else if (shape === this.#doubles) m.f64[(object >>> 1) + this.#doubles.elementsAt + i] = -number
      else if (shape === this.#values) this.#pokeValue(object, this.#values.elementsAt + i, number)
    }
  }
  #pokeValue(object: Ref, at: number, number: number): void {
    const m = this.#m
    switch (number % 7) {
      case 0:
        return m.setValueNumber(object, at, NaN)
      case 1:
        return m.setValueInt(object, at, number | 0)
      case 2:
        return m.setValueBool(object, at, number > 2 ** 31)
      case 3:
        return m.setValueNil(object, at)
      case 4:
        return m.setValueUndefined(object, at)
      case 5:
        return m.setValueTagged(object, at, Tag.User3, number | 0)
      default:
        return m.setValueNumber(object, at, number / 3)
    }
  }

  #pushOrPop(register: number): void {
    const random = this.#random
    const top = this.#stack.top
    if (random.chance(0.4)) {
      this.#stack.top = Math.max(0, top - random.below(20))
    } else if (top < STACK_SLOTS) {
      this.#stack.set(top, this.#plainOrRef(register))
      this.#stack.top = top + 1
    }
  }

  #chain(register: number, length: number): void {
    if (!this.#afford(16 * length)) return
    for (let i = 0; i < length; i++) {
      const pair = this.#m.alloc(this.#pair)
      this.#m.setRef(pair, i % 3 === 0 ? this.#pair.at.right : this.#pair.at.left, this.#registers.get(register) as Ref)
      this.#registers.set(register, pair)
    }
  }
  /** Objects linked to each other after one `reserve`, while no root holds any of them. */
  #cluster(register: number, objects: number): void {
    if (!this.#afford(72 * objects)) return
    const m = this.#m
    const random = this.#random
    const lengths = Array.from({ length: objects }, () => random.below(7))
    // A pair of each, and an array of references or, where its length is 0, a mixed object.
    const bytes = lengths.map(
      (n) => 8 * this.#pair.granules + (n === 0 ? 8 * this.#mixed.granules : 8 + ((n * 4 + 7) & ~7)),
    )
    m.reserve(bytes.reduce((sum, one) => sum + one))
    const old = this.#registers.get(register) as Ref
    let last = old
    for (const length of lengths) {
      const pair = m.alloc(this.#pair)
      const other = length === 0 ? m.alloc(this.#mixed) : m.allocArray(this.#refs, length)
      m.i32[pair + this.#pair.at.left] = last
      m.i32[pair + this.#pair.at.right] = other
      if (length === 0) m.i32[other + this.#mixed.at.link] = old
      else m.i32[other + this.#refs.elementsAt + length - 1] = last
      last = pair
    }
    this.#registers.set(register, last)
  }
  #garbage(objects: number): void {
    if (!this.#afford(16 * objects)) return
    for (let i = 0; i < objects; i++) this.#m.alloc(this.#pair)
  }

  /** Reads what a register holds, to a few levels. */
  #sum(register: number): void {
    const m = this.#m
    let object = this.#registers.get(register) as Ref
    for (let i = 0; i < 50 && this.#shapeOf(object) === this.#pair; i++) {
      const right = m.getRef(object, this.#pair.at.right)
      object = right !== 0 && i % 2 === 0 ? right : m.getRef(object, this.#pair.at.left)
      this.#note(object === 0 ? 1 : m.i32[object])
    }
    if (this.#shapeOf(object) === this.#mixed) this.#note(m.i32[object + this.#mixed.at.whole])
  }

  #plainOrRef(register: number): Tagged | number | null {
    const ref = this.#registers.get(register) as Ref
    if (ref !== 0 && this.#random.chance(0.7)) return new Tagged(Tag.Ref, ref)
    return this.#random.chance(0.5) ? this.#random.next() / 3 : null
  }
  #refOfValue(object: Ref, at: number): Ref {
    const word = object + 2 * at
    return (this.#m.i32[word + 1] === Tag.Ref ? this.#m.i32[word] : 0) as Ref
  }
  #shapeOf(object: Ref): AnyShape | undefined {
    if (object === 0) return undefined
    const id = this.#m.shapeOf(object)
    const known = this.#shapes.find((shape) => shape.id === id)
    if (known === undefined)
      throw new HeapError('ERR_BAD_REF', `a register of the program holds ref ${object}, word 0 is ${id}`)
    return known
  }
  #note(word: number): void {
    this.#read = (Math.imul(this.#read, 31) + word) | 0
  }
}
