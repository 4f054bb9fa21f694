// Objects handed from thread to thread through a root table that all of them exchange with atomically: references cross
// threads in the middle of cycles. No shadow model can be shared, so a parcel describes itself.

import { layout, type Mutator, type Ref } from '../../../index.js'
import { same, type Activity, type Workload, type WorkloadContext } from '../workload.js'

const HELD = 32

export const exchange: Workload = {
  name: 'exchange',
  summary: 'parcels exchanged atomically between threads in the middle of cycles',
  start: (context, m) => new Exchange(context, m),
}

class Exchange implements Activity {
  readonly #context: WorkloadContext
  readonly #parcel
  readonly #words
  /** The last slot is for what is being built. */
  readonly #held

  constructor(context: WorkloadContext, m: Mutator) {
    this.#context = context
    const { heap } = context
    this.#parcel = heap.defineShape('Parcel', { words: 'ref', older: 'ref', seed: 'i32', depth: 'i32' })
    this.#words = heap.defineArray('ParcelWords', 'i32')
    this.#held = m.roots.table('ref', HELD + 1)
  }

  step(m: Mutator): void {
    const { random } = this.#context
    const slot = random.below(HELD)
    switch (random.below(4)) {
      case 0:
      case 1:
        this.#build(m, slot)
        break
      case 2:
        this.#trade(m, slot)
        break
      default:
        this.#open(m, this.#held.get(slot) as Ref)
    }
  }

  #build(m: Mutator, slot: number): void {
    const { random } = this.#context
    const { at } = this.#parcel
    const seed = random.next() | 0
    const length = random.below(40)
    this.#held.set(HELD, m.allocArray(this.#words, length))
    const parcel = m.alloc(this.#parcel)
    const words = this.#held.get(HELD) as Ref
    for (let i = 0; i < length; i++) m.i32[words + 2 + i] = Math.imul(seed, i + 1)
    m.i32[parcel + at.seed] = seed
    m.setRef(parcel, at.words, words)
    const older = this.#held.get(slot) as Ref
    const depth = older === 0 ? 0 : m.i32[older + at.depth] + 1
    if (depth < 8) {
      m.setRef(parcel, at.older, older)
      m.i32[parcel + at.depth] = depth
    }
    this.#held.set(slot, parcel)
    this.#held.set(HELD, 0 as Ref)
  }

  /** Gives the parcel of `slot` for whatever lies in the table: one atomic exchange, so a parcel has one owner. */
  #trade(m: Mutator, slot: number): void {
    const { base, slots } = this.#context.exchange
    if (slots === 0) return
    const word = base + this.#context.random.below(slots)
    const mine = this.#held.get(slot) as Ref
    const theirs = Atomics.exchange(m.rootsI32, word, mine) as Ref
    m.rootCards[word >>> layout.CARD_SHIFT] = 1
    this.#held.set(slot, theirs)
    this.#open(m, theirs)
  }

  #open(m: Mutator, parcel: Ref): void {
    const { at } = this.#parcel
    for (let depth = -1; parcel !== 0; parcel = m.getRef(parcel, at.older)) {
      const ref = parcel
      same(() => `exchange: the shape of a parcel (ref ${ref})`, m.shapeOf(ref), this.#parcel.id)
      if (depth >= 0) same(() => `exchange: the depth of a parcel (ref ${ref})`, m.i32[ref + at.depth], depth)
      depth = m.i32[parcel + at.depth] - 1
      const seed = m.i32[parcel + at.seed]
      const words = m.getRef(parcel, at.words)
      same(() => `exchange: the shape of the words of a parcel (ref ${words})`, m.shapeOf(words), this.#words.id)
      for (let i = m.lengthOf(words) - 1; i >= 0; i--) {
        same(() => `exchange: word ${i} of a parcel (ref ${words})`, m.i32[words + 2 + i], Math.imul(seed, i + 1))
      }
      if (depth < 0) break
    }
  }

  check(m: Mutator): void {
    for (let slot = 0; slot < HELD; slot++) this.#open(m, this.#held.get(slot) as Ref)
  }
  reset(): void {
    for (let slot = 0; slot <= HELD; slot++) this.#held.set(slot, 0 as Ref)
  }
}
