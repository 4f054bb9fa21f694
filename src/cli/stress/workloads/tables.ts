// Open-addressing hash tables in the heap, keyed by integers and by objects under their identity hash, growing by rehashing
// into new arrays: lookups by address must go on working while everything moves, and hashes must stay what they were.

import { Tag, type Mutator, type Ref } from '../../../index.js'
import {
  isSample,
  Mismatch,
  same,
  storeSample,
  type Activity,
  type Workload,
  type WorkloadContext,
} from '../workload.js'

const KEY_OBJECTS = 256
const FIRST_CAPACITY = 16

export const tables: Workload = {
  name: 'tables',
  summary: 'hash tables keyed by integers and by identity, growing and shrinking, values of every kind',
  start: (context, m) => new Tables(context, m),
}

/** Keys of the model: integers, and −1 − n for key object n. */
class Tables implements Activity {
  readonly #context: WorkloadContext
  readonly #key
  readonly #array
  /** Slot 0: the table's keys, slot 1: its values, from slot 4 on the key objects. Slots 2 and 3: the pair it grows into. */
  readonly #roots
  readonly #model = new Map<number, number>()
  readonly #hashes: number[] = new Array<number>(KEY_OBJECTS).fill(0)
  readonly #most: number
  #capacity = 0
  /** Slots that are not free, tombstones included. */
  #used = 0
  #nextSample = 1

  constructor(context: WorkloadContext, m: Mutator) {
    this.#context = context
    this.#key = context.heap.defineShape('TableKey', { number: 'i32' })
    this.#array = context.heap.defineArray('TableSlots', 'value')
    this.#roots = m.roots.table('ref', 4 + KEY_OBJECTS)
    this.#most = Math.max(32, Math.floor(context.budget / 128))
  }

  step(m: Mutator): void {
    const { random } = this.#context
    switch (random.below(6)) {
      case 0:
      case 1:
      case 2:
        for (let i = random.below(30); i >= 0 && this.#model.size < this.#most; i--) this.#put(m, this.#anyKey())
        break
      case 3:
        for (let i = random.below(30); i >= 0; i--) this.#delete(m, this.#anyKey())
        break
      case 4:
        for (let i = 0; i < 30; i++) this.#look(m, this.#anyKey())
        break
      default:
        if (random.chance(0.02)) this.reset()
    }
  }

  #anyKey(): number {
    const { random } = this.#context
    return random.chance(0.5) ? random.below(this.#most * 2) : -1 - random.below(KEY_OBJECTS)
  }

  #put(m: Mutator, key: number): void {
    if (key < 0 && this.#roots.get(3 - key) === 0) {
      const object = m.alloc(this.#key)
      m.i32[object + this.#key.at.number] = -1 - key
      this.#hashes[-1 - key] = m.identityHash(object)
      this.#roots.set(3 - key, object)
    }
    if (4 * (this.#used + 1) > 3 * this.#capacity) this.#grow(m)
    const slot = this.#slotOf(m, key, true)
    const keys = this.#roots.get(0) as Ref
    const { elementsAt } = this.#array
    if (!this.#model.has(key)) {
      this.#used++
      if (key >= 0) m.setValueInt(keys, elementsAt + slot, key)
      else m.setValueRef(keys, elementsAt + slot, this.#roots.get(3 - key) as Ref)
    }
    const sample = this.#nextSample++
    storeSample(m, this.#roots.get(1) as Ref, elementsAt + slot, sample)
    this.#model.set(key, sample)
  }

  #delete(m: Mutator, key: number): void {
    if (!this.#model.has(key)) return
    const slot = this.#slotOf(m, key, false)
    if (slot < 0) throw new Mismatch(`tables: key ${key} is missing`)
    m.setValueUndefined(this.#roots.get(0) as Ref, this.#array.elementsAt + slot)
    m.setValueUndefined(this.#roots.get(1) as Ref, this.#array.elementsAt + slot)
    this.#model.delete(key)
    // A key object that no table holds any more goes half of the time.
    if (key < 0 && this.#context.random.chance(0.5)) this.#roots.set(3 - key, 0 as Ref)
  }

  #look(m: Mutator, key: number): void {
    const slot = this.#slotOf(m, key, false)
    const sample = this.#model.get(key)
    same(() => `tables: whether key ${key} is present`, slot >= 0, sample !== undefined)
    if (sample === undefined) return
    const found = m.getValue(this.#roots.get(1) as Ref, this.#array.elementsAt + slot)
    if (!isSample(found, sample)) throw new Mismatch(`tables: key ${key} holds ${String(found)}, not sample ${sample}`)
  }

  /** The slot of `key`, or −1; with `free`, the first free one if it is absent (never a tombstone). */
  #slotOf(m: Mutator, key: number, free: boolean): number {
    if (this.#capacity === 0) return -1
    const keys = this.#roots.get(0) as Ref
    const object = key < 0 ? (this.#roots.get(3 - key) as Ref) : 0
    if (key < 0 && object === 0) return -1
    if (key < 0)
      same(() => `tables: the hash of key object ${-1 - key}`, m.identityHash(object as Ref), this.#hashes[-1 - key])
    const hash = key < 0 ? this.#hashes[-1 - key] : Math.imul(key, 0x9e3779b1) >>> 3
    const wanted = key < 0 ? object : key
    const tag = key < 0 ? Tag.Ref : Tag.Int
    for (let i = 0, slot = hash % this.#capacity; i < this.#capacity; i++, slot = (slot + 1) % this.#capacity) {
      const word = keys + 2 * (this.#array.elementsAt + slot)
      const high = m.i32[word + 1]
      if (high === 0) return free ? slot : -1
      if (high === tag && m.i32[word] === wanted) return slot
    }
    return -1
  }

  #grow(m: Mutator): void {
    const capacity = Math.max(FIRST_CAPACITY, 3 * this.#model.size)
    this.#roots.set(2, m.allocArray(this.#array, capacity))
    this.#roots.set(3, m.allocArray(this.#array, capacity))
    const { elementsAt } = this.#array
    const [oldKeys, oldValues, keys, values] = [0, 1, 2, 3].map((i) => this.#roots.get(i) as Ref)
    const entries: [key: number, oldSlot: number][] = []
    for (const key of this.#model.keys()) entries.push([key, this.#slotOf(m, key, false)])
    this.#capacity = capacity
    this.#used = entries.length
    this.#roots.set(0, keys)
    this.#roots.set(1, values)
    this.#roots.set(2, 0 as Ref)
    this.#roots.set(3, 0 as Ref)
    for (const [key, oldSlot] of entries) {
      if (oldSlot < 0) throw new Mismatch(`tables: key ${key} was lost before the table grew`)
      const slot = this.#slotOf(m, key, true)
      m.copyValue(keys, elementsAt + slot, (oldKeys >>> 1) + elementsAt + oldSlot)
      m.copyValue(values, elementsAt + slot, (oldValues >>> 1) + elementsAt + oldSlot)
    }
  }

  check(m: Mutator): void {
    for (const key of this.#model.keys()) this.#look(m, key)
    for (let n = 0; n < KEY_OBJECTS; n++) {
      const object = this.#roots.get(4 + n) as Ref
      if (object !== 0) same(() => `tables: the number of key object ${n}`, m.i32[object + this.#key.at.number], n)
    }
  }

  reset(): void {
    for (let slot = 0; slot < 4 + KEY_OBJECTS; slot++) this.#roots.set(slot, 0 as Ref)
    this.#model.clear()
    this.#capacity = this.#used = 0
  }
}
