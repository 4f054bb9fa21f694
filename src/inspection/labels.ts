// What the embedder's language calls its objects, where it says so.
//
// Its functions are asked about one object at a time, inside an inspection: they may read the heap, and no safepoint may come. What
// they return is believed in so far as it is text.

import { shapeName, slotAt } from '../gc/slot-names.js'
import { HeapError, remedyFor, show } from '../heap/errors.js'
import type { HeapCore } from '../heap/heap-core.js'
import type { Mutator } from '../heap/mutator.js'
import { checkSynchronous } from '../heap/synchronous.js'
import type { Ref } from '../heap/values.js'

/** What an embedder knows of its objects. The functions may read the heap and keep no Ref; no safepoint may come in them. */
export interface Labels {
  /** The class that the object is listed under; undefined: its shape. */
  readonly className?: ((ref: Ref, m: Mutator) => string | undefined) | undefined
  /** What a slot (by its name in the shape) or an element (by its index) is called; undefined: that. */
  readonly slotName?: ((ref: Ref, slot: string | number, m: Mutator) => string | undefined) | undefined
}

/** Throws unless `options` of `what` is an object that has functions, or undefined, under `names` and nothing else. */
export function checkFunctions(options: unknown, what: string, names: readonly string[]): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw new HeapError('ERR_OPTION', `${what} takes an object of options; got ${show(options)}`)
  }
  for (const [name, value] of Object.entries(options)) {
    if (!names.includes(name)) {
      throw new HeapError(
        'ERR_OPTION',
        `unknown option '${name}' of ${what}: ${remedyFor(name, names, 'its options are')}`,
      )
    }
    if (value === undefined) continue
    if (typeof value !== 'function') {
      throw new HeapError('ERR_OPTION', `option ${name} of ${what} is a function; got ${show(value)}`)
    }
    checkSynchronous(value, `option ${name} of ${what}`)
  }
}

/** The program is about to be asked about an object that a checked heap of several threads may not have heard of. */
export function known(core: HeapCore, ref: number): Ref {
  core.checked?.reach(ref as Ref)
  return ref as Ref
}

export class Namer {
  readonly #core: HeapCore
  readonly #m: Mutator
  readonly #labels: Labels
  readonly #what: string

  /** `what` asks. */
  constructor(core: HeapCore, m: Mutator, labels: Labels, what: string) {
    this.#core = core
    this.#m = m
    this.#labels = labels
    this.#what = what
  }

  classOf(ref: number): string {
    const { className } = this.#labels
    const name = className && this.text('className', className(known(this.#core, ref), this.#m))
    return name ?? shapeName(this.#core, this.#core.views.i32[ref])
  }

  /** A slot of the object at `ref`: by its name in the shape, or by its index. */
  slotOf(ref: number, slot: string | number): string | number {
    const { slotName } = this.#labels
    return (slotName && this.text('slotName', slotName(known(this.#core, ref), slot, this.#m))) ?? slot
  }

  /** The slot that begins at word `word`, with its object: `Node@4096.next`. */
  slotAt(ref: number, word: number): string {
    const slot = this.slotOf(ref, slotAt(this.#core, ref, word))
    return `${this.classOf(ref)}@${ref}${typeof slot === 'number' ? `[${slot}]` : `.${slot}`}`
  }

  /** What the function `name` of the embedder's has returned, if it is text. */
  text(name: string, text: unknown): string | undefined {
    if (typeof text === 'string') return text
    if (text === undefined || text === null) return undefined
    throw new HeapError('ERR_BAD_VALUE', `${name} of ${this.#what} returns a string or undefined; got ${show(text)}`)
  }
}
