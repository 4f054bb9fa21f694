// A count of what is alive, by shape or class: the first question about a heap that grows.

import { granulesAt } from '../gc/shape-reader.js'
import { shapeName } from '../gc/slot-names.js'
import type { HeapCore } from '../heap/heap-core.js'
import { GRANULE_BYTES } from '../heap/layout.js'
import type { Mutator } from '../heap/mutator.js'
import { checkFunctions, Namer, type Labels } from './labels.js'
import { StrongWalk } from './strong-walk.js'

/** Objects, and bytes with their headers. */
export interface Count {
  readonly objects: number
  readonly bytes: number
}
/** … of one shape, or class. */
export interface ShapeCount extends Count {
  readonly name: string
}
/** What `heap.census()` found. */
export interface Census extends Count {
  /** Those that have objects, the one with the most bytes first. */
  readonly shapes: readonly ShapeCount[]
}
export type CensusOptions = Pick<Labels, 'className'>

export function checkCensusOptions(options: unknown): void {
  checkFunctions(options, 'heap.census', ['className'])
}

/** Inside run, roots published; other mutators stopped by the caller. */
export function takeCensus(core: HeapCore, m: Mutator, options: CensusOptions): Census {
  const walk = new StrongWalk(core)
  walk.run()
  return censusOf(core, walk, options.className && new Namer(core, m, options, 'heap.census'))
}

/** Of a walk that is complete; by classes where there is somebody to name them. */
export function censusOf(core: HeapCore, { objects }: StrongWalk, namer?: Namer): Census {
  const { control, i32 } = core.views
  const counts = new Map<number | string, { objects: number; granules: number }>()
  for (let k = 0; k < objects.length; k++) {
    const ref = objects.at(k)
    const key = namer?.classOf(ref) ?? i32[ref]
    let count = counts.get(key)
    if (count === undefined) counts.set(key, (count = { objects: 0, granules: 0 }))
    count.objects++
    count.granules += granulesAt(control, i32, ref)
  }
  const shapes = [...counts].map(([key, { objects, granules }]) => ({
    name: typeof key === 'string' ? key : shapeName(core, key),
    objects,
    bytes: granules * GRANULE_BYTES,
  }))
  shapes.sort((a, b) => b.bytes - a.bytes || b.objects - a.objects || (a.name < b.name ? -1 : 1))
  return { objects: objects.length, bytes: shapes.reduce((sum, { bytes }) => sum + bytes, 0), shapes }
}
