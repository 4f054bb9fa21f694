// A heap as its owner holds it: shapes, run, collections, handles that outlive scopes, closing.
//
// Which collector stands behind it is decided one layer up (src/glissade.ts). `run` is where a thread becomes a mutator
// and where it stops being one: the collector puts a native frame around the callback that is left whatever happens, so what
// follows it here (ending the scopes) is also done at the next entry, should an uncatchable termination skip it.

import type { Collector } from '../gc/collector.js'
import { CheckedState } from './checked.js'
import { CheckedMutator } from './checked-mutator.js'
import { HeapError } from './errors.js'
import { Guardian } from './guardians.js'
import { checkHandle, type Handle } from './handles.js'
import { HeapCore } from './heap-core.js'
import { showAs, tag } from './inspect.js'
import { checkSynchronous, finished } from './synchronous.js'
import { MutatorWord, Word, mutatorBlock } from './layout.js'
import { Mutator } from './mutator.js'
import type { ParsedOptions } from './options.js'
import { nameIn, type RootOptions } from './roots.js'
import { Global, Weak } from './scopes.js'
import type { ArrayOptions, ArrayShape, Shape, SlotKind, SlotTable } from './shapes.js'
import type { Ref } from './values.js'

/** What the layer above wires in. */
export interface HeapParts {
  readonly collector: Collector
  readonly options: ParsedOptions
  /** True for the isolate that created the heap; others detach instead of closing it. */
  readonly owner: boolean
  /** For checked heaps whose collector does not tell where objects went. */
  readonly retrace: Retrace | null
}
/** Calls `visit` with each object that can be reached: from the roots, or from `from`, past no object that `visit` is false for. */
type Retrace = (core: HeapCore, visit: (ref: number) => boolean, from?: Ref) => void

export abstract class HeapBase implements Disposable {
  readonly #core: HeapCore
  readonly #owner: boolean
  readonly #checked: CheckedState | null
  /** This thread's, null before its first run. */
  #mutator: Mutator | null = null
  /** What `collect` has begun, null: nothing; and the one after it, which is for everybody who asks meanwhile. */
  #collection: Promise<void> | null = null
  #nextCollection: Promise<void> | null = null

  constructor(parts: HeapParts) {
    const { collector, options, retrace } = parts
    this.#owner = parts.owner
    const core = new HeapCore(collector, options)
    this.#core = core
    this.#checked = options.checked
      ? new CheckedState(core, retrace && ((visit, from) => retrace(core, visit, from)))
      : null
    if (this.#checked === null) return
    core.checked = this.#checked
    collector.observe(this.#checked)
  }

  /** Internal: what verification, statistics and tests work on. */
  get _core(): HeapCore {
    return this.#core
  }
  /** Options after parsing: sizes in bytes, defaults filled in. */
  get options(): ParsedOptions {
    return this._core.options
  }
  /** True after `close`. */
  get closed(): boolean {
    return this._core.closed
  }

  // ---- shapes

  /**
   * Defines a shape of fixed objects. The same name with the same slots gives the same shape again; with other slots it is
   * ERR_SHAPE_CONFLICT. Any time, inside run or outside.
   */
  defineShape<const S extends SlotTable>(name: string, slots: S): Shape<S> {
    this._core.checkOpen()
    return this._core.shapes.defineFixed(name, slots)
  }
  /** Defines a shape of arrays of one kind of element, which are strong unless `options.weak` says otherwise. */
  defineArray<K extends SlotKind>(
    name: string,
    kind: K,
    options?: K extends 'ref' | 'value' ? ArrayOptions : never,
  ): ArrayShape<K> {
    this._core.checkOpen()
    return this._core.shapes.defineArray(name, kind, options)
  }

  // ---- running

  /** For inspection: `work` with this thread running, but not as a run of the embedder's (no stress, no scopes ended). */
  _inspect<T>(work: (core: HeapCore, m: Mutator) => T): T {
    const core = this._core
    core.checkOpen()
    const m = this.#mutator ?? this.#attach()
    return core.inRun(() => work(core, m))
  }

  /** The same with all other threads stopped. A safepoint: waiting for the right to stop them is one. */
  _inspectStopped<T>(work: (core: HeapCore, m: Mutator) => T): T {
    const inRun = this._core.running
    try {
      if (inRun && !this._core.inspecting) this._core.stressSafepoint()
      return this._inspect((core, m) => core.stopped(() => work(core, m)))
    } finally {
      if (inRun) this._core.checked?.sync()
    }
  }

  /**
   * Runs `fn` with this thread as a mutator and returns its result. Synchronous functions only,
   * and no promise for a result: ERR_ASYNC_RUN. Nested runs are one run;
   * scopes opened inside end with the run that opened them. Leaving is a safepoint: no raw Ref survives.
   */
  run<T>(fn: (m: Mutator) => T): T {
    const core = this._core
    core.checkOpen()
    checkSynchronous(fn, 'heap.run')
    const m = this.#mutator ?? this.#attach()
    const { scopes } = m
    if (core.running) {
      const outer = scopes.current
      try {
        return finished(fn(m))
      } finally {
        if (scopes.current !== outer) scopes.closeTo(outer)
      }
    }
    if (core.alwaysPoll) core.collector.collect(-1)
    // Other scopes are left over from a run that was cut off without unwinding.
    const outer = core.parked ? scopes.current : null
    return core.run(() => {
      core.checked?.sync()
      if (scopes.current !== outer) scopes.closeTo(outer)
      try {
        return finished(fn(m))
      } finally {
        if (scopes.current !== outer) scopes.closeTo(outer)
      }
    })
  }

  #attach(): Mutator {
    const core = this._core
    const { collector } = core
    // It may have one from an attempt for which the stack was too short.
    const index = core.mutatorIndex >= 0 ? core.mutatorIndex : collector.attach()
    if (index < 0) {
      throw new HeapError('ERR_MUTATORS', 'a heap has at most 64 threads: close it in one of them (heap.close()) first')
    }
    core.mutatorIndex = index
    core.runningIndex = mutatorBlock(index) + MutatorWord.Running
    const checked = this.#checked
    const mutator = checked === null ? new Mutator(core, index, null) : new CheckedMutator(core, index, checked)
    this.#mutator = core.thread = mutator
    if (core.alwaysPoll) {
      const { control } = core.views
      const block = mutatorBlock(index)
      control[block + MutatorWord.PollRestore] = 1
      control[block + MutatorWord.Poll] = 1
      core.poll = () => {
        core.checkRunning('poll')
        core.checkSafepoint('a poll')
        try {
          collector.poll(index)
          collector.collect(index)
        } finally {
          core.checked?.sync()
        }
        core.checkOpen()
      }
    }
    return mutator
  }

  // ---- collections

  /**
   * A full collection that begins after the call, off this thread where the collector can; resolves when it is complete. Calls
   * while one is under way have the next one in common.
   */
  async collect(): Promise<void> {
    this._core.checkOpen()
    this._core.checkSafepoint('a collection')
    if (this.#collection === null) await this.#beginCollection()
    else await (this.#nextCollection ??= this.#collection.then(() => this.#beginCollection()))
  }
  /** `#collection` is that one, and done when it is over, however it ends. */
  #beginCollection(): Promise<void> {
    this.#nextCollection = null
    const begun = this._core.closed ? Promise.resolve() : this._core.collector.collectAsync()
    const over = (): void => {
      if (this.#nextCollection === null) this.#collection = null
    }
    this.#collection = begun.then(over, over)
    return begun
  }
  /** A full collection before it returns. Inside run it is a safepoint. */
  collectSync(): void {
    const core = this._core
    core.checkOpen()
    core.checkSafepoint('a collection')
    try {
      core.collector.collect(core.running ? core.mutatorIndex : -1)
    } finally {
      if (core.running) core.checked?.sync()
    }
  }

  // ---- handles

  /** A reference that outlives scopes and runs, until `release`. Inside run. */
  global<H extends Handle>(handle: H): Global<H> {
    return new Global(this._core, this.#scopesFor(handle, 'heap.global'), handle)
  }
  /** A reference that does not keep its object alive. Inside run. */
  weak<H extends Handle>(handle: H): Weak<H> {
    return new Weak(this._core, this.#scopesFor(handle, 'heap.weak'), handle)
  }
  /**
   * A queue that objects come out of once nothing else refers to them: what finalizers are made of. Of this thread, inside run
   * or outside. Under `options.name` its objects are found in paths and snapshots: `name.guarded[…]`, `name.due[…]`.
   */
  guardian<H extends Handle = Handle>(options?: RootOptions): Guardian<H> {
    this._core.checkOpen()
    const name = nameIn(options, 'a guardian')
    return new Guardian<H>(this._core, (this.#mutator ?? this.#attach()).scopes, name)
  }
  #scopesFor(handle: Handle, what: string): Mutator['scopes'] {
    this._core.checkRunning(what)
    checkHandle(this._core, handle, what)
    return (this.#mutator as Mutator).scopes
  }

  // ---- closing

  /**
   * Ends the heap: collector threads join, pages go back (those of a portable heap when V8 has collected its views). Later use of
   * anything of it is ERR_HEAP_CLOSED. Views stay valid JavaScript objects. Outside run only; twice is once. In a thread that
   * attached, only that thread leaves.
   */
  close(): void {
    const core = this._core
    if (core.closed) {
      // By another thread, perhaps.
      core.leave()
      return
    }
    if (core.running || core.parked) {
      throw new HeapError(
        'ERR_RUNNING',
        `close() inside ${core.parked ? 'm.parked(), inside ' : ''}heap.run(): return from run first, its callback still uses the heap`,
      )
    }
    if (core.mutatorIndex >= 0) core.collector.detach(core.mutatorIndex)
    core.leave()
    if (this.#owner) {
      core.views.control[Word.HeapState] = 1
      core.collector.close()
    }
  }
  [Symbol.dispose](): void {
    this.close()
  }
}

tag(HeapBase)
showAs(HeapBase, ({ closed, options, _core: { collector } }, how, inspect) => {
  return `Heap ${inspect({ collector: collector.name, maxBytes: options.maxBytes, closed }, how)}`
})
