// Doubly linked lists: long chains, reversed in place (every reference of a list is stored again, which is what marking by
// incremental update must survive), joined, thinned to every other cell, popped at both ends.

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

const LISTS = 6
const CELL_BYTES = 48

export const lists: Workload = {
  name: 'lists',
  summary: 'doubly linked lists: reversed in place, joined, thinned, popped at both ends',
  start: (context, m) => new Lists(context, m),
}

class Lists implements Activity {
  readonly #context: WorkloadContext
  readonly #cell
  /** Slot 2k is the head of list k, 2k + 1 its tail. */
  readonly #ends
  readonly #models: number[][] = Array.from({ length: LISTS }, () => [])
  readonly #longest: number
  #nextId = 1

  constructor(context: WorkloadContext, m: Mutator) {
    this.#context = context
    // `next` is a value (reference or nil) and `previous` a ref, so both kinds of slot are chased.
    this.#cell = context.heap.defineShape('ListCell', { next: 'value', payload: 'value', previous: 'ref', id: 'i32' })
    this.#ends = m.roots.table('ref', 2 * LISTS)
    this.#longest = Math.max(16, Math.floor(context.budget / CELL_BYTES / LISTS))
  }

  step(m: Mutator): void {
    const { random } = this.#context
    const k = random.below(LISTS)
    const list = this.#models[k]
    const room = this.#longest - list.length
    switch (random.below(16)) {
      case 0:
      case 1:
      case 2:
      case 3:
      case 4:
      case 5:
        for (let i = Math.min(room, 1 + random.below(60)); i > 0; i--) this.#push(m, k, random.chance(0.5))
        break
      case 6:
      case 7:
      case 8:
        for (let i = Math.min(list.length, random.below(60)); i > 0; i--) this.#pop(m, k, random.chance(0.5))
        break
      case 9:
      case 10:
        this.#reverse(m, k)
        break
      case 11:
        this.#thin(m, k)
        break
      case 12:
        this.#join(m, k, random.below(LISTS))
        break
      case 13:
        if (random.chance(0.2)) this.#clear(k)
        break
      default:
        this.#walk(m, k, random.below(400))
    }
  }

  #push(m: Mutator, k: number, front: boolean): void {
    const { at } = this.#cell
    const cell = m.alloc(this.#cell)
    const id = this.#nextId++
    m.i32[cell + at.id] = id
    storeSample(m, cell, at.payload, id)
    const near = this.#end(k, front)
    if (near === 0) {
      m.setValueNil(cell, at.next)
      this.#ends.set(2 * k, cell)
      this.#ends.set(2 * k + 1, cell)
    } else if (front) {
      m.setValueRef(cell, at.next, near)
      m.setRef(near, at.previous, cell)
      this.#ends.set(2 * k, cell)
    } else {
      m.setValueNil(cell, at.next)
      m.i32[cell + at.previous] = near // nobody else knows the cell yet: no card
      m.setValueRef(near, at.next, cell)
      this.#ends.set(2 * k + 1, cell)
    }
    if (front) this.#models[k].unshift(id)
    else this.#models[k].push(id)
  }

  #pop(m: Mutator, k: number, front: boolean): void {
    const { at } = this.#cell
    const cell = this.#end(k, front)
    const id = front ? this.#models[k].shift() : this.#models[k].pop()
    same(() => `lists: the ${front ? 'first' : 'last'} cell of list ${k}`, m.i32[cell + at.id], id)
    const next = front ? this.#next(m, cell) : m.getRef(cell, at.previous)
    if (next === 0) return this.#clear(k)
    if (front) m.setRef(next, at.previous, 0)
    else m.setValueNil(next, at.next)
    this.#ends.set(2 * k + (front ? 0 : 1), next)
  }

  #reverse(m: Mutator, k: number): void {
    const { at } = this.#cell
    const head = this.#end(k, true)
    const tail = this.#end(k, false)
    for (let cell = head; cell !== 0;) {
      const next = this.#next(m, cell)
      const previous = m.getRef(cell, at.previous)
      if (previous === 0) m.setValueNil(cell, at.next)
      else m.setValueRef(cell, at.next, previous)
      m.setRef(cell, at.previous, next)
      cell = next
    }
    this.#ends.set(2 * k, tail)
    this.#ends.set(2 * k + 1, head)
    this.#models[k].reverse()
  }

  /** Every other cell goes: the survivors lie one to a hole. */
  #thin(m: Mutator, k: number): void {
    const { at } = this.#cell
    let cell = this.#end(k, true)
    while (cell !== 0) {
      const dropped = this.#next(m, cell)
      if (dropped === 0) break
      const next = this.#next(m, dropped)
      if (next === 0) {
        m.setValueNil(cell, at.next)
        this.#ends.set(2 * k + 1, cell)
        break
      }
      m.setValueRef(cell, at.next, next)
      m.setRef(next, at.previous, cell)
      cell = next
    }
    this.#models[k] = this.#models[k].filter((_, i) => i % 2 === 0)
  }

  #join(m: Mutator, k: number, from: number): void {
    const { at } = this.#cell
    const tail = this.#end(k, false)
    const head = this.#end(from, true)
    if (k === from || tail === 0 || head === 0) return
    if (this.#models[k].length + this.#models[from].length > this.#longest) return
    m.setValueRef(tail, at.next, head)
    m.setRef(head, at.previous, tail)
    this.#ends.set(2 * k + 1, this.#end(from, false))
    for (const id of this.#models[from]) this.#models[k].push(id)
    this.#clear(from)
  }

  #clear(k: number): void {
    this.#ends.set(2 * k, 0 as Ref)
    this.#ends.set(2 * k + 1, 0 as Ref)
    this.#models[k] = []
  }

  #end(k: number, front: boolean): Ref {
    return this.#ends.get(2 * k + (front ? 0 : 1)) as Ref
  }
  #next(m: Mutator, cell: Ref): Ref {
    const word = cell + 2 * this.#cell.at.next
    return (m.i32[word + 1] === Tag.Ref ? m.i32[word] : 0) as Ref
  }

  #walk(m: Mutator, k: number, cells: number): void {
    const { at } = this.#cell
    const model = this.#models[k]
    let previous = 0 as Ref
    let cell = this.#end(k, true)
    for (let i = 0; i < Math.min(cells, model.length); i++) {
      const where = (): string => `lists: cell ${i} of ${model.length} of list ${k} (ref ${cell})`
      if (cell === 0) throw new Mismatch(`${where()} is missing`)
      same(() => `${where()}: its shape`, m.shapeOf(cell), this.#cell.id)
      same(() => `${where()}: its id`, m.i32[cell + at.id], model[i])
      same(() => `${where()}: its previous`, m.getRef(cell, at.previous), previous)
      const payload = m.getValue(cell, at.payload)
      if (!isSample(payload, model[i])) throw new Mismatch(`${where()}: its payload is ${String(payload)}`)
      previous = cell
      cell = this.#next(m, cell)
    }
    if (cells < model.length) return
    same(() => `lists: what follows the last cell of list ${k}`, cell, 0)
    same(() => `lists: the tail of list ${k}`, this.#end(k, false), previous)
  }

  check(m: Mutator): void {
    for (let k = 0; k < LISTS; k++) this.#walk(m, k, Infinity)
  }
  reset(): void {
    for (let k = 0; k < LISTS; k++) this.#clear(k)
  }
}
