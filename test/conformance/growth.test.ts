// How far a heap grows before it is collected (`growth`), over every collector that collects.
import type { Heap, Mutator, Ref } from 'glissade'
import { expect, it } from 'vitest'
import { collecting, overAll, withHeap } from './configurations.js'

const MiB = 2 ** 20
const LIVE = 32 * MiB
/** Bytes between two looks, which take long. */
const STEP = 64 * 1024

/** Lives as long as the heap: arrays of 1 KiB, 32 MiB of them. */
function build(heap: Heap, m: Mutator): () => void {
  const bytes = heap.defineArray('Bytes', 'u8')
  const refs = heap.defineArray('Refs', 'ref')
  const allocate = m.arrayAllocator(bytes)
  const kept = m.roots.table('ref', 1)
  const count = LIVE / 1024
  kept.set(0, m.allocArray(refs, count))
  for (let i = 0; i < count; i++) {
    const made = allocate(1008)
    m.setElementRef(kept.get(0) as Ref, i, made)
  }
  return () => void allocate(1008)
}

/** Whether a collection has begun since there were `before`, or is going on. */
const begun = (heap: Heap, before: number): boolean => {
  const { collections, phase } = heap.stats()
  return collections > before || phase !== 'idle'
}

overAll(
  'growth',
  (configuration) => {
    // A collection begins when a quarter of the room has been used at the earliest, when there is nothing left of it at the latest.
    it.each([
      { growth: 1.25, noneWithin: 0.05, oneWithin: 0.26 },
      { growth: 2, noneWithin: 0.2, oneWithin: 1.1 },
      { growth: 6, noneWithin: 1.2, oneWithin: 5.1 },
    ])('lets the heap grow to $growth times what lives', ({ growth, noneWithin, oneWithin }) => {
      withHeap(configuration, { maxBytes: '256m', growth }, (heap) => {
        heap.run((m) => {
          const allocate = build(heap, m)
          heap.collectSync()
          const before = heap.stats().collections
          const until = (part: number, allocated: number): number => {
            while (allocated < part * LIVE && (allocated % STEP !== 0 || !begun(heap, before))) {
              allocate()
              allocated += 1024
            }
            return allocated
          }
          const allocated = until(noneWithin, 0)
          expect(begun(heap, before), `after ${allocated} bytes`).toBe(false)
          until(oneWithin, allocated)
          // The collector's thread may not have had a processor yet.
          for (const end = performance.now() + 30_000; !begun(heap, before) && performance.now() < end;) m.poll()
          expect(begun(heap, before), `after ${oneWithin} times what lives`).toBe(true)
        })
      })
    })
  },
  collecting,
)
