// Arrays of every kind and of every size, from empty to a good part of the heap: large objects do not move, but what they
// hold does, and their space meets that of the moving objects at a floating boundary.

import { layout, type ArrayShape, type Mutator, type Ref, type SlotKind } from '../../../index.js'
import { Mismatch, same, type Activity, type Workload, type WorkloadContext } from '../workload.js'

const SLOTS = 24
const KINDS = ['ref', 'value', 'f64', 'i32', 'u16', 'u8'] as const
const BYTES = { ref: 4, value: 8, f64: 8, i32: 4, u16: 2, u8: 1 } as const
type Kind = (typeof KINDS)[number]

interface Model {
  readonly kind: Kind
  readonly length: number
  /** Only what was stored: everything else reads as zero. */
  readonly items: Map<number, number>
}

export const arrays: Workload = {
  name: 'arrays',
  summary: 'arrays of every kind, from empty to huge: large objects and what they hold',
  start: (context, m) => new Arrays(context, m),
}

class Arrays implements Activity {
  readonly #context: WorkloadContext
  readonly #shapes: { readonly [K in Kind]: ArrayShape<SlotKind> }
  readonly #box
  readonly #roots
  readonly #models: (Model | null)[] = new Array<Model | null>(SLOTS).fill(null)
  #live = 0

  constructor(context: WorkloadContext, m: Mutator) {
    this.#context = context
    const { heap } = context
    this.#shapes = Object.fromEntries(KINDS.map((kind) => [kind, heap.defineArray(`Array_${kind}`, kind)])) as never
    this.#box = heap.defineShape('ArrayBox', { number: 'i32' })
    this.#roots = m.roots.table('ref', SLOTS)
  }

  step(m: Mutator): void {
    const { random } = this.#context
    const slot = random.below(SLOTS)
    const model = this.#models[slot]
    switch (random.below(8)) {
      case 0:
        return this.#replace(m, slot)
      case 1:
        return random.chance(0.3) ? this.#drop(slot) : undefined
      case 2:
      case 3:
      case 4:
        if (model === null || model.length === 0) return
        for (let i = random.below(30); i >= 0; i--) this.#store(m, slot, model, random.below(model.length))
        return
      case 5:
        return this.#share(m, slot, random.below(SLOTS))
      case 6:
        return this.#copyOut(m, slot)
      default:
        return this.#sample(m, slot, 50)
    }
  }

  #replace(m: Mutator, slot: number): void {
    const { random, budget } = this.#context
    this.#drop(slot)
    const kind = random.pick(KINDS)
    // Sizes on a logarithmic scale: most are small, a few are huge, every page boundary is near one of them.
    const most = Math.max(64, budget - this.#live)
    const bytes = Math.floor(2 ** ((random.next() / 2 ** 32) * Math.log2(most))) - 1
    const length = Math.min(Math.floor(bytes / BYTES[kind]), layout.MAX_ARRAY_LENGTH)
    const ref = m.allocArray(this.#shapes[kind], length)
    this.#roots.set(slot, ref)
    this.#models[slot] = { kind, length, items: new Map() }
    this.#live += length * BYTES[kind]
  }

  #store(m: Mutator, slot: number, model: Model, i: number): void {
    const number = 1 + this.#context.random.below(250)
    let box = 0 as Ref
    if (model.kind === 'ref' || model.kind === 'value') {
      box = m.alloc(this.#box)
      m.i32[box + this.#box.at.number] = number
    }
    const array = this.#roots.get(slot) as Ref
    this.#put(m, array, model, i, number, box)
  }
  #put(m: Mutator, array: Ref, model: Model, i: number, number: number, box: Ref): void {
    const at = this.#shapes[model.kind].elementsAt + i
    model.items.set(i, number)
    if (model.kind === 'ref') m.setElementRef(array, i, box)
    else if (model.kind === 'value') m.setValueRef(array, at, box)
    else if (model.kind === 'f64') m.f64[(array >>> 1) + at] = number
    else if (model.kind === 'i32') m.i32[array + at] = number
    else if (model.kind === 'u16') m.u16[array * 2 + at] = number
    else m.u8[array * 4 + at] = number
  }

  /** What element `i` stands for, whatever the kind; 0 where nothing was stored. */
  #read(m: Mutator, array: Ref, model: Model, i: number): number {
    const at = this.#shapes[model.kind].elementsAt + i
    switch (model.kind) {
      case 'ref':
        return this.#unbox(m, m.getRef(array, at))
      case 'value': {
        const word = array + 2 * at
        return m.i32[word + 1] === 0 ? m.i32[word] : this.#unbox(m, m.i32[word] as Ref)
      }
      case 'f64':
        return m.f64[(array >>> 1) + at]
      case 'i32':
        return m.i32[array + at]
      case 'u16':
        return m.u16[array * 2 + at]
      case 'u8':
        return m.u8[array * 4 + at]
    }
  }
  #unbox(m: Mutator, box: Ref): number {
    if (box === 0) return 0
    same(() => `arrays: the shape of a box (ref ${box})`, m.shapeOf(box), this.#box.id)
    return m.i32[box + this.#box.at.number]
  }

  /** The same boxes in two arrays. */
  #share(m: Mutator, from: number, to: number): void {
    const [source, target] = [this.#models[from], this.#models[to]]
    if (source === null || target === null || source.kind !== 'ref' || target.kind !== 'ref') return
    const [sourceRef, targetRef] = [this.#roots.get(from) as Ref, this.#roots.get(to) as Ref]
    let i = 0
    for (const [index, number] of source.items) {
      if (i++ === 100 || index >= target.length) break
      this.#put(m, targetRef, target, index, number, m.getRef(sourceRef, this.#shapes.ref.elementsAt + index))
    }
  }

  #copyOut(m: Mutator, slot: number): void {
    const model = this.#models[slot]
    if (model === null || model.kind !== 'u8' || model.length > 1 << 18) return
    const bytes = m.copyOut(this.#roots.get(slot) as Ref)
    same(() => `arrays: the bytes copied out of slot ${slot}`, bytes.length, model.length)
    for (const [i, number] of model.items) same(() => `arrays: byte ${i} copied out of slot ${slot}`, bytes[i], number)
  }

  #sample(m: Mutator, slot: number, samples: number): void {
    const model = this.#models[slot]
    const array = this.#roots.get(slot) as Ref
    same(() => `arrays: whether slot ${slot} is null`, array === 0, model === null)
    if (model === null) return
    const where = `arrays: the array of ${model.length} ${model.kind} in slot ${slot} (ref ${array})`
    same(() => `${where}: its shape`, m.shapeOf(array), this.#shapes[model.kind].id)
    same(() => `${where}: its length`, m.lengthOf(array), model.length)
    const compare = (i: number): void =>
      same(() => `${where}: element ${i}`, this.#read(m, array, model, i), model.items.get(i) ?? 0)
    if (model.length === 0) return
    compare(0)
    compare(model.length - 1)
    // Strides from a number that is no power of two, so that all places of a page are met over time.
    for (let k = 0; k < samples; k++) compare(Math.floor((k * 7919 + samples) % model.length))
  }

  check(m: Mutator): void {
    for (let slot = 0; slot < SLOTS; slot++) {
      this.#sample(m, slot, 500)
      const model = this.#models[slot]
      if (model === null) continue
      const array = this.#roots.get(slot) as Ref
      for (const [i, number] of model.items) {
        const found = this.#read(m, array, model, i)
        if (found !== number) {
          throw new Mismatch(
            `arrays: element ${i} of slot ${slot} (${model.kind}, ref ${array}) is ${found}, not ${number}`,
          )
        }
      }
    }
  }

  #drop(slot: number): void {
    const model = this.#models[slot]
    if (model !== null) this.#live -= model.length * BYTES[model.kind]
    this.#models[slot] = null
    this.#roots.set(slot, 0 as Ref)
  }
  reset(): void {
    for (let slot = 0; slot < SLOTS; slot++) this.#drop(slot)
  }
}
