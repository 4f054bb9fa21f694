// The heap with its collector: the one place where src/heap and src/gc meet.

import { fileURLToPath } from 'node:url'
import type { PhaseChange } from './gc/collector.js'
import { openCollector, reopenCollector, type Capabilities } from './gc/open-collector.js'
import { statisticsOf, type HeapStatistics } from './gc/statistics.js'
import { forEachObject, forEachObjectFrom } from './gc/trace.js'
import { verify, type VerifyOptions, type VerifyReport } from './gc/verify.js'
import { HeapError, show } from './heap/errors.js'
import { HeapBase } from './heap/heap.js'
import { parseOptions, type HeapOptions, type ParsedOptions } from './heap/options.js'
import type { ShapeDescription } from './heap/shapes.js'
import { checkCensusOptions, takeCensus, type Census, type CensusOptions } from './inspection/census.js'
import { writeInPieces } from './inspection/file-in-pieces.js'
import { checkPathOptions, pathTo, type PathOptions, type Target } from './inspection/path-to-root.js'
import { checkSnapshotOptions, writeSnapshot, type SnapshotOptions } from './inspection/snapshot.js'

/** What `heap.share()` returns: plain data for `postMessage`. Valid in threads of the same process. */
export interface HeapToken {
  readonly kind: 'glissade-heap'
  readonly id: number
  readonly options: ParsedOptions
  readonly capabilities: Capabilities
  readonly shapes: readonly ShapeDescription[]
}

/** Shared heaps that this thread has open, by the number in their tokens. An entry counts while its heap is not closed. */
const openHere = new Map<number, WeakRef<Heap>>()

function rememberOpen(id: number, heap: Heap): void {
  for (const [known, entry] of openHere) if (entry.deref()?.closed ?? true) openHere.delete(known)
  openHere.set(id, new WeakRef(heap))
}

/** A managed heap. `using heap = Heap.create()`, or call `close()`. */
export class Heap extends HeapBase {
  /** What this heap can do and why: which collector, how pages move, how faults arrive. */
  readonly capabilities: Capabilities

  private constructor(options: ParsedOptions, opened: ReturnType<typeof openCollector>, owner: boolean) {
    // Not by types: from JavaScript.
    if ((opened as unknown) === undefined) {
      throw new HeapError('ERR_BAD_VALUE', 'new Heap() is not how a heap is made: use Heap.create(options)')
    }
    const { collector, capabilities } = opened
    const tells = collector.name !== 'concurrent'
    super({
      collector,
      options,
      owner,
      retrace: tells
        ? null
        : (core, visit, from) => {
            if (from === undefined) core.stopped(() => forEachObject(core, visit))
            else forEachObjectFrom(core, from, visit)
          },
    })
    const { reasons, remedies } = capabilities
    this.capabilities = Object.freeze({
      ...capabilities,
      reasons: Object.freeze([...reasons]),
      remedies: Object.freeze([...remedies]),
    })
  }

  /**
   * Creates a heap. Throws ERR_OPTION for anything wrong in `options`, ERR_USERFAULTFD_UNAVAILABLE when what they demand
   * cannot be had here, ERR_ADDRESS_SPACE, ERR_NATIVE_HEAP, ERR_EXTERNAL_BUFFERS.
   */
  static create(options?: HeapOptions): Heap {
    const parsed = parseOptions(options)
    return new Heap(parsed, openCollector(parsed), true)
  }

  /**
   * Opens a heap that another thread of this process shares. Its shapes so far are known by name in this one too. Throws
   * ERR_BAD_VALUE in a thread that has the heap open already: it goes on with the Heap that it has.
   */
  static attach(token: HeapToken): Heap {
    if (!isToken(token)) {
      throw new HeapError('ERR_BAD_VALUE', `Heap.attach takes what heap.share() returned; got ${show(token)}`)
    }
    const heap = new Heap(parseOptions(token.options), reopenCollector(token.id, token.capabilities), false)
    try {
      heap._core.checkOpen()
      heap._core.shapes.adopt(token.shapes)
      // As two mutators of one thread, each would wait in its runs for the other to stop.
      if (openHere.get(token.id)?.deref()?.closed === false) {
        throw new HeapError(
          'ERR_BAD_VALUE',
          'this thread has this heap open already: use that Heap object, or close it first; Heap.attach is for other threads',
        )
      }
    } catch (error) {
      heap.close()
      throw error
    }
    rememberOpen(token.id, heap)
    heap._core.shared = true
    return heap
  }

  /**
   * A token with which another thread opens this heap (`Heap.attach`). Concurrent collector only: ERR_NO_SHARING
   * otherwise. Define shapes first: later ones are known by name only to the thread that defines them.
   */
  share(): HeapToken {
    this._core.checkOpen()
    const id = this._core.collector.shareId()
    if (id === null) {
      throw new HeapError(
        'ERR_NO_SHARING',
        `the ${this.capabilities.collector} collector serves one thread: a shared heap needs collector 'concurrent'`,
      )
    }
    rememberOpen(id, this)
    this._core.shared = true
    const { options, capabilities } = this
    return { kind: 'glissade-heap', id, options, capabilities, shapes: this._core.shapes.describeAll() }
  }

  /** Everything the heap counted, and every stall it measured, in microseconds. */
  stats(): HeapStatistics {
    this._core.checkOpen()
    return statisticsOf(this._core)
  }

  /**
   * When the latest collections entered which phase, and what the heap held then, oldest first: what a timeline is drawn
   * from. 250 to 500 collections are kept. The portable collector's phases follow each other while the program stands.
   */
  phaseLog(): readonly PhaseChange[] {
    this._core.checkOpen()
    return this._core.collector.phaseLog()
  }

  /**
   * Re-traces the heap from the roots and checks every rule of ARCHITECTURE.md that can be seen. A safepoint:
   * live references are in published root slots, and a collection under way may move objects. Time and memory grow with
   * the live data.
   */
  verify(options?: VerifyOptions): VerifyReport {
    return this._inspectStopped((core) => verify(core, options))
  }

  // ---- who keeps what

  /**
   * Counts what is alive, by shape, or by class where `options` has a `className`. A safepoint; all threads stand still
   * meanwhile. Time and memory grow with the live data: some 100 ns and 12 to 24 bytes an object, and a bit for 8 bytes of the
   * heap's addresses. What only weak references lead to is not counted, and nothing is collected for it. Throws ERR_INVALID_HEAP
   * where a reference leads to no object.
   */
  census(options: CensusOptions = {}): Census {
    this._core.checkOpen()
    checkCensusOptions(options)
    return this._inspectStopped((core, m) => takeCensus(core, m, options))
  }

  /**
   * Why an object is alive: a short way to it from a root (a shortest one, where no ephemeron is on it), as the names of a
   * root slot and of the slots that lead on from object to object; null if no root leads there. `Node@4096` is an object by its shape
   * or class, and its Ref until the next safepoint; the value of an ephemeron is reached from its key. `target` is a weak handle, a
   * handle (which itself does not count), a shape, for the nearest object of it, or a function that is true of the one
   * that is looked for, and is asked about the nearest first. It may read the heap and keeps no Ref; a safepoint in it is
   * ERR_NO_SAFEPOINT. A safepoint itself, which costs what a census does.
   */
  pathTo(target: Target, options: PathOptions = {}): readonly string[] | null {
    this._core.checkOpen()
    checkPathOptions(options)
    return this._inspectStopped((core, m) => pathTo(core, m, target, options))
  }

  /**
   * Writes what is alive, and who keeps it so, as a file for the developer tools of Chrome (Memory, Load profile; it should be called
   * `….heapsnapshot`): classes, retained sizes, retainers. Returns the census. Objects are listed by shape unless `options` knows
   * better; the functions there may read the heap and nothing else, as in `pathTo`. A file of that name is replaced when
   * all is written; ERR_SNAPSHOT leaves it as it was. A safepoint; about a microsecond an object.
   */
  writeSnapshot(file: string | { readonly href: string }, options: SnapshotOptions = {}): Census {
    this._core.checkOpen()
    const path = pathOf(file)
    checkSnapshotOptions(options)
    return writeInPieces(path, (write) => this._inspectStopped((core, m) => writeSnapshot(core, m, options, write)))
  }

  /** Throws ERR_INVALID_HEAP with the first violations, if `verify` finds any. A safepoint. */
  assertValid(options?: VerifyOptions): void {
    const { ok, violations } = this.verify(options)
    if (ok) return
    const list = violations
      .slice(0, 10)
      .map((v) => `  ${v.where}: ${v.what}${v.path.length > 0 ? `\n    reached by ${v.path.join(' → ')}` : ''}`)
    throw new HeapError('ERR_INVALID_HEAP', `the heap is damaged in ${violations.length} places:\n${list.join('\n')}`)
  }
}

/** Of a name, or of a `file:` URL. */
function pathOf(file: unknown): string {
  if (typeof file === 'string' && file !== '') return file
  const href = (file as { readonly href?: unknown } | null | undefined)?.href
  const isURL = typeof href === 'string'
  const refused = (why = '', options?: ErrorOptions): HeapError =>
    new HeapError(
      'ERR_BAD_VALUE',
      `heap.writeSnapshot takes the name of a file, or a file: URL; got ${show(isURL ? href : file)}${why}`,
      options,
    )
  if (!isURL || !href.startsWith('file:')) throw refused()
  try {
    return fileURLToPath(href)
  } catch (cause) {
    // It names a host, say.
    throw refused(`: ${(cause as Error).message}`, { cause })
  }
}

/** Tokens come by postMessage, where anything may come from. */
function isToken(token: HeapToken): boolean {
  const { kind, id, options, capabilities, shapes } = token ?? {}
  const objects = [options, capabilities].every((part) => typeof part === 'object' && part !== null)
  const lists = [shapes, capabilities?.reasons, capabilities?.remedies].every((part) => Array.isArray(part))
  return kind === 'glissade-heap' && Number.isInteger(id) && id > 0 && id < 2 ** 31 && objects && lists
}
