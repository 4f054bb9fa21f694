// Weak arrays: an element must hold its object as long as anything else does, the value of an ephemeron must live as long as
// its key, and after a collection that began when nothing else held them both must be cleared.

import { Tag, type ArrayShape, type Mutator, type Ref } from '../../../index.js'
import { Mismatch, same, type Activity, type Workload, type WorkloadContext } from '../workload.js'

const THINGS = 200
const ARRAYS = 8
/** Root slots: the things kept, the arrays, and two for what a step has in hand. */
const FIRST_ARRAY = THINGS
const HAND = FIRST_ARRAY + ARRAYS
const SLOTS = HAND + 2
const LONGEST = 6000

type Kind = 'ref' | 'value'

/** Numbers of things; 0: none. */
interface Pair {
  key: number
  value: number
  /** The key is no reference: the value is kept. */
  keyless: boolean
}
interface Model {
  readonly shape: ArrayShape<Kind>
  readonly length: number
  /** What was stored and not yet seen cleared, by element, or by pair. */
  readonly elements: Map<number, number>
  readonly pairs: Map<number, Pair>
}

export const ephemerons: Workload = {
  name: 'ephemerons',
  summary: 'weak arrays and ephemerons: nothing is cleared early, kept late or cleared by halves',
  start: (context, m) => new Ephemerons(context, m),
}

class Ephemerons implements Activity {
  readonly #context: WorkloadContext
  readonly #thing
  readonly #shapes: readonly ArrayShape<Kind>[]
  readonly #roots
  readonly #kept: number[] = new Array<number>(THINGS).fill(0)
  readonly #arrays: (Model | null)[] = new Array<Model | null>(ARRAYS).fill(null)
  /** What each thing refers to. */
  readonly #others = new Map<number, number>()
  #nextNumber = 1

  constructor(context: WorkloadContext, m: Mutator) {
    this.#context = context
    const { heap } = context
    this.#thing = heap.defineShape('Thing', { number: 'i32', other: 'ref' })
    this.#shapes = [
      heap.defineArray('WeakRefs', 'ref', { weak: 'elements' }),
      heap.defineArray('WeakValues', 'value', { weak: 'elements' }),
      heap.defineArray('RefEphemerons', 'ref', { weak: 'keys' }),
      heap.defineArray('ValueEphemerons', 'value', { weak: 'keys' }),
    ]
    this.#roots = m.roots.table('ref', SLOTS)
  }

  step(m: Mutator): void {
    const { random, heap } = this.#context
    const slot = random.below(ARRAYS)
    const model = this.#arrays[slot]
    switch (random.below(12)) {
      case 0:
        if (model === null || random.chance(0.2)) this.#replace(m, slot)
        break
      case 1:
      case 2:
        for (let i = random.below(8); i >= 0; i--) this.#keep(m, random.below(THINGS))
        break
      case 3:
      case 4:
        for (let i = random.below(8); i >= 0; i--) this.#letGo(random.below(THINGS))
        break
      case 5:
        this.#revive(m, slot)
        break
      case 6:
        if (!random.chance(0.02)) break
        heap.collectSync()
        if (this.#context.collects) this.#compare(m, true)
        break
      case 7:
        this.#dropKey(m, slot)
        break
      default:
        if (model === null || model.length === 0) break
        for (let i = random.below(20); i >= 0; i--) this.#store(m, slot, model)
    }
  }

  #replace(m: Mutator, slot: number): void {
    const { random, budget } = this.#context
    const longest = Math.min(LONGEST, Math.max(8, budget / 8 / ARRAYS))
    const length = Math.floor(2 ** ((random.next() / 2 ** 32) * Math.log2(longest))) - 1
    const shape = random.pick(this.#shapes)
    this.#roots.set(FIRST_ARRAY + slot, m.allocArray(shape, length))
    this.#arrays[slot] = { shape, length, elements: new Map(), pairs: new Map() }
  }

  /** A thing that something keeps, or a new one, into root slot `hand`; its number. */
  #pick(m: Mutator, hand: number): number {
    const { random } = this.#context
    const kept = random.below(THINGS)
    let number = this.#kept[kept]
    if (number === 0 || random.chance(0.4)) {
      const ref = m.alloc(this.#thing)
      number = this.#nextNumber++
      m.i32[ref + this.#thing.at.number] = number
      this.#roots.set(hand, ref)
      return number
    }
    this.#roots.set(hand, this.#roots.get(kept))
    return number
  }

  #keep(m: Mutator, kept: number): void {
    const number = this.#pick(m, HAND)
    if (this.#context.random.chance(0.4)) {
      // To any thing, itself included, or through another to a value that an ephemeron alone keeps.
      const other = this.#pick(m, HAND + 1)
      m.setRef(this.#roots.get(HAND) as Ref, this.#thing.at.other, this.#roots.get(HAND + 1))
      this.#others.set(number, other)
    }
    this.#roots.set(kept, this.#roots.get(HAND))
    this.#kept[kept] = number
    this.#emptyHands()
  }
  #letGo(kept: number): void {
    this.#roots.set(kept, 0)
    this.#kept[kept] = 0
  }
  #emptyHands(): void {
    this.#roots.set(HAND, 0)
    this.#roots.set(HAND + 1, 0)
  }

  #store(m: Mutator, slot: number, model: Model): void {
    const { random } = this.#context
    if (model.shape.weak === 'elements') {
      const i = random.below(model.length)
      const number = this.#pick(m, HAND)
      this.#put(m, slot, model, i, HAND)
      model.elements.set(i, number)
    } else if (model.length > 1) {
      const pair = random.below(model.length >>> 1)
      const keyless = random.chance(0.05)
      const key = keyless ? 0 : this.#pick(m, HAND)
      const value = this.#pick(m, HAND + 1)
      this.#put(m, slot, model, 2 * pair, keyless ? null : HAND)
      this.#put(m, slot, model, 2 * pair + 1, HAND + 1)
      model.pairs.set(pair, { key, value, keyless })
    }
    this.#emptyHands()
  }
  /** A number over the key, which marks no card: from then on the value is kept. */
  #dropKey(m: Mutator, slot: number): void {
    const model = this.#arrays[slot]
    if (model === null || model.shape.kind !== 'value' || model.pairs.size === 0) return
    const pair = this.#context.random.below(model.length >>> 1)
    const was = model.pairs.get(pair)
    // If the value is gone already, there is nothing to keep.
    if (was === undefined || this.#get(m, slot, model, 2 * pair + 1) === 0) return
    this.#put(m, slot, model, 2 * pair, null)
    model.pairs.set(pair, { key: 0, value: was.value, keyless: true })
  }
  #put(m: Mutator, slot: number, model: Model, i: number, hand: number | null): void {
    const array = this.#roots.get(FIRST_ARRAY + slot) as Ref
    const at = model.shape.elementsAt + i
    if (model.shape.kind === 'ref') m.setElementRef(array, i, hand === null ? 0 : this.#roots.get(hand))
    else if (hand === null) m.setValueNumber(array, at, 1.5)
    else m.setValueRef(array, at, this.#roots.get(hand) as Ref)
  }

  /** What a weak array still gives is alive, whether or not anything else kept it. */
  #revive(m: Mutator, slot: number): void {
    const { random } = this.#context
    const model = this.#arrays[slot]
    if (model === null || model.length === 0) return
    const i = random.below(model.length)
    const ref = this.#get(m, slot, model, i)
    if (ref === 0) return
    const pair = model.pairs.get(i >>> 1)
    const number = model.shape.weak === 'elements' ? model.elements.get(i) : i % 2 === 0 ? pair?.key : pair?.value
    this.#checkThing(m, ref, number ?? 0, slot, i)
    const kept = random.below(THINGS)
    this.#roots.set(kept, ref)
    this.#kept[kept] = number as number
  }

  /** The thing that element `i` refers to; 0 for none. */
  #get(m: Mutator, slot: number, model: Model, i: number): Ref | 0 {
    const array = this.#roots.get(FIRST_ARRAY + slot) as Ref
    const at = model.shape.elementsAt + i
    if (model.shape.kind === 'ref') return m.getRef(array, at)
    const word = array + 2 * at
    return m.i32[word + 1] === Tag.Ref ? (m.i32[word] as Ref) : 0
  }

  /** The numbers of all things that something keeps. */
  #reached(): Set<number> {
    const reached = new Set<number>()
    const reach = (first: number): void => {
      for (let at = first; at !== 0 && !reached.has(at); at = this.#others.get(at) ?? 0) reached.add(at)
    }
    for (const number of this.#kept) reach(number)
    for (let before = -1; before !== reached.size;) {
      before = reached.size
      for (const model of this.#arrays) {
        for (const { key, value, keyless } of model?.pairs.values() ?? []) if (keyless || reached.has(key)) reach(value)
      }
    }
    return reached
  }

  check(m: Mutator): void {
    this.#compare(m, false)
    this.#forgetOthers()
  }

  /** Of things that neither heap nor model can lead to any more. */
  #forgetOthers(): void {
    const known = this.#reached()
    const add = (first: number): void => {
      for (let at = first; at !== 0 && !known.has(at); at = this.#others.get(at) ?? 0) known.add(at)
    }
    for (const model of this.#arrays) {
      model?.elements.forEach(add)
      model?.pairs.forEach(({ key, value }) => [key, value].forEach(add))
    }
    for (const number of this.#others.keys()) if (!known.has(number)) this.#others.delete(number)
  }

  /** `exactly`: nothing has happened since a collection. */
  #compare(m: Mutator, exactly: boolean): void {
    const reached = this.#reached()
    this.#kept.forEach((number, kept) => {
      const ref = this.#roots.get(kept)
      same(() => `ephemerons: whether something is kept in ${kept}`, ref !== 0, number !== 0)
      if (ref !== 0) same(() => `ephemerons: the thing kept in ${kept}`, m.i32[ref + this.#thing.at.number], number)
    })
    this.#arrays.forEach((model, slot) => {
      if (model === null) return
      for (const [i, number] of model.elements) {
        const ref = this.#get(m, slot, model, i)
        this.#checkLife(slot, i, ref, reached.has(number), exactly)
        if (ref === 0) model.elements.delete(i)
        else this.#checkThing(m, ref, number, slot, i)
      }
      for (const [pair, { key, value, keyless }] of model.pairs) {
        const [keyRef, valueRef] = [this.#get(m, slot, model, 2 * pair), this.#get(m, slot, model, 2 * pair + 1)]
        if (!keyless) same(() => `ephemerons: pair ${pair} of array ${slot}: whole`, valueRef !== 0, keyRef !== 0)
        this.#checkLife(slot, 2 * pair, keyless ? valueRef : keyRef, keyless || reached.has(key), exactly)
        if (valueRef === 0) {
          model.pairs.delete(pair)
          continue
        }
        if (!keyless) this.#checkThing(m, keyRef as Ref, key, slot, 2 * pair)
        this.#checkThing(m, valueRef, value, slot, 2 * pair + 1)
      }
    })
  }
  #checkLife(slot: number, i: number, ref: Ref | 0, lives: boolean, exactly: boolean): void {
    const where = `ephemerons: element ${i} of array ${slot} (${(this.#arrays[slot] as Model).shape.name})`
    if (ref === 0 && lives) throw new Mismatch(`${where} was cleared while its object was reachable`)
    if (ref !== 0 && !lives && exactly)
      throw new Mismatch(`${where} outlived a collection that nothing took it through`)
  }
  #checkThing(m: Mutator, ref: Ref, number: number, slot: number, i: number): void {
    const where = (): string => `ephemerons: element ${i} of array ${slot}`
    same(() => `${where()}: its shape`, m.shapeOf(ref), this.#thing.id)
    same(() => `${where()}: its number`, m.i32[ref + this.#thing.at.number], number)
    const other = m.getRef(ref, this.#thing.at.other)
    const found = other === 0 ? 0 : m.i32[other + this.#thing.at.number]
    same(() => `${where()}: what its thing refers to`, found, this.#others.get(number) ?? 0)
  }

  reset(): void {
    for (let slot = 0; slot < SLOTS; slot++) this.#roots.set(slot, 0)
    this.#kept.fill(0)
    this.#arrays.fill(null)
    this.#others.clear()
  }
}
