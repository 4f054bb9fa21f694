// Alternating lifetimes: rows of neighbours of which every second, all but one a page, or all but the last die. The worst
// cases of sliding: one survivor to a page, everything moving by a little, a hole at the very front, a dense prefix that
// ends in the middle of an object.

import type { Mutator, Ref } from '../../../index.js'
import { same, type Activity, type Workload, type WorkloadContext } from '../workload.js'

const OBJECT_SLOTS = 4096

export const fragmentation: Workload = {
  name: 'fragmentation',
  summary: 'neighbours with alternating lifetimes: the worst cases of sliding',
  start: (context, m) => new Fragmentation(context, m),
}

class Fragmentation implements Activity {
  readonly #context: WorkloadContext
  readonly #block
  readonly #roots
  /** Per slot: length in words and the number that the words are made of; length −1 is nothing. */
  readonly #lengths = new Int32Array(OBJECT_SLOTS).fill(-1)
  readonly #numbers = new Int32Array(OBJECT_SLOTS)
  #bytes = 0

  constructor(context: WorkloadContext, m: Mutator) {
    this.#context = context
    this.#block = context.heap.defineArray('Block', 'i32')
    this.#roots = m.roots.table('ref', OBJECT_SLOTS)
  }

  step(m: Mutator): void {
    const { random } = this.#context
    const first = random.below(OBJECT_SLOTS)
    const count = Math.min(OBJECT_SLOTS - first, 1 + random.below(512))
    switch (random.below(4)) {
      case 0:
      case 1:
        return this.#fill(m, first, count)
      case 2: {
        const stride = random.pick([2, 3, 7, 64, 129])
        const keep = random.below(stride)
        const keepOne = random.chance(0.5)
        for (let slot = first; slot < first + count; slot++) {
          if (((slot - first) % stride === keep) !== keepOne) this.#drop(slot)
        }
        return
      }
      default:
        for (let slot = first; slot < first + Math.min(count, 64); slot++) this.#compare(m, slot)
    }
  }

  #fill(m: Mutator, first: number, count: number): void {
    const { random, budget } = this.#context
    // One size for a row, so that neighbours lie alike; now and then every size there is.
    const row = random.pick([0, 1, 2, 5, 6, 14, 30, 126, 127, 1022, 1023, 2000])
    const mixed = random.chance(0.2)
    for (let slot = first; slot < first + count; slot++) {
      const length = mixed ? random.below(400) : row
      if (this.#bytes + length * 4 + 16 > budget) return
      this.#drop(slot)
      const ref = m.allocArray(this.#block, length)
      const number = random.next() | 1
      for (let i = 0; i < length; i++) m.i32[ref + 2 + i] = number ^ i
      this.#roots.set(slot, ref)
      this.#lengths[slot] = length
      this.#numbers[slot] = number
      this.#bytes += length * 4 + 16
    }
  }

  #drop(slot: number): void {
    if (this.#lengths[slot] < 0) return
    this.#bytes -= this.#lengths[slot] * 4 + 16
    this.#lengths[slot] = -1
    this.#roots.set(slot, 0 as Ref)
  }

  #compare(m: Mutator, slot: number): void {
    const length = this.#lengths[slot]
    const ref = this.#roots.get(slot) as Ref
    same(() => `fragmentation: whether slot ${slot} is empty`, ref === 0, length < 0)
    if (length < 0) return
    const where = (): string => `fragmentation: the block in slot ${slot} (ref ${ref})`
    same(() => `${where()}: its shape`, m.shapeOf(ref), this.#block.id)
    same(() => `${where()}: its length`, m.lengthOf(ref), length)
    const number = this.#numbers[slot]
    const { i32 } = m
    for (let i = 0; i < length; i++) {
      if (i32[ref + 2 + i] !== (number ^ i)) same(() => `${where()}: word ${i}`, i32[ref + 2 + i], number ^ i)
    }
  }

  check(m: Mutator): void {
    for (let slot = 0; slot < OBJECT_SLOTS; slot++) this.#compare(m, slot)
  }
  reset(): void {
    for (let slot = 0; slot < OBJECT_SLOTS; slot++) this.#drop(slot)
  }
}
