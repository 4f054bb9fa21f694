// Inline caches: what a place in the program text has seen last.
//
// A *site* is a property access or a call in generated code. Its cache is a few words that generated code compares and
// uses (`cache[4 * site + …]`), and for calls a function in `targets`. Everything in them is an integer or code, so the
// collector has nothing to do with them. The slow path fills them; behind it a table shared by all sites of one name
// serves those that see several shapes in turn.

import type { Enter } from './layouts.js'

/** Words of a site. */
export const Site = {
  Words: 4,
  /** Shape of the object seen last; −1 before. */
  Shape: 0,
  /** Field access: index of the field's slot in `f64`, from the object. */
  Index: 1,
  /** Field store: the shape that the object has afterwards. */
  NextShape: 2,
  /** Method call: the shape of receivers whose method only returns the field at Index. */
  GetterShape: 2,
  /** Field read and method call: another shape with the same field place or target. */
  OtherShape: 3,
} as const

export class Sites {
  readonly cache: Int32Array
  readonly targets: Enter[]
  /** By site: the property it names. */
  readonly names: readonly string[]
  readonly nameIds: readonly number[]

  constructor(names: readonly string[], nameIds: readonly number[]) {
    this.names = names
    this.nameIds = nameIds
    this.cache = new Int32Array(names.length * Site.Words).fill(-1)
    this.targets = new Array<Enter>(names.length).fill(unseen)
  }
}

const unseen: Enter = () => {
  throw new Error('a call site was entered before it saw a callee')
}

/** Lets a field read hit for one more shape. All layouts of a kind share a field's place, hence one index for two. */
export function rememberField({ cache }: Sites, site: number, shape: number, index: number): void {
  const at = Site.Words * site
  cache[at + Site.OtherShape] = cache[at + Site.Index] === index ? cache[at + Site.Shape] : -1
  cache[at + Site.Shape] = shape
  cache[at + Site.Index] = index
}

/** Lets a call hit for one more shape. */
export function rememberTarget({ cache, targets }: Sites, site: number, shape: number, enter: Enter): void {
  const at = Site.Words * site
  cache[at + Site.OtherShape] = targets[site] === enter ? cache[at + Site.Shape] : -1
  cache[at + Site.Shape] = shape
  targets[site] = enter
}

/** Whether a method call has not seen a receiver yet. */
export function isUnseen({ cache }: Sites, site: number): boolean {
  const at = Site.Words * site
  return cache[at + Site.Shape] === -1 && cache[at + Site.GetterShape] === -1
}
/** Lets a call of a method that only returns a field read the field. */
export function rememberGetter({ cache }: Sites, site: number, shape: number, index: number): void {
  const at = Site.Words * site
  cache[at + Site.GetterShape] = shape
  cache[at + Site.Index] = index
}

const ENTRIES = 1024

/** The shared table: (shape, name) to one integer, direct-mapped. */
export class LookupCache {
  readonly #entries = new Int32Array(3 * ENTRIES).fill(-1)

  /** −1: not known. */
  find(shape: number, name: number): number {
    const at = this.#at(shape, name)
    return this.#entries[at] === shape && this.#entries[at + 1] === name ? this.#entries[at + 2] : -1
  }
  enter(shape: number, name: number, value: number): void {
    const at = this.#at(shape, name)
    this.#entries[at] = shape
    this.#entries[at + 1] = name
    this.#entries[at + 2] = value
  }
  #at(shape: number, name: number): number {
    // The upper bits of the product depend on all bits of the name; its lower ones, for names 256 apart, hardly differ.
    return 3 * ((Math.imul(shape, 31) + (Math.imul(name, 0x9e3779b1) >>> 16)) & (ENTRIES - 1))
  }
}
