// Guardians: an object must come out when nothing else refers to it, whole, as often as it was guarded, and not before.

import type { ArrayShape, Guardian, Mutator, Ref, Shape } from '../../../index.js'
import { Mismatch, same, type Activity, type Workload, type WorkloadContext } from '../workload.js'

const KEPT = 150
const HAND = KEPT
/** So many a guardian holds in its first pair of areas. */
const MOST_GUARDED = 600

export const guardians: Workload = {
  name: 'guardians',
  summary: 'guarded objects: each comes out once nothing refers to it, whole, as often as it was guarded',
  // A table, and the two of a guardian.
  areas: 3,
  start: (context, m) => new Guardians(context, m),
}

class Guardians implements Activity {
  readonly #context: WorkloadContext
  readonly #file: Shape<{ number: 'i32'; buffer: 'ref' }>
  readonly #buffer: ArrayShape<'i32'>
  readonly #roots
  #guardian: Guardian
  readonly #kept: number[] = new Array<number>(KEPT).fill(0)
  /** How often each is guarded that has not come out. */
  readonly #guarded = new Map<number, number>()
  #held = 0
  #nextNumber = 1

  constructor(context: WorkloadContext, m: Mutator) {
    this.#context = context
    const { heap } = context
    this.#file = heap.defineShape('File', { number: 'i32', buffer: 'ref' })
    this.#buffer = heap.defineArray('Buffer', 'i32')
    this.#roots = m.roots.table('ref', KEPT + 1)
    this.#guardian = heap.guardian()
  }

  step(m: Mutator): void {
    const { random, heap } = this.#context
    const kept = random.below(KEPT)
    switch (random.below(8)) {
      case 0:
      case 1:
      case 2:
        for (let i = random.below(6); i >= 0; i--) this.#make(m, random.below(KEPT))
        break
      case 3:
        if (this.#kept[kept] !== 0) this.#guard(this.#roots.get(kept) as Ref, this.#kept[kept])
        break
      case 4:
        for (let i = random.below(12); i >= 0; i--) this.#letGo(random.below(KEPT))
        break
      case 5:
      case 6:
        for (let i = random.below(12); i >= 0; i--) this.#take(m, true)
        break
      default:
        if (!random.chance(0.02)) break
        heap.collectSync()
        if (this.#context.collects) this.#compareDue()
    }
  }

  /** How long the buffer of file `number` is: mostly short, sometimes a large object. */
  #lengthOf(number: number): number {
    return number % 97 === 0 && this.#context.budget > 1 << 18 ? 9000 : number % 13
  }

  #make(m: Mutator, kept: number): void {
    const { random } = this.#context
    if (this.#held >= MOST_GUARDED) return
    const number = this.#nextNumber++
    const length = this.#lengthOf(number)
    this.#roots.set(HAND, m.allocArray(this.#buffer, length))
    const buffer = this.#roots.get(HAND) as Ref
    m.i32.fill(number, buffer + this.#buffer.elementsAt, buffer + this.#buffer.elementsAt + length)
    const file = m.alloc(this.#file)
    m.i32[file + this.#file.at.number] = number
    m.setRef(file, this.#file.at.buffer, this.#roots.get(HAND))
    this.#roots.set(HAND, 0)
    this.#guard(file, number)
    if (random.chance(0.5)) this.#keep(kept, file, number)
  }
  #guard(file: Ref, number: number): void {
    if (this.#held >= MOST_GUARDED) return
    this.#guardian.guardRef(file)
    this.#guarded.set(number, (this.#guarded.get(number) ?? 0) + 1)
    this.#held++
  }
  #keep(kept: number, file: Ref, number: number): void {
    this.#roots.set(kept, file)
    this.#kept[kept] = number
  }
  #letGo(kept: number): void {
    this.#roots.set(kept, 0)
    this.#kept[kept] = 0
  }

  /** False: nothing was due. */
  #take(m: Mutator, mayKeep: boolean): boolean {
    const { random } = this.#context
    const file = this.#guardian.nextRef()
    if (file === 0) return false
    same(() => 'guardians: the shape of what came out', m.shapeOf(file), this.#file.id)
    const number = m.i32[file + this.#file.at.number]
    const times = this.#guarded.get(number) ?? 0
    if (times === 0) throw new Mismatch(`guardians: file ${number} came out more often than it was guarded`)
    if (this.#kept.includes(number)) throw new Mismatch(`guardians: file ${number} came out while it was reachable`)
    this.#checkFile(m, file, number)
    this.#held--
    if (times > 1) {
      this.#guarded.set(number, times - 1)
      return true
    }
    this.#guarded.delete(number)
    // Nothing is left to come out: it may live on, and be guarded again.
    if (mayKeep && random.chance(0.4)) this.#keep(random.below(KEPT), file, number)
    if (mayKeep && random.chance(0.2)) this.#guard(file, number)
    return true
  }

  #checkFile(m: Mutator, file: Ref, number: number): void {
    same(() => `guardians: the number of file ${number}`, m.i32[file + this.#file.at.number], number)
    const buffer = m.getRef(file, this.#file.at.buffer) as Ref
    const length = this.#lengthOf(number)
    same(() => `guardians: the shape of the buffer of file ${number}`, m.shapeOf(buffer), this.#buffer.id)
    same(() => `guardians: the length of the buffer of file ${number}`, m.lengthOf(buffer), length)
    const begin = buffer + this.#buffer.elementsAt
    for (let word = begin; word < begin + length; word++) {
      if (m.i32[word] !== number) same(() => `guardians: the buffer of file ${number}`, m.i32[word], number)
    }
  }

  /** Nothing has happened since a collection that found all that was dead. */
  #compareDue(): void {
    let dead = 0
    for (const [number, times] of this.#guarded) if (!this.#kept.includes(number)) dead += times
    same(() => 'guardians: how many files are due after a collection', this.#guardian.due, dead)
  }

  check(m: Mutator): void {
    this.#kept.forEach((number, kept) => {
      const file = this.#roots.get(kept)
      same(() => `guardians: whether a file is kept in ${kept}`, file !== 0, number !== 0)
      if (file !== 0) this.#checkFile(m, file, number)
    })
    // What is due is compared when it comes out.
    while (this.#take(m, false));
  }

  reset(): void {
    for (let kept = 0; kept < KEPT; kept++) this.#letGo(kept)
    this.#roots.set(HAND, 0)
    this.#guardian.release()
    this.#guardian = this.#context.heap.guardian()
    this.#guarded.clear()
    this.#held = 0
  }
}
