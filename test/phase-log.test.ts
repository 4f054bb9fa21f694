// What a heap tells about time: histograms of stalls, the log of phases, and stops as a thread feels them.

import { Heap, type HeapStatistics, type PhaseChange } from 'glissade'
import { step } from 'glissade/testing'
import { describe, expect, it } from 'vitest'
import { concurrent, configurations, overAll } from './conformance/configurations.js'

const collectors = [...new Set(configurations.map(({ options }) => options.collector))].filter(
  (name) => name !== 'none',
)

/** A heap in which half of what was allocated is garbage, so that a collection has something to move; the slot of the list. */
function fill(heap: Heap): number {
  const node = heap.defineShape('Node', { next: 'ref', key: 'i32' })
  return heap.run((m) => {
    const { i32, rootsI32, cards } = m
    const stack = m.roots.stack('ref', 16)
    stack.top = 1
    rootsI32[stack.base] = 0
    const allocate = m.allocator(node)
    for (let i = 0; i < 50_000; i++) {
      const kept = allocate()
      i32[kept + node.at.next] = rootsI32[stack.base]
      cards[(kept + node.at.next) >>> 8] = 1
      rootsI32[stack.base] = kept
      allocate()
    }
    return stack.base
  })
}

describe.each(collectors)('%s', (collector) => {
  it('the buckets of a histogram hold what it counted, and its percentiles', () => {
    using heap = Heap.create({ maxBytes: '16m', collector })
    fill(heap)
    for (let i = 0; i < 5; i++) heap.collectSync()
    const { pauses } = heap.stats()
    const kind: keyof HeapStatistics['pauses'] = collector === 'concurrent' ? 'remark' : 'pause'
    const { count, sum, p50, max, buckets } = pauses[kind]
    expect(count).toBeGreaterThanOrEqual(5)
    expect(buckets.reduce((sum, [, n]) => sum + n, 0)).toBe(count)
    const edges = buckets.map(([edge]) => edge)
    expect(edges).toEqual([...edges].sort((a, b) => a - b))
    // A percentile is the upper edge of its bucket, but no larger than the maximum.
    expect([...edges, max]).toContain(p50)
    // In the same unit, and of the same durations.
    expect(sum).toBeGreaterThanOrEqual(max)
    expect(sum).toBeLessThanOrEqual(max * count + 0.001)
    expect(edges.at(-1)).toBeGreaterThanOrEqual(max)
    expect(edges.at(-1)).toBeLessThanOrEqual(max * 1.04 + 0.001)
  })

  it('what is live is counted in bytes, small objects and large ones', () => {
    using heap = Heap.create({ maxBytes: '32m', collector })
    // What verification finds, but for the ends of pages that large objects leave empty.
    const live = (large: number): void => {
      heap.collectSync()
      const { bytes } = heap.verify()
      const { bytesLive, bytesUsed } = heap.stats()
      expect(bytesLive).toBeGreaterThanOrEqual(bytes)
      expect(bytesLive).toBeLessThan(bytes + large * 4096 + 1)
      expect(bytesUsed).toBeGreaterThanOrEqual(bytesLive)
    }
    live(0)
    expect(heap.stats().bytesLive).toBe(0)
    fill(heap)
    live(0)
    expect(heap.stats().bytesLive).toBe(50_000 * 16)
    const numbers = heap.defineArray('Numbers', 'f64')
    const refs = heap.defineArray('Refs', 'ref')
    const kept = heap.run((m) =>
      m.scoped((scope) => [scope.newArray(numbers, 100_000), scope.newArray(refs, 300_000)].map((a) => heap.global(a))),
    )
    heap.run((m) => m.scoped((scope) => scope.newArray(numbers, 50_000)))
    live(2)
    expect(heap.stats().bytesLive).toBeGreaterThan(50_000 * 16 + 2_000_000)
    heap.run(() => kept.forEach((global) => global.release()))
    live(0)
  })

  it('an allocation that has to wait for a collection is a stall', () => {
    // A stepping cycle that rests goes on by itself only when somebody waits for memory.
    using heap = Heap.create({ maxBytes: '4m', collector, stepping: true })
    fill(heap)
    const before = heap.stats().pauses.allocationStall.count
    const node = heap.defineShape('Garbage', { a: 'f64', b: 'f64', c: 'f64' })
    heap.run((m) => {
      for (let i = 0; i < 500_000; i++) m.alloc(node)
    })
    const { collections, pauses } = heap.stats()
    expect(collections).toBeGreaterThan(1)
    expect(pauses.allocationStall.count).toBeGreaterThan(before)
    expect(pauses.allocationStall.max).toBeGreaterThan(0)
    const { count } = pauses.allocationStall
    heap.collectSync()
    expect(heap.phaseLog().at(-1)?.allocationStalls).toBeGreaterThanOrEqual(count)
    expect(heap.phaseLog().at(-1)?.allocationStalls).toBeLessThanOrEqual(heap.stats().pauses.allocationStall.count)
  })

  it('the log that a program got is its own', () => {
    using heap = Heap.create({ maxBytes: '4m', collector })
    heap.collectSync()
    const log = heap.phaseLog() as PhaseChange[]
    const { length } = log
    log.length = 0
    expect(heap.phaseLog().length).toBeGreaterThanOrEqual(length)
    expect(length).toBeGreaterThan(0)
  })

  it('the log has a collection’s phases in their order, when they were and what the heap held', () => {
    using heap = Heap.create({ maxBytes: '16m', collector })
    fill(heap)
    const known = heap.phaseLog().length
    const before = performance.now()
    heap.collectSync()
    const after = performance.now()
    // The collector enters `idle` before it wakes the caller; one more collection may have begun by itself.
    const log = heap.phaseLog().slice(known)
    const first = log.findIndex(({ phase }) => phase === 'mark')
    const phases = log.slice(first, log.findIndex(({ phase }, i) => i > first && phase === 'idle') + 1)
    const names = phases.map(({ phase }) => phase)
    const all: PhaseChange['phase'][] =
      collector === 'concurrent'
        ? ['mark', 'remark', 'reclaim', 'prepare', 'flip', 'compact', 'idle']
        : ['mark', 'prepare', 'compact', 'idle']
    expect(names).toEqual(all)
    const times = phases.map(({ at }) => at)
    expect(times).toEqual([...times].sort((a, b) => a - b))
    // The two clocks are read one after the other: a hundredth of a millisecond apart at most, a whole one allowed.
    expect(times[0]).toBeGreaterThan(before - 1)
    expect(times.at(-1)).toBeLessThan(after + 1)
    const [start, end] = [phases[0], phases.at(-1) as PhaseChange]
    expect(start.bytesUsed).toBeGreaterThanOrEqual(50_000 * 2 * 16)
    expect(end.bytesUsed).toBeLessThan(start.bytesUsed * 0.6)
  })

  it('the log keeps the latest phases and stays bounded', () => {
    using heap = Heap.create({ maxBytes: '4m', collector })
    heap.defineShape('Node', { next: 'ref' })
    const collections = collector === 'concurrent' ? 420 : 700
    for (let i = 0; i < collections; i++) heap.collectSync()
    const log = heap.phaseLog()
    expect(log.length).toBeLessThanOrEqual(2048)
    expect(log.length).toBeGreaterThan(1000)
    const times = log.map(({ at }) => at)
    expect(times).toEqual([...times].sort((a, b) => a - b))
    expect(log.at(-1)?.phase).toBe('idle')
    expect(performance.now() - (times.at(-1) as number)).toBeLessThan(performance.now() - times[0])
  })
})

it('a stop-the-world collection begins when twice of what was live is in use, or an eighth of the heap', () => {
  using heap = Heap.create({ maxBytes: '32m', collector: 'stop-the-world' })
  const numbers = heap.defineArray('Numbers', 'f64')
  const usedAtBegin = (): number =>
    heap.run((m) => {
      const known = heap.phaseLog().length
      while (heap.phaseLog().length === known) m.allocArray(numbers, 63)
      return heap.phaseLog()[known].bytesUsed
    })
  /** Up to an object, or to a whole TLAB. */
  const near = (bytes: number, limit: number): void => {
    expect(bytes).toBeLessThanOrEqual(limit)
    expect(bytes).toBeGreaterThan(limit - 65_536 - 512)
  }
  near(usedAtBegin(), 4 * 2 ** 20)
  near(usedAtBegin(), 4 * 2 ** 20)
  heap.run((m) => {
    const table = m.roots.table('ref', 16_384)
    for (let i = 0; i < 16_384; i++) table.set(i, m.allocArray(numbers, 63))
  })
  heap.collectSync()
  const { bytesLive } = heap.stats()
  expect(bytesLive).toBe(16_384 * 512)
  near(usedAtBegin(), 2 * bytesLive)
})

it('no allocation waits for a collector that does nothing', () => {
  using heap = Heap.create({ maxBytes: '4m', collector: 'none' })
  const bytes = heap.defineArray('Bytes', 'u8')
  heap.run((m) => [1, 2, 3].forEach(() => m.allocArray(bytes, 100_000)))
  expect(heap.stats().pauses.allocationStall.count).toBe(0)
})

it.runIf(concurrent.length > 0)('a running thread’s stop lasts at least as long as the work it waits for', async () => {
  using heap = Heap.create({ maxBytes: '16m', collector: 'concurrent' })
  fill(heap)
  heap.collectSync()
  const before = heap.phaseLog().length
  let collected: Promise<void> | undefined
  heap.run((m) => {
    collected = heap.collect()
    const deadline = performance.now() + 120_000
    // This thread never parks, so that the cycle can end only by stopping it, for remark and for the flip.
    while (heap.phaseLog().slice(before).at(-1)?.phase !== 'idle' && performance.now() < deadline) {
      if (m.mustPoll()) m.poll()
    }
  })
  await collected
  const entries = heap.phaseLog().slice(before)
  const remark = entries.findIndex(({ phase }) => phase === 'remark')
  const { stop } = heap.stats().pauses
  expect(remark).toBeGreaterThan(0)
  expect(stop.count).toBeGreaterThanOrEqual(2)
  // `remark` is entered and left inside the pause.
  expect(stop.max).toBeGreaterThanOrEqual((entries[remark + 1].at - entries[remark].at) * 1000 - 1)
})

overAll(
  'stalls',
  ({ options }) => {
    it('each kind is counted where it happens, and stands in its own field of the log', () => {
      using heap = Heap.create({ maxBytes: '4m', ...options, stepping: true })
      const slot = fill(heap)
      const counts = (): { [kind: string]: number } =>
        Object.fromEntries(Object.entries(heap.stats().pauses).map(([kind, { count }]) => [kind, count]))
      const last = (): PhaseChange => heap.phaseLog().at(-1) as PhaseChange
      const none = { remark: 0, flip: 0, timeToSafepoint: 0, faultStall: 0, allocationStall: 0, pause: 0 }
      expect(counts()).toMatchObject(none)

      while (step(heap) !== 'compact');
      const flipped = counts()
      expect(flipped).toMatchObject({
        ...none,
        remark: flipped['remark'],
        flip: 1,
        timeToSafepoint: 1 + flipped['remark'],
      })
      expect(flipped['remark']).toBeGreaterThan(0)
      expect(last()).toMatchObject({ phase: 'compact', barrierFaults: 0, allocationStalls: 0 })

      // Nothing is there yet: to see the list is to take faults.
      heap.run((m) => {
        const node = heap.defineShape('Node', { next: 'ref', key: 'i32' })
        let length = 0
        for (let ref = m.rootsI32[slot]; ref !== 0; ref = m.i32[ref + node.at.next]) length++
        expect(length).toBe(50_000)
      })
      const { barrierFaults } = heap.stats()
      expect(barrierFaults).toBeGreaterThan(0)
      while (step(heap) !== 'idle');
      // All who served faults have left by now.
      expect(counts()).toEqual({ ...flipped, faultStall: barrierFaults })
      expect(last()).toMatchObject({
        phase: 'idle',
        barrierFaults,
        allocationStalls: 0,
        bytesUsed: heap.stats().bytesUsed,
      })

      const garbage = heap.defineShape('Garbage', { a: 'f64', b: 'f64', c: 'f64' })
      heap.run((m) => {
        for (let i = 0; i < 500_000; i++) m.alloc(garbage)
      })
      heap.collectSync()
      const stats = heap.stats()
      expect(stats.pauses.allocationStall.count).toBeGreaterThan(0)
      expect(last()).toEqual({
        at: expect.any(Number) as number,
        phase: 'idle',
        bytesUsed: stats.bytesUsed,
        barrierFaults: stats.barrierFaults,
        allocationStalls: stats.pauses.allocationStall.count,
      })
      expect(stats.bytesUsed).toBeGreaterThanOrEqual(50_000 * 16)
      expect(stats.bytesUsed % 4096).toBe(0)
    })
  },
  concurrent,
)
