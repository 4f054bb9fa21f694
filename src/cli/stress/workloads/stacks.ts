// Deep operand stacks: frames of values pushed and popped by the thousand without any barrier, with the top published only
// at safepoints, as an interpreter does it. Above the top lies what was popped; no collection may take it for a root.

import { Tagged, Tag, type Mutator, type Ref } from '../../../index.js'
import { Mismatch, same, type Activity, type Workload, type WorkloadContext } from '../workload.js'

/** The control word that counts flips (ARCHITECTURE.md). */
const EPOCH = 3

/** A slot of the model: a box by its number, and by that of the box that it refers to (its own: none), or a plain integer. */
type ModelSlot = { readonly box: number; readonly below: number } | number

export const stacks: Workload = {
  name: 'stacks',
  summary: 'deep operand stacks without barriers, popped and pushed by thousands of slots',
  start: (context, m) => new Stacks(context, m),
}

class Stacks implements Activity {
  readonly #context: WorkloadContext
  readonly #box
  readonly #stack
  readonly #model: ModelSlot[] = []
  readonly #most: number
  #nextNumber = 1

  constructor(context: WorkloadContext, m: Mutator) {
    this.#context = context
    this.#box = context.heap.defineShape('StackBox', { below: 'value', number: 'i32' })
    this.#most = Math.min(100_000, Math.max(512, Math.floor(context.budget / 40)))
    this.#stack = m.roots.stack('value', this.#most)
    this.#stack.top = 0
  }

  step(m: Mutator): void {
    const { random } = this.#context
    switch (random.below(8)) {
      case 0:
      case 1:
      case 2:
        for (let i = random.below(100); i >= 0 && this.#model.length < this.#most; i--) this.#push(m)
        break
      case 3:
        // A recursion: straight down, then back up a part of it.
        if (random.chance(0.9)) break
        for (let i = random.below(this.#most - this.#model.length + 1); i > 0; i--) this.#push(m)
        break
      case 4:
        this.#pop(random.below(Math.min(this.#model.length, 120) + 1))
        break
      case 5:
        if (random.chance(0.05)) this.#pop(random.below(this.#model.length + 1))
        break
      case 6:
        if (random.chance(0.01)) this.#collect(m)
        break
      default:
        for (let i = 0; i < 20 && this.#model.length > 0; i++) {
          const slot = random.below(this.#model.length)
          this.#compare(m, slot)
          this.#put(m, slot, this.#model[slot], this.#boxAt(m, slot))
        }
    }
    // Whoever runs next may reach a safepoint.
    this.#publish()
  }

  #publish(): void {
    this.#stack.top = this.#model.length
  }

  #push(m: Mutator): void {
    const { random } = this.#context
    const number = this.#nextNumber++
    const slot = this.#model.length
    if (random.chance(0.5)) {
      this.#put(m, slot, number, 0 as Ref)
      this.#model.push(number)
      return
    }
    // The allocation is a safepoint: everything pushed so far must be published, and nothing else.
    this.#publish()
    const box = m.alloc(this.#box)
    m.i32[box + this.#box.at.number] = number
    const below = slot > 0 ? this.#boxAt(m, slot - 1) : 0
    if (below === 0) m.setValueInt(box, this.#box.at.below, number)
    else m.setValueRef(box, this.#box.at.below, below as Ref)
    const beneath = this.#model[slot - 1]
    const content = { box: number, below: typeof beneath === 'object' ? beneath.box : number }
    this.#put(m, slot, content, box)
    this.#model.push(content)
  }
  #pop(slots: number): void {
    this.#model.length -= slots
    this.#publish()
  }

  #put(m: Mutator, slot: number, content: ModelSlot, box: Ref): void {
    const word = 2 * (this.#stack.base + slot)
    if (typeof content === 'number') {
      m.rootsI32[word + 1] = Tag.Int
      m.rootsI32[word] = content
    } else {
      m.rootsI32[word] = box
      m.rootsI32[word + 1] = Tag.Ref
    }
  }
  #boxAt(m: Mutator, slot: number): Ref {
    const word = 2 * (this.#stack.base + slot)
    return (m.rootsI32[word + 1] === Tag.Ref ? m.rootsI32[word] : 0) as Ref
  }

  #compare(m: Mutator, slot: number): void {
    const expected = this.#model[slot]
    const found = this.#stack.get(slot)
    const where = (): string => `stacks: slot ${slot} of ${this.#model.length}`
    if (typeof expected === 'number') return same(where, found, expected)
    if (!(found instanceof Tagged))
      throw new Mismatch(`${where()} is ${String(found)}, the model says box ${expected.box}`)
    const box = found.payload as Ref
    same(() => `${where()} (ref ${box}): its shape`, m.shapeOf(box), this.#box.id)
    same(() => `${where()} (ref ${box}): its number`, m.i32[box + this.#box.at.number], expected.box)
    // What lay below it, which may have been popped since, or replaced.
    const word = box + 2 * this.#box.at.below
    const isBox = m.i32[word + 1] === Tag.Ref
    same(() => `${where()} (ref ${box}): whether it refers to a box`, isBox, expected.below !== expected.box)
    const below = isBox ? m.i32[m.i32[word] + this.#box.at.number] : m.i32[word]
    same(() => `${where()} (ref ${box}): the number of what it refers to`, below, expected.below)
  }

  /** Popped slots may name what is garbage by now: a flip leaves zeros there, so that a raised top finds nothing stale. */
  #collect(m: Mutator): void {
    const epoch = m.control[EPOCH]
    this.#publish()
    this.#context.heap.collectSync()
    if (m.control[EPOCH] !== epoch) this.#aboveTop(m)
  }

  #aboveTop(m: Mutator): void {
    for (let slot = this.#model.length; slot < this.#stack.capacity; slot++) {
      const word = 2 * (this.#stack.base + slot)
      if (m.rootsI32[word] !== 0 || m.rootsI32[word + 1] !== 0) {
        throw new Mismatch(`stacks: slot ${slot}, above the top ${this.#model.length}, is not zero after a collection`)
      }
    }
  }

  check(m: Mutator): void {
    for (let slot = 0; slot < this.#model.length; slot++) this.#compare(m, slot)
  }
  reset(): void {
    this.#model.length = 0
    this.#publish()
  }
}
