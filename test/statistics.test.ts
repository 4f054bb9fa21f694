// What a collector counts under its own names, and what of it is told under the public ones.
import { Heap } from 'glissade'
import { describe, expect, it } from 'vitest'
import type { HeapCore } from '../dist/heap/heap-core.js'
import type { RawStatistics } from '../dist/gc/collector.js'
import { statisticsOf } from '../dist/gc/statistics.js'
import { configurations, failure } from './conformance/configurations.js'

function told(raw: Partial<RawStatistics>): ReturnType<typeof statisticsOf> {
  const statistics = (): RawStatistics => ({ counters: {}, histograms: {}, ...raw })
  const core = {
    collector: { name: 'none', statistics },
    views: { control: new Int32Array(16) },
    options: { maxBytes: 7 },
  }
  return statisticsOf(core as unknown as HeapCore)
}

describe.each(configurations.filter(({ collects }) => collects))('stalls ($name)', ({ options }) => {
  it('have the waits that were in vain', () => {
    using heap = Heap.create({ ...options, maxBytes: '8m' })
    const refs = heap.defineArray('Refs', 'ref')
    heap.run((m) => {
      const table = m.roots.table('ref', 4096)
      const fill = () => {
        for (let i = 0; ; i++) table.set(i, m.allocArray(refs, 2000))
      }
      expect(failure(fill).code).toBe('ERR_HEAP_EXHAUSTED')
      const { count } = heap.stats().pauses.allocationStall
      expect(failure(() => m.allocArray(refs, 2000)).code).toBe('ERR_HEAP_EXHAUSTED')
      expect(heap.stats().pauses.allocationStall.count).toBe(count + 1)
    })
  })
})

describe('statistics', () => {
  it('add up what was refused, whichever call it was', () => {
    const errors = { move: { EBUSY: 2, ENOMEM: 1 }, copy: { EBUSY: 3 }, mremap: {} }
    expect(told({ errors }).fallbacks).toEqual({ EBUSY: 5, ENOMEM: 1 })
    expect(told({}).fallbacks).toEqual({})
  })

  it('have 0 for what a collector does not count', () => {
    const nothing = { moved: 0, copied: 0, zeroFilled: 0, kept: 0 }
    expect(told({})).toMatchObject({ collections: 0, bytesAllocated: 0, bytesLive: 0, bytesUsed: 0, barrierFaults: 0 })
    expect(told({}).pages).toEqual(nothing)
    expect(told({}).pauses.flip).toMatchObject({ count: 0, max: 0, buckets: [] })
    const counters = {
      collections: 3,
      bytesAllocated: 4,
      bytesLive: 5,
      bytesUsed: 6,
      barrierFaults: 7,
      pagesMoved: 8,
      pagesKept: 9,
    }
    expect(told({ counters })).toMatchObject({
      ...{ collections: 3, bytesAllocated: 4, bytesLive: 5, bytesUsed: 6, barrierFaults: 7, maxBytes: 7 },
      pages: { ...nothing, moved: 8, kept: 9 },
      raw: { counters },
    })
  })

  it('have the objects marked over all collections', () => {
    for (const { options, collects } of configurations) {
      using heap = Heap.create({ maxBytes: '1m', ...options })
      const node = heap.defineShape('Node', { next: 'ref' })
      heap.run((m) => m.roots.table('ref', 1).set(0, m.alloc(node)))
      for (let i = 0; i < 3; i++) heap.collectSync()
      expect(heap.stats().raw.counters['objectsMarked'] ?? 0).toBe(collects ? 3 : 0)
    }
  })

  it('are counted under the same names by every collector', () => {
    for (const { options } of configurations) {
      using heap = Heap.create({ maxBytes: '1m', ...options })
      const { raw } = heap.stats()
      expect(Object.keys(raw.counters)).toEqual(expect.arrayContaining(['collections', 'bytesAllocated', 'bytesUsed']))
    }
  })
})
