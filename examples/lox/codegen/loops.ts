// Which loops become JavaScript functions of their own, one call of which is one iteration.
//
// V8 replaces a running loop by on-stack replacement, and code compiled for that is poorer: it takes the views of heap
// memory, constants of the enclosing function, for variables whose type and length every access checks again. A function
// that is called for each iteration is optimised as any other. So loops of a script, which runs once, become functions,
// and so do loops in functions when they use objects; a loop that only computes keeps its numbers in JavaScript locals.

import type { Local, Loop } from '../syntax/ast.js'

export class LoopTracker {
  /** The loops that become functions. */
  readonly outlined = new Set<Loop>()
  readonly #parents = new Map<Loop, Loop | null>()
  readonly #declared = new Map<Local, Loop | null>()
  readonly #uses = new Map<Local, Set<Loop | null>>()
  #current: Loop | null = null

  /** Walks a function: its loops are not inside those around its declaration. */
  inFunction(walk: () => void): void {
    const outer = this.#current
    this.#current = null
    walk()
    this.#current = outer
  }
  inLoop(loop: Loop, isScript: boolean, walk: () => void): void {
    this.#parents.set(loop, this.#current)
    this.#current = loop
    if (isScript) this.outlined.add(loop)
    walk()
    this.#current = this.#parents.get(loop)!
  }
  /** An object is used here. */
  touch(): void {
    for (let loop = this.#current; loop; loop = this.#parents.get(loop)!) this.outlined.add(loop)
  }
  declare(local: Local): void {
    this.#declared.set(local, this.#current)
  }
  use(local: Local): void {
    const uses = this.#uses.get(local)
    if (uses) uses.add(this.#current)
    else this.#uses.set(local, new Set([this.#current]))
  }

  /** The variables that more than one JavaScript function uses, once all is walked. */
  shared(): Set<Local> {
    const shared = new Set<Local>()
    for (const [local, uses] of this.#uses) {
      const home = this.#functionOf(this.#declared.get(local) ?? null)
      for (const loop of uses) if (this.#functionOf(loop) !== home) shared.add(local)
    }
    return shared
  }
  #functionOf(loop: Loop | null): Loop | null {
    while (loop && !this.outlined.has(loop)) loop = this.#parents.get(loop)!
    return loop
  }
}
