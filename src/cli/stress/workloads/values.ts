// Value slots that change their kind as fast as they can while they are marked. JavaScript stores a value as two words, so
// a marker may read the tag of one store with the payload of another: the order of the two stores is all that keeps it
// from following an integer. The integers here are such that whoever follows one falls.

import { Tag, type Mutator, type Ref } from '../../../index.js'
import { Mismatch, same, type Activity, type Workload, type WorkloadContext } from '../workload.js'

const BOXES = 64
/** Outside every heap; even, as references are. */
const WILD = 0x7ffffff0

export const values: Workload = {
  name: 'values',
  summary: 'value slots that change between references, integers and doubles while they are marked',
  start: (context, m) => new Values(context, m),
}

class Values implements Activity {
  readonly #context: WorkloadContext
  readonly #box
  readonly #array
  /** Slot 0: the array, then the boxes. */
  readonly #roots
  /** What every second value goes through on its way to another slot. */
  readonly #passing
  readonly #length: number
  /** Steps for which references are only moved from slot to slot, so that no other store marks their cards. */
  #quiet = 0
  /** Per slot: 0 nothing yet, −1 the wild integer, −2 − i the double i + ½, else the number of a box. */
  readonly #model: Int32Array
  /** Of the boxes in the roots. */
  readonly #numbers = new Int32Array(BOXES)

  constructor(context: WorkloadContext, m: Mutator) {
    this.#context = context
    this.#box = context.heap.defineShape('ValueBox', { number: 'i32' })
    this.#array = context.heap.defineArray('ValueSlots', 'value')
    this.#roots = m.roots.table('ref', 1 + BOXES)
    this.#passing = m.roots.stack('value', 1)
    this.#length = Math.min(1 << 14, Math.max(64, context.budget >>> 4))
    this.#model = new Int32Array(this.#length)
  }

  step(m: Mutator): void {
    const { random } = this.#context
    if (this.#roots.get(0) === 0) this.#begin(m)
    if (random.chance(0.05)) this.#renew(m, random.below(BOXES))
    if (random.chance(0.01)) this.#quiet = 300
    if (this.#quiet > 0 && this.#quiet-- > 0) return this.#move(m)
    if (random.chance(0.1)) return this.#compare(m, random.below(this.#length), 200)
    const first = random.below(this.#length)
    const end = Math.min(this.#length, first + 512)
    const n = random.below(BOXES)
    // Each slot changes its kind with each round. No safepoint in here: the array and the box stay where they are.
    const array = this.#roots.get(0) as Ref
    const box = this.#roots.get(1 + n) as Ref
    const { elementsAt } = this.#array
    for (let round = 0; round < 8; round++) {
      for (let i = first; i < end; i++) {
        if ((i + round) & 1) m.setValueRef(array, elementsAt + i, box)
        else m.setValueInt(array, elementsAt + i, WILD)
      }
    }
    const last = random.below(3)
    // With references: each slot gets a box of its own, that nothing else holds for long.
    if (last === 2) return this.#fill(m, first, Math.min(end, first + 64))
    for (let i = first; i < end; i++) {
      if (last === 0) m.setValueInt(array, elementsAt + i, WILD)
      else m.setValueNumber(array, elementsAt + i, i + 0.5)
      this.#model[i] = last === 0 ? -1 : -2 - i
    }
  }

  #fill(m: Mutator, first: number, end: number): void {
    const { elementsAt } = this.#array
    // The rounds left references to the box in every second slot and wild integers in the others.
    for (let i = first; i < this.#length && i < first + 512; i++) {
      m.setValueInt(this.#roots.get(0) as Ref, elementsAt + i, WILD)
      this.#model[i] = -1
    }
    for (let i = first; i < end; i++) {
      const box = m.alloc(this.#box)
      const number = 1 + this.#context.random.below(1 << 30)
      m.i32[box + this.#box.at.number] = number
      m.setValueRef(this.#roots.get(0) as Ref, elementsAt + i, box)
      this.#model[i] = number
    }
  }

  /**
   * Copies values to other slots, or by way of a root slot, and overwrites where they were: for some boxes the copy is all that is left.
   * Then, now and then, some hundreds at once.
   */
  #move(m: Mutator): void {
    const { random } = this.#context
    const array = this.#roots.get(0) as Ref
    const { elementsAt } = this.#array
    for (let i = 0; i < 40; i++) {
      const from = random.below(this.#length)
      const to = random.below(this.#length)
      if (from === to || this.#model[from] <= 0) continue
      const source = (array >>> 1) + elementsAt + from
      if (i % 2 === 0) m.copyValue(array, elementsAt + to, source)
      else {
        m.rootsF64[this.#passing.base] = m.f64[source]
        m.copyRootValue(array, elementsAt + to, this.#passing.base)
      }
      m.setValueInt(array, elementsAt + from, WILD)
      this.#model[to] = this.#model[from]
      this.#model[from] = -1
    }
    if (random.chance(0.7)) return
    const count = random.below(Math.min(300, this.#length))
    const from = random.below(this.#length - count)
    const to = random.below(this.#length - count)
    m.copyElements(array, to, array, from, count)
    this.#model.copyWithin(to, from, from + count)
  }

  #begin(m: Mutator): void {
    this.#roots.set(0, m.allocArray(this.#array, this.#length))
    for (let n = 0; n < BOXES; n++) this.#renew(m, n)
  }
  /** Another object for box `n`; slots go on holding the one before it. */
  #renew(m: Mutator, n: number): void {
    const box = m.alloc(this.#box)
    this.#numbers[n] = m.i32[box + this.#box.at.number] = 1 + this.#context.random.below(1 << 30)
    this.#roots.set(1 + n, box)
  }

  #compare(m: Mutator, first: number, slots: number): void {
    const array = this.#roots.get(0) as Ref
    if (array === 0) return
    const { elementsAt } = this.#array
    for (let i = first; i < Math.min(this.#length, first + slots); i++) {
      const where = (): string => `values: slot ${i}`
      const word = array + 2 * (elementsAt + i)
      const expected = this.#model[i]
      if (expected === 0 || expected <= -2) {
        same(where, m.f64[word >>> 1], expected === 0 ? 0 : -1.5 - expected)
      } else if (expected === -1) {
        if (m.i32[word + 1] !== Tag.Int) throw new Mismatch(`${where()} is no integer any more`)
        same(where, m.i32[word], WILD)
      } else {
        if (m.i32[word + 1] !== Tag.Ref) throw new Mismatch(`${where()} is no reference any more`)
        same(() => `${where()}: the number of its box`, m.i32[m.i32[word] + this.#box.at.number], expected)
      }
    }
  }

  check(m: Mutator): void {
    this.#compare(m, 0, this.#length)
    for (let n = 0; n < BOXES; n++) {
      const box = this.#roots.get(1 + n) as Ref
      if (box !== 0) same(() => `values: the number of box ${n}`, m.i32[box + this.#box.at.number], this.#numbers[n])
    }
  }
  reset(): void {
    for (let slot = 0; slot <= BOXES; slot++) this.#roots.set(slot, 0 as Ref)
    this.#model.fill(0)
  }
}
