// A heap as the developer tools of Chrome read it (Memory, Load): who keeps what alive, and how much with it.
//
// The nodes are a root, the root areas, and the live objects in the order of their addresses: so an object's row follows from how
// many begin before it, and nothing is kept for it but the number of its edges. Ids are addresses: what has moved between two
// snapshots has another id, so compare by what shapes have grown, not by which objects are new. What only weak references
// lead to is left out.
//
// Inside run, roots published, the other mutators stopped by the caller until everything is written.

import { IntList, PairsByKey } from '../gc/int-lists.js'
import { granulesAt, weakElements } from '../gc/shape-reader.js'
import { areaName, referenceSlots, shapeName } from '../gc/slot-names.js'
import { forEachReferenceSlot, forEachSlotOfArea, referenceIn } from '../gc/trace.js'
import { HeapError } from '../heap/errors.js'
import type { HeapCore } from '../heap/heap-core.js'
import {
  GRANULE_BYTES,
  AreaKind,
  AreaWord,
  WeakElements,
  Word,
  areaBlock,
  isWeakArea,
  liveSlots,
  slotWords,
} from '../heap/layout.js'
import type { Mutator } from '../heap/mutator.js'
import type { Ref } from '../heap/values.js'
import { censusOf, type Census } from './census.js'
import { checkFunctions, known, Namer, type Labels } from './labels.js'
import { SnapshotWriter, type EdgeType } from './snapshot-format.js'
import { StrongWalk } from './strong-walk.js'

export interface SnapshotOptions extends Labels {
  /** The characters of an object that is a text of the language, which is listed with the strings; undefined: it is none. */
  readonly text?: ((ref: Ref, m: Mutator) => string | undefined) | undefined
}

export function checkSnapshotOptions(options: unknown): void {
  checkFunctions(options, 'heap.writeSnapshot', ['className', 'slotName', 'text'])
}

/** Of a text that is written: V8 cuts its own there, too. */
const MOST_CHARACTERS = 1024

/** An edge to the object at `ref` from that at `from`, 0: from a root area. Elements are named by their index. */
type VisitEdge = (type: EdgeType, name: string | number, ref: number, from: number) => void

/** `write` takes the file in pieces. */
export function writeSnapshot(
  core: HeapCore,
  m: Mutator,
  options: SnapshotOptions,
  write: (piece: string | Uint8Array) => void,
): Census {
  const walk = new StrongWalk(core)
  walk.run()
  const graph = new Graph(core, walk)
  const { areas } = graph
  const namer = new Namer(core, m, options, 'heap.writeSnapshot')
  const { text } = options
  const edgeCounts = new IntList()
  const edges = graph.countEdges(edgeCounts)
  const writer = new SnapshotWriter(write, 1 + areas.length + walk.objects.length, edges)
  let row = 0
  writer.node('synthetic', '(roots)', 1, 0, areas.length)
  for (const area of areas) {
    // Even ids, which no object has.
    writer.node('object', areaName(core, area), 2 * (area + 1), areaBytes(core, area), edgeCounts.at(row++))
  }
  const { control, i32 } = core.views
  walk.forEachByAddress((ref) => {
    const bytes = granulesAt(control, i32, ref) * GRANULE_BYTES
    const characters = text && namer.text('text', text(known(core, ref), m))
    const name = characters?.slice(0, MOST_CHARACTERS) ?? namer.classOf(ref)
    writer.node(characters === undefined ? 'object' : 'string', name, ref + 1, bytes, edgeCounts.at(row++))
  })
  writer.endNodes()
  areas.forEach((_, k) => writer.edge('element', k, 1 + k))
  let written = areas.length
  graph.forEachEdge((type, name, ref, from) => {
    written++
    const to = 1 + areas.length + walk.rankOf(ref)
    if (type === 'weak' || type === 'internal' || from === 0) return writer.edge(type, name, to)
    const slot = namer.slotOf(from, name)
    writer.edge(typeof slot === 'number' ? 'element' : 'property', slot, to)
  })
  if (written !== edges) {
    core.checkOpen() // its owner has closed it meanwhile
    throw new HeapError(
      'ERR_BAD_VALUE',
      `a function given to heap.writeSnapshot has changed the heap: of ${edges} references ${written} are left. It may read ` +
        'objects and root slots, not store into them',
    )
  }
  writer.end()
  return censusOf(core, walk)
}

function areaBytes(core: HeapCore, area: number): number {
  const { control } = core.views
  return liveSlots(control, area) * slotWords(control[areaBlock(area) + AreaWord.Kind]) * 4
}

class Graph {
  readonly areas: readonly number[]
  readonly #core: HeapCore
  readonly #walk: StrongWalk
  /** By key: the array of each ephemeron that has it, and the word of the value. */
  readonly #ephemerons = new PairsByKey()
  /** By shape: names of its reference-bearing slots in address order; null: they are elements. */
  readonly #slotNames = new Map<number, readonly string[] | null>()

  constructor(core: HeapCore, walk: StrongWalk) {
    const { control } = core.views
    this.#core = core
    this.#walk = walk
    const areas = Array.from({ length: control[Word.AreaCount] }, (_, area) => area)
    this.areas = areas.filter((area) => control[areaBlock(area) + AreaWord.Kind] !== AreaKind.Free)
    walk.forEachByAddress((ref) => this.#noteEphemerons(ref))
  }

  /** Their number, and into `counts` that of each node but the root, in the order of rows. */
  countEdges(counts: IntList): number {
    let edges = this.areas.length
    const count = (): number => edges++
    this.#forEachNode((visitEdges) => {
      const before = edges
      visitEdges(count)
      counts.push(edges - before)
    })
    return edges
  }

  /** Calls back with the edges of all nodes but the root, in the order of rows. */
  forEachEdge(visit: VisitEdge): void {
    this.#forEachNode((visitEdges) => visitEdges(visit))
  }
  #forEachNode(each: (visitEdges: (visit: VisitEdge) => void) => void): void {
    for (const area of this.areas) each((visit) => this.#edgesOfArea(area, visit))
    this.#walk.forEachByAddress((ref) => each((visit) => this.#edgesOf(ref, visit)))
  }

  #edgesOfArea(area: number, visit: VisitEdge): void {
    const { control, rootsI32 } = this.#core.views
    const weak = isWeakArea(control[areaBlock(area) + AreaWord.Kind])
    forEachSlotOfArea(this.#core, area, (slot, word, isValue) => {
      const ref = referenceIn(rootsI32, word, isValue)
      if (ref === 0 || !this.#walk.has(ref)) return
      if (weak) visit('weak', String(slot), ref, 0)
      else visit('element', slot, ref, 0)
    })
  }

  #edgesOf(ref: number, visit: VisitEdge): void {
    const { i32 } = this.#core.views
    const names = this.#slotNamesOf(i32[ref])
    this.#forEachReference(ref, (index, to, weak) => {
      if (weak) visit('weak', String(index), to, ref)
      else if (names !== null) visit('property', names[index], to, ref)
      else visit('element', index, to, ref)
    })
    // What keeps the value of an ephemeron is its key.
    this.#ephemerons.each(ref, (array, value) => {
      visit('internal', `value in ${shapeName(this.#core, i32[array])} @${array + 1}`, value, ref)
    })
  }

  #noteEphemerons(array: number): void {
    const { control, i32 } = this.#core.views
    if (weakElements(control, i32[array]) !== WeakElements.Keys) return
    let key = 0
    let keyAt = -1
    this.#forEachReference(array, (index, ref, weak) => {
      if (!weak) return
      if (index % 2 === 1 && keyAt === index - 1) this.#ephemerons.add(key, array, ref)
      if (index % 2 === 0) [key, keyAt] = [ref, index]
    })
  }

  /** The references of the object at `ref` to others that have been reached: slot or element, counted from 0. */
  #forEachReference(ref: number, visit: (index: number, to: number, weak: boolean) => void): void {
    const { control, i32 } = this.#core.views
    const weak = weakElements(control, i32[ref])
    let index = 0
    let key = 0
    forEachReferenceSlot(this.#core, ref, (word, isValue) => {
      const to = referenceIn(i32, word, isValue)
      const isKey = index % 2 === 0
      if (isKey) key = to
      // The value of a key that is no reference is kept by the array.
      const isWeak = weak === WeakElements.Elements || (weak === WeakElements.Keys && key !== 0)
      if (to !== 0 && this.#walk.has(to)) visit(index, to, isWeak)
      index++
    })
  }

  #slotNamesOf(id: number): readonly string[] | null {
    let names = this.#slotNames.get(id)
    if (names === undefined) this.#slotNames.set(id, (names = referenceSlots(this.#core, id)))
    return names
  }
}
