// Weak references, globals and handles: a weak reference must hold its object as long as anything else does, and be empty
// after a collection that began when nothing did.

import type { Global, Mutator, ObjectHandle, Weak } from '../../../index.js'
import { Mismatch, same, type Activity, type Workload, type WorkloadContext } from '../workload.js'

const ENTRIES = 400

interface Slots {
  readonly number: 'i32'
  readonly other: 'ref'
}
type Thing = ObjectHandle<Slots>

interface Entry {
  readonly number: number
  readonly weak: Weak<Thing>
  /** What keeps the object alive; null: nothing, it may be gone. */
  strong: Global<Thing> | null
  /** An entry whose object this one's object refers to: alive as long as this is. */
  held: Entry | null
}

export const weak: Workload = {
  name: 'weak',
  summary: 'weak references, globals and handles: nothing is cleared early or kept late',
  // A scope, globals, weak references.
  areas: 3,
  start: (context) => new WeakReferences(context),
}

class WeakReferences implements Activity {
  readonly #context: WorkloadContext
  readonly #shape
  #entries: Entry[] = []
  #nextNumber = 1

  constructor(context: WorkloadContext) {
    this.#context = context
    this.#shape = context.heap.defineShape('WeakThing', { number: 'i32', other: 'ref' } as const)
  }

  step(m: Mutator): void {
    const { random, heap } = this.#context
    switch (random.below(8)) {
      case 0:
      case 1:
      case 2:
        for (let i = random.below(10); i >= 0 && this.#entries.length < ENTRIES; i--) this.#add(m)
        break
      case 3:
      case 4:
        for (let i = random.below(10); i >= 0 && this.#entries.length > 0; i--) {
          const entry = random.pick(this.#entries)
          entry.strong?.release()
          entry.strong = null
        }
        break
      case 5:
        this.#revive(m)
        break
      case 6:
        for (let i = random.below(20); i >= 0 && this.#entries.length > 0; i--)
          this.#forget(random.below(this.#entries.length))
        break
      default:
        if (!random.chance(0.02)) break
        heap.collectSync()
        if (this.#context.collects) this.#afterCollection(m)
    }
  }

  #add(m: Mutator): void {
    const { random, heap } = this.#context
    m.scoped((scope) => {
      const number = this.#nextNumber++
      const object = scope.new(this.#shape, { number })
      const other = random.chance(0.5) && this.#entries.length > 0 ? random.pick(this.#entries) : null
      const otherObject = other?.weak.get() ?? null
      if (otherObject !== null) object.other = otherObject
      const strong = random.chance(0.6) ? heap.global(object as Thing) : null
      this.#entries.push({
        number,
        weak: heap.weak(object as Thing),
        strong,
        held: otherObject === null ? null : other,
      })
    })
  }

  /** A weak reference that still holds its object makes a strong one again. */
  #revive(m: Mutator): void {
    const { random, heap } = this.#context
    if (this.#entries.length === 0) return
    const entry = random.pick(this.#entries)
    m.scoped(() => {
      const object = entry.weak.get()
      if (object === undefined || entry.strong !== null) return
      this.#compare(entry, object)
      entry.strong = heap.global(object)
    })
  }

  #compare(entry: Entry, object: Thing): void {
    same(() => `weak: the number of object ${entry.number}`, object.number, entry.number)
    const { other } = object
    same(() => `weak: whether object ${entry.number} holds another`, other !== null, entry.held !== null)
    if (other !== null && entry.held !== null) {
      same(() => `weak: what object ${entry.number} holds`, (other as Thing).number, entry.held.number)
    }
  }

  /** The entries that something strong reaches. */
  #reached(): Set<Entry> {
    const reached = new Set<Entry>()
    for (const { strong, ...rest } of this.#entries.map((entry) => ({ entry, strong: entry.strong }))) {
      for (let at: Entry | null = strong === null ? null : rest.entry; at !== null && !reached.has(at); at = at.held) {
        reached.add(at)
      }
    }
    return reached
  }

  #afterCollection(m: Mutator): void {
    const reached = this.#reached()
    m.scoped(() => {
      for (const entry of this.#entries) {
        const object = entry.weak.get()
        if (object !== undefined && !reached.has(entry)) {
          throw new Mismatch(`weak: object ${entry.number} outlived a collection that nothing strong took it through`)
        }
      }
    })
  }

  #forget(index: number): void {
    const entry = this.#entries[index]
    entry.strong?.release()
    entry.strong = null
    entry.weak.release()
    this.#entries[index] = this.#entries[this.#entries.length - 1]
    this.#entries.pop()
  }

  check(m: Mutator): void {
    const reached = this.#reached()
    m.scoped(() => {
      for (const entry of this.#entries) {
        const object = entry.weak.get()
        if (object === undefined) {
          if (reached.has(entry)) throw new Mismatch(`weak: object ${entry.number} was cleared while reachable`)
          continue
        }
        this.#compare(entry, object)
        if (entry.strong !== null && !entry.strong.handle.is(object)) {
          throw new Mismatch(`weak: the global and the weak reference of object ${entry.number} differ`)
        }
      }
    })
  }

  reset(): void {
    while (this.#entries.length > 0) this.#forget(this.#entries.length - 1)
  }
}
