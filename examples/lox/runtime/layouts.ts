// Hidden layouts: which fields an instance has and where, and which methods its class gives it.
//
// A *kind* is what all classes made by one class declaration with equal method tables have in common. It gives every field
// name that its instances use a place, the same for all of them. A *layout* is a kind and the set of fields present; each
// is a shape of the heap, so word 0 of an instance says everything that an inline cache wants to know: a field access
// compares one word. All layouts of a kind have the same size, so adding a field is a store of word 0.
//
// Kinds and layouts describe the program text, as the generated code does: their number is bounded by the text, not by
// what the program allocates. A kind whose instances have too many different sets of fields gets one last, *sparse*
// layout, which has every field; there the absent ones hold `undefined`, which no Lox value is.

import type { Heap, Shape } from 'glissade'

/** A method as instances of one kind see it. */
export interface Method {
  readonly callable: Callable
  /** Where class objects of the kind have the closure, in words. */
  readonly at: number
  /** Calls it on the receiver at `sp`, fetching the closure first if the code needs it. */
  readonly enter: Enter
}

export type Enter = (sp: number) => void

/** What code a callable object runs: one for each shape of closures, classes and natives. */
export interface Callable {
  /** Number of the function in the program text; −1 for what is not one. */
  readonly id: number
  readonly name: string
  /** −1: any number of arguments. */
  readonly arity: number
  readonly enter: Enter
  /** A method finds its closure in the slot after the arguments; −1: this code does not use it. */
  readonly closureSlot: number
  /** The field of `this` that is all that a method without parameters returns. */
  readonly getter: string | null
}

/** A class declaration in the program text. */
export interface ClassInfo {
  readonly id: number
  readonly name: string
  readonly methods: readonly { readonly name: string; readonly callable: Callable }[]
  /** Names of the fields that instances are likely to have. */
  readonly fields: readonly string[]
}

type InstanceSlots = { readonly [field: `f${number}`]: 'value'; readonly class: 'ref'; readonly more: 'ref' }
export type ClassSlots = { readonly [method: `m${number}`]: 'ref' }

/** More layouts than this, and a kind turns sparse. */
const MAX_LAYOUTS = 64
const MAX_INLINE = 64

export class Kind {
  readonly info: ClassInfo
  readonly methods: ReadonlyMap<string, Method>
  /** Equal for kinds with equal methods. */
  readonly tableKey: string
  /** Shape of the class objects: the closures of all methods, inherited ones included. */
  readonly classShape: Shape<ClassSlots>
  /** The fields that instances are expected to have. */
  readonly fields: ReadonlySet<string>
  /** Fields that an instance has room for; the places after that are in an overflow array. */
  readonly capacity: number
  /** The place of each field name. */
  readonly places = new Map<string, number>()
  /** Where instances have their class, in words. */
  readonly classAt: number
  /** The layout of new instances. */
  readonly root: Layout
  readonly #heap: Heap
  readonly #name: string
  readonly #register: (layout: Layout) => void
  readonly #layouts = new Map<string, Layout>()
  #sparse: Layout | null = null

  constructor(
    heap: Heap,
    name: string,
    info: ClassInfo,
    methods: ReadonlyMap<string, Method>,
    tableKey: string,
    classShape: Shape<ClassSlots>,
    fields: ReadonlySet<string>,
    register: (layout: Layout) => void,
  ) {
    this.#heap = heap
    this.#name = name
    this.#register = register
    this.info = info
    this.methods = methods
    this.tableKey = tableKey
    this.fields = fields
    this.capacity = Math.min(fields.size, MAX_INLINE)
    this.classShape = classShape
    this.root = this.#layout(new Map())
    this.classAt = this.root.shape.at.class
  }

  place(name: string): number {
    let place = this.places.get(name)
    if (place === undefined) this.places.set(name, (place = this.places.size))
    return place
  }

  /** The layout of `from` with one more field. */
  extend(from: Layout, name: string): Layout {
    if (from.sparse) return from
    let next = from.extensions.get(name)
    if (!next) {
      next = this.#layout(new Map(from.fields).set(name, this.place(name)))
      from.extensions.set(name, next)
    }
    return next
  }

  #layout(fields: ReadonlyMap<string, number>): Layout {
    const key = [...fields.values()].sort((a, b) => a - b).join()
    let layout = this.#layouts.get(key)
    if (layout) return layout
    if (this.#layouts.size === MAX_LAYOUTS) return (this.#sparse ??= this.#newLayout('sparse', this.places, true))
    layout = this.#newLayout(String(this.#layouts.size), fields, false)
    this.#layouts.set(key, layout)
    return layout
  }
  #newLayout(name: string, fields: ReadonlyMap<string, number>, sparse: boolean): Layout {
    const slots: Record<string, 'value' | 'ref'> = {}
    for (let i = 0; i < this.capacity; i++) slots[`f${i}`] = 'value'
    slots.class = 'ref'
    slots.more = 'ref'
    const shape = this.#heap.defineShape(`${this.#name}.${name}`, slots as InstanceSlots) as Shape<InstanceSlots>
    const layout: Layout = { kind: this, id: shape.id, shape, fields, sparse, extensions: new Map() }
    this.#register(layout)
    return layout
  }
}

export interface Layout {
  readonly kind: Kind
  readonly id: number
  readonly shape: Shape<InstanceSlots>
  /** The places of the fields present: the first `kind.capacity` in the object, the others in the array at `more`. */
  readonly fields: ReadonlyMap<string, number>
  readonly sparse: boolean
  /** The layouts with one more field, as they were asked for. */
  readonly extensions: Map<string, Layout>
}
