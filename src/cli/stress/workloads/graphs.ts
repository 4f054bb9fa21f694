// Cyclic graphs: nodes whose four edges are retargeted at random, so that marking meets cycles, cross edges and edges that
// change under it. The check walks heap and model together and demands that they are the same graph, not only the same tree.

import { Tag, type Mutator, type Ref } from '../../../index.js'
import { Mismatch, same, type Activity, type Workload, type WorkloadContext } from '../workload.js'

const ROOTS = 64
const EDGES = 4
const NODE_BYTES = 48

interface ModelNode {
  readonly id: number
  readonly edges: (ModelNode | null)[]
}

export const graphs: Workload = {
  name: 'graphs',
  summary: 'cyclic graphs whose edges change while they are marked; checked for identity',
  start: (context, m) => new Graphs(context, m),
}

class Graphs implements Activity {
  readonly #context: WorkloadContext
  readonly #node
  readonly #roots
  readonly #models: (ModelNode | null)[] = new Array<ModelNode | null>(ROOTS).fill(null)
  readonly #most: number
  #nextId = 1

  constructor(context: WorkloadContext, m: Mutator) {
    this.#context = context
    this.#node = context.heap.defineShape('GraphNode', { d: 'value', a: 'ref', b: 'ref', c: 'ref', id: 'i32' })
    this.#roots = m.roots.table('ref', ROOTS)
    this.#most = Math.max(64, Math.floor(context.budget / NODE_BYTES))
  }

  step(m: Mutator): void {
    const { random } = this.#context
    switch (random.below(8)) {
      case 0:
      case 1:
      case 2:
        for (let i = random.below(20); i >= 0; i--) this.#grow(m)
        break
      case 3:
      case 4:
        for (let i = random.below(20); i >= 0; i--) this.#retarget(m)
        break
      case 5: {
        const slot = random.below(ROOTS)
        const [ref, model] = this.#wander(m, random.below(ROOTS), random.below(30))
        this.#roots.set(slot, ref)
        this.#models[slot] = model
        break
      }
      case 6:
        if (random.chance(0.3)) this.#drop(random.below(ROOTS))
        break
      case 7:
        this.#wander(m, random.below(ROOTS), 200)
    }
  }

  /** A new node on top of what a random root held, with edges to wherever a walk ends. */
  #grow(m: Mutator): void {
    const { random } = this.#context
    const slot = random.below(ROOTS)
    const ref = m.alloc(this.#node)
    const model: ModelNode = { id: this.#nextId++, edges: [null, null, null, null] }
    m.i32[ref + this.#node.at.id] = model.id
    m.setValueNil(ref, this.#node.at.d)
    for (let edge = 0; edge < EDGES; edge++) {
      if (random.chance(0.4)) continue
      const [to, toModel] = edge === 0 ? this.#at(slot) : this.#wander(m, random.below(ROOTS), random.below(6))
      this.#connect(m, ref, model, edge, to, toModel)
    }
    this.#roots.set(slot, ref)
    this.#models[slot] = model
  }

  #retarget(m: Mutator): void {
    const { random } = this.#context
    const [ref, model] = this.#wander(m, random.below(ROOTS), random.below(10))
    const [to, toModel] = this.#wander(m, random.below(ROOTS), random.below(10))
    if (ref === 0 || model === null) return
    if (random.chance(0.3)) this.#connect(m, ref, model, random.below(EDGES), 0 as Ref, null)
    else this.#connect(m, ref, model, random.below(EDGES), to, toModel)
  }

  #connect(m: Mutator, ref: Ref, model: ModelNode, edge: number, to: Ref, toModel: ModelNode | null): void {
    const { at } = this.#node
    model.edges[edge] = toModel
    if (edge < 3) m.setRef(ref, at.a + edge, to)
    else if (to === 0) m.setValueNil(ref, at.d)
    else m.setValueRef(ref, at.d, to)
  }

  #edge(m: Mutator, ref: Ref, edge: number): Ref {
    const { at } = this.#node
    if (edge < 3) return m.getRef(ref, at.a + edge)
    const word = ref + 2 * at.d
    return (m.i32[word + 1] === Tag.Ref ? m.i32[word] : 0) as Ref
  }

  /** Follows random edges from a root in heap and model at once, comparing on the way. */
  #wander(m: Mutator, slot: number, steps: number): [Ref, ModelNode | null] {
    let [ref, model] = this.#at(slot)
    this.#compare(m, ref, model, slot)
    for (let i = 0; i < steps && model !== null; i++) {
      const edge = this.#context.random.below(EDGES)
      const next = this.#edge(m, ref, edge)
      const nextModel: ModelNode | null = model.edges[edge]
      this.#compare(m, next, nextModel, slot)
      if (nextModel === null) break
      ref = next
      model = nextModel
    }
    return [ref, model]
  }

  #at(slot: number): [Ref, ModelNode | null] {
    return [this.#roots.get(slot) as Ref, this.#models[slot]]
  }
  #compare(m: Mutator, ref: Ref, model: ModelNode | null, slot: number): void {
    const where = (): string => `graphs: a node reached from root ${slot} (ref ${ref})`
    if (model === null || ref === 0) return same(where, ref === 0, model === null)
    same(() => `${where()}: its shape`, m.shapeOf(ref), this.#node.id)
    same(() => `${where()}: its id`, m.i32[ref + this.#node.at.id], model.id)
  }
  #drop(slot: number): void {
    this.#roots.set(slot, 0 as Ref)
    this.#models[slot] = null
  }

  check(m: Mutator): void {
    const known = new Map<Ref, ModelNode>()
    const places = new Map<ModelNode, Ref>()
    const queue: Ref[] = []
    const meet = (ref: Ref, model: ModelNode | null, slot: number): void => {
      this.#compare(m, ref, model, slot)
      if (model === null) return
      const before = known.get(ref)
      if (before === undefined && !places.has(model)) {
        known.set(ref, model)
        places.set(model, ref)
        queue.push(ref)
      } else if (before !== model || places.get(model) !== ref) {
        throw new Mismatch(`graphs: node ${model.id} is at ref ${ref} and at ref ${places.get(model)}`)
      }
    }
    for (let slot = 0; slot < ROOTS; slot++) meet(...this.#at(slot), slot)
    for (let i = 0; i < queue.length; i++) {
      const model = known.get(queue[i]) as ModelNode
      for (let edge = 0; edge < EDGES; edge++) meet(this.#edge(m, queue[i], edge), model.edges[edge], -1)
    }
    // Random graphs keep nearly everything: most roots go now and then, and whole components with them.
    if (queue.length > this.#most) this.reset()
    else if (queue.length > this.#most / 2) for (let slot = 0; slot < ROOTS - 4; slot++) this.#drop(slot)
  }

  reset(): void {
    for (let slot = 0; slot < ROOTS; slot++) this.#drop(slot)
  }
}
