// A count of what is alive, by shape: the first question about a heap that grows.

import { granulesAt } from '../gc/shape-reader.js'
import { shapeName } from '../gc/slot-names.js'
import type { HeapCore } from '../heap/heap-core.js'
import { GRANULE_BYTES } from '../heap/layout.js'
import { StrongWalk } from './strong-walk.js'

/** Objects, and bytes with their headers. */
export interface Count {
  readonly objects: number
  readonly bytes: number
}
/** … of one shape. */
export interface ShapeCount extends Count {
  readonly name: string
}
/** What `heap.census()` found. */
export interface Census extends Count {
  /** Those that have objects, the one with the most bytes first. */
  readonly shapes: readonly ShapeCount[]
}

/** Inside run, roots published; other mutators stopped by the caller. */
export function takeCensus(core: HeapCore): Census {
  const walk = new StrongWalk(core)
  walk.run()
  return censusOf(core, walk)
}

/** Of a walk that is complete. */
export function censusOf(core: HeapCore, { objects }: StrongWalk): Census {
  const { control, i32 } = core.views
  const counts = new Map<number, { objects: number; granules: number }>()
  for (let k = 0; k < objects.length; k++) {
    const ref = objects.at(k)
    let count = counts.get(i32[ref])
    if (count === undefined) counts.set(i32[ref], (count = { objects: 0, granules: 0 }))
    count.objects++
    count.granules += granulesAt(control, i32, ref)
  }
  const shapes = [...counts].map(([id, { objects, granules }]) => ({
    name: shapeName(core, id),
    objects,
    bytes: granules * GRANULE_BYTES,
  }))
  shapes.sort((a, b) => b.bytes - a.bytes || b.objects - a.objects || (a.name < b.name ? -1 : 1))
  return { objects: objects.length, bytes: shapes.reduce((sum, { bytes }) => sum + bytes, 0), shapes }
}
