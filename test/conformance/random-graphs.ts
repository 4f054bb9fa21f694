// Random graphs of objects with weak arrays and ephemerons, as models and in heaps.
import type { Heap, Mutator, Ref } from 'glissade'
import { Random, seedFromEnvironment } from 'glissade/testing'
import { withHeap, type Configuration } from './configurations.js'

export const seed = seedFromEnvironment()

type Kind = 'node' | 'strong' | 'weak' | 'keys'
interface ModelObject {
  readonly kind: Kind
  /** By slot, the number of the object there. */
  readonly slots: (number | null)[]
}
const SLOTS = { node: 3, strong: 7, weak: 7, keys: 8 } as const
export const NODE_SLOTS = ['left', 'right', 'any'] as const

/** Objects, and which of them the roots hold. */
interface Graph {
  readonly model: ModelObject[]
  readonly roots: number[]
}
function randomGraph(random: Random, objects: number, kinds: readonly Kind[]): Graph {
  const model = Array.from({ length: objects }, (): ModelObject => {
    const kind = random.pick(kinds)
    const slots = Array.from({ length: SLOTS[kind] }, () => (random.chance(0.4) ? random.below(objects) : null))
    return { kind, slots }
  })
  return { model, roots: Array.from({ length: 3 }, () => random.below(objects)) }
}
/** By object its distance from the roots, slots counted; undefined: nothing strong leads there. In rounds, to a fixed point. */
export function distances(model: ModelObject[], roots: number[]): (number | undefined)[] {
  const at: (number | undefined)[] = model.map(() => undefined)
  const nearer = (k: number, distance: number): boolean => {
    if ((at[k] ?? Infinity) <= distance) return false
    at[k] = distance
    return true
  }
  for (const root of roots) at[root] = 1
  for (let again = true; again;) {
    again = false
    model.forEach(({ kind, slots }, k) => {
      const from = at[k]
      if (from === undefined || kind === 'weak') return
      slots.forEach((to, slot) => {
        if (to === null || (kind === 'keys' && slot % 2 === 0)) return
        const key = kind === 'keys' ? slots[slot - 1] : null
        if (key !== null && at[key] === undefined) return
        if (nearer(to, from + 1)) again = true
      })
    })
  }
  return at
}

export const shapesOf = (heap: Heap) => ({
  node: heap.defineShape('Node', { left: 'ref', right: 'ref', any: 'value', number: 'i32' }),
  strong: heap.defineArray('Strong', 'value'),
  weak: heap.defineArray('Weak', 'value', { weak: 'elements' }),
  keys: heap.defineArray('Keys', 'value', { weak: 'keys' }),
})
type Shapes = ReturnType<typeof shapesOf>
// Of arrays two more elements, the last of which has the number: also of ephemerons that is a value without a key.
export const BYTES: { readonly [K in Kind]: number } = { node: 32, strong: 8 * 10, weak: 8 * 10, keys: 8 * 11 }
export const NAMES: { readonly [K in Kind]: string } = { node: 'Node', strong: 'Strong', weak: 'Weak', keys: 'Keys' }

/** The number of the object at `ref`: the last element of an array, which is never a reference, or a slot. */
export function numberOf(m: Mutator, shapes: Shapes, ref: Ref): number {
  if (m.shapeOf(ref) === shapes.node.id) return m.i32[ref + shapes.node.at.number]
  return m.i32[ref + 2 + 2 * (m.lengthOf(ref) - 1)]
}

/** Makes the graph, which `use` finds with its roots in `table` and nothing else held. */
function withGraph(heap: Heap, { model, roots }: Graph, use: (m: Mutator, shapes: Shapes) => void): void {
  const shapes = shapesOf(heap)
  heap.run((m) => {
    const table = m.roots.table('ref', roots.length, { name: 'table' })
    const all = m.roots.table('ref', model.length)
    model.forEach(({ kind, slots }, k) => {
      const { node } = shapes
      const ref = kind === 'node' ? m.alloc(node) : m.allocArray(shapes[kind], slots.length + 2)
      if (kind === 'node') m.i32[ref + node.at.number] = k
      else m.setValueInt(ref, shapes[kind].elementsAt + m.lengthOf(ref) - 1, k)
      all.set(k, ref)
    })
    model.forEach(({ kind, slots }, k) => {
      const ref = all.get(k) as Ref
      slots.forEach((to, slot) => {
        if (to === null) return
        const target = all.get(to) as Ref
        const name = NODE_SLOTS[slot]
        if (kind !== 'node') m.setValueRef(ref, shapes[kind].elementsAt + slot, target)
        else if (name === 'any') m.setValueRef(ref, shapes.node.at.any, target)
        else m.setRef(ref, shapes.node.at[name], target)
      })
    })
    roots.forEach((k, slot) => table.set(slot, all.get(k)))
    all.free()
    use(m, shapes)
  })
}

/** Calls `use` with graphs of these kinds of objects, each in a heap of its own, sometimes a checked one. */
export function forRandomGraphs(
  configuration: Configuration,
  use: (heap: Heap, graph: Graph, m: Mutator, shapes: Shapes) => void,
  kinds: readonly Kind[] = ['node', 'node', 'strong', 'weak', 'keys', 'keys'],
): void {
  const random = new Random(seed)
  for (let round = 0; round < 12; round++) {
    const graph = randomGraph(random, 3 + random.below(60), kinds)
    const options = { checked: round % 4 === 1 }
    withHeap(configuration, options, (heap) => withGraph(heap, graph, (m, shapes) => use(heap, graph, m, shapes)))
  }
}
