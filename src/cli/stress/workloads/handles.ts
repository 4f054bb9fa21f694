// The handle tier: objects that nothing holds but handles, in scopes that stay open while whole cycles pass, nested scopes
// that end in between, and results handed out of inner scopes.

import type { ArrayHandle, Mutator, ObjectHandle, Scope } from '../../../index.js'
import { same, type Activity, type Workload, type WorkloadContext } from '../workload.js'

const OBJECT_BYTES = 64

interface Slots {
  readonly number: 'i32'
  readonly next: 'ref'
  readonly any: 'value'
}
type Link = ObjectHandle<Slots>

export const handles: Workload = {
  name: 'handles',
  summary: 'objects held by handles alone, in nested scopes that outlast collections',
  // Scopes of 3300 handles, and the pool of those that are made outside the innermost scope.
  areas: 4,
  start: (context) => new Handles(context),
}

/** Everything lives within one step: scopes end with the run that opened them. */
class Handles implements Activity {
  readonly #context: WorkloadContext
  readonly #link
  readonly #text
  readonly #most: number

  constructor(context: WorkloadContext) {
    this.#context = context
    this.#link = context.heap.defineShape('HandleLink', { number: 'i32', next: 'ref', any: 'value' } as const)
    this.#text = context.heap.defineArray('HandleText', 'u16')
    this.#most = Math.max(8, Math.min(3000, Math.floor(context.budget / OBJECT_BYTES)))
  }

  step(m: Mutator): void {
    const { random } = this.#context
    // Most steps are short; some last for several cycles.
    const count = random.chance(0.1) ? this.#most : 1 + random.below(20)
    // Without inner scopes nothing but the new handle itself marks the card of its slot.
    const nested = random.chance(0.5)
    const garbage = random.chance(0.5) ? random.below(30) : 0
    m.scoped((scope) => {
      const held: Link[] = []
      const texts: ArrayHandle<'u16'>[] = []
      for (let i = 0; i < count; i++) {
        held.push(nested && random.chance(0.3) ? this.#fromInside(m, scope, i) : scope.new(this.#link, { number: i }))
        if (random.chance(0.1)) texts.push(scope.newString(this.#text, `text ${i}`))
        if (random.chance(0.2)) held[i].any = held[random.below(i + 1)]
        for (let g = 0; g < garbage; g++) m.alloc(this.#link)
      }
      for (let i = 0; i < count; i++) this.#compare(held[i], i)
      for (const text of texts) same(() => 'handles: the start of a text', m.readString(text.ref).slice(0, 5), 'text ')
    })
  }

  /** An object made in an inner scope, kept by the outer one. */
  #fromInside(m: Mutator, outer: Scope, number: number): Link {
    return m.scoped((inner) => {
      const link = inner.new(this.#link, { number })
      link.next = inner.new(this.#link, { number: ~number })
      return outer.keep(link)
    })
  }

  #compare(link: Link, number: number): void {
    same(() => `handles: the number of the object of handle ${number}`, link.number, number)
    const { next, any } = link
    if (next !== null) same(() => `handles: what handle ${number} refers to`, (next as Link).number, ~number)
    if (typeof any === 'object' && any !== null) {
      same(() => `handles: the shape of what handle ${number} names`, (any as Link).shape, this.#link)
    }
  }

  check(): void {}
  reset(): void {}
}
