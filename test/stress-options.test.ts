// The option `stress`: over every collector, collections come exactly when it says, and a program sees nothing of them.
import { type Heap, type HeapOptions, type Mutator, type Ref } from 'glissade'
import { graphHash } from 'glissade/testing'
import { expect, it } from 'vitest'
import { failure, overAll, withHeap } from './conformance/configurations.js'

type Stress = NonNullable<HeapOptions['stress']>

/** Allocations of the program below, and the bytes of each: a header and two slots. */
const ALLOCATIONS = 60
const BYTES = 16

/** A list that two call sites build in turn, read back at the end. Returns what the heap counted meanwhile. */
function build(heap: Heap): number {
  const Node = heap.defineShape('Node', { next: 'ref', key: 'i32' })
  return heap.run((m: Mutator) => {
    const head = m.roots.table('ref', 1)
    const collections = heap.stats().collections
    for (let i = 0; i < ALLOCATIONS; i++) {
      const node = i % 2 === 0 ? m.alloc(Node) : m.alloc(Node)
      m.i32[node + Node.at.key] = i
      m.setRef(node, Node.at.next, head.get(0) as Ref)
      head.set(0, node)
    }
    const counted = heap.stats().collections - collections
    const keys: number[] = []
    for (let at = head.get(0) as Ref; at !== 0; at = m.getRef(at, Node.at.next)) keys.push(m.i32[at + Node.at.key])
    expect(keys).toEqual(Array.from({ length: ALLOCATIONS }, (_, i) => ALLOCATIONS - 1 - i))
    return counted
  })
}

overAll('stress', (configuration) => {
  it.each<[Stress, number]>([
    [{}, 0],
    [{ everyAllocations: 1 }, 60],
    [{ everyAllocations: 25 }, 2],
    [{ everyBytes: BYTES }, 60],
    [{ everyBytes: 10 * BYTES }, 6],
    // The rest of an interval counts for the next one.
    [{ everyBytes: 25 }, 38],
    [{ everySite: true }, 2],
    [{ sitePeriod: 1 }, 60],
    // Each of the two sites: its first, and the 10th and 20th after that.
    [{ sitePeriod: 10 }, 6],
    [{ sitePeriod: 1000 }, 2],
    [{ everySafepoint: true }, 60],
    // Each as often as alone: allocations 1 and 2 are the sites' first ones, 20, 40 and 60 are counted.
    [{ everySite: true, everyAllocations: 20 }, 5],
  ])('%j collects %i times', (stress, times) => {
    withHeap(configuration, { stress }, (heap) => {
      expect(build(heap)).toBe(configuration.collects ? times : 0)
    })
  })

  it('tells call sites apart whatever the program has made of its stack traces', () => {
    const { stackTraceLimit, prepareStackTrace } = Error
    const structured = (_: Error, frames: NodeJS.CallSite[]): NodeJS.CallSite[] => frames
    // As under --frozen-intrinsics.
    Object.defineProperty(Error, 'stackTraceLimit', { writable: false })
    try {
      expect(withHeap(configuration, { stress: { everySite: true } }, build)).toBe(configuration.collects ? 2 : 0)
    } finally {
      Object.defineProperty(Error, 'stackTraceLimit', { writable: true })
    }
    for (const [limit, prepare] of [
      [0, prepareStackTrace],
      [1, prepareStackTrace],
      [Infinity, structured],
    ] as const) {
      Error.stackTraceLimit = limit
      Error.prepareStackTrace = prepare
      let collections
      try {
        collections = withHeap(configuration, { stress: { everySite: true } }, build)
        expect([Error.stackTraceLimit, Error.prepareStackTrace]).toEqual([limit, prepare])
      } finally {
        Error.stackTraceLimit = stackTraceLimit
        Error.prepareStackTrace = prepareStackTrace
      }
      expect(collections).toBe(configuration.collects ? 2 : 0)
    }
  })

  it('everySafepoint has every poll due, whatever came before it', () => {
    withHeap(configuration, { stress: { everySafepoint: true } }, (heap) => {
      const cell = heap.defineShape('Cell', { next: 'ref' })
      for (let round = 0; round < 2; round++) {
        heap.run((m) => {
          using stack = m.roots.stack('ref', 4)
          const limit = stack.limitIndex
          const isDue = () => m.mustPoll() && m.control[limit] < 0
          const due = [isDue()]
          for (const safepoint of [
            () => m.alloc(cell),
            () => m.poll(),
            () => heap.collectSync(),
            () => m.parked(() => undefined),
            () => m.roots.stack('ref', 4).free(),
          ]) {
            safepoint()
            due.push(isDue())
          }
          expect(due).toEqual(Array(6).fill(true))
        })
      }
    })
  })

  it('everySafepoint collects at every one of them', () => {
    withHeap(configuration, { stress: { everySafepoint: true } }, (heap) => {
      const cell = heap.defineShape('Cell', { next: 'ref' })
      heap.run((m) => {
        const table = m.roots.table('ref', 1)
        table.set(0, m.alloc(cell))
        const safepoints: { [name: string]: () => unknown } = {
          alloc: () => m.alloc(cell),
          reserve: () => m.reserve(16),
          poll: () => m.poll(),
          parked: () => m.parked(() => undefined),
          'run in parked': () => m.parked(() => heap.run(() => undefined)),
          collectSync: () => heap.collectSync(),
          table: () => m.roots.table('ref', 4).free(),
          stack: () => m.roots.stack('value', 4).free(),
          overflowOrPoll: () => m.roots.stack('ref', 4).overflowOrPoll(0),
          verify: () => heap.verify(),
          assertValid: () => heap.assertValid(),
          census: () => heap.census(),
          pathTo: () => heap.pathTo(() => true),
          graphHash: () => graphHash(heap),
        }
        const collections = Object.entries(safepoints).map(([name, safepoint]) => {
          const before = heap.stats().collections
          safepoint()
          return [name, heap.stats().collections - before]
        })
        const twice = ['run in parked', 'overflowOrPoll']
        expect(collections).toEqual(
          Object.keys(safepoints).map((name) => [name, configuration.collects ? (twice.includes(name) ? 2 : 1) : 0]),
        )
        // An inspection within another is none: nothing may move there.
        heap.pathTo((): boolean => {
          const before = table.get(0)
          heap.verify()
          expect(table.get(0)).toBe(before)
          return false
        })
      })
    })
  })

  it('a Ref kept across any safepoint is stale under everySafepoint', () => {
    withHeap(configuration, { checked: true, stress: { everySafepoint: true } }, (heap) => {
      const cell = heap.defineShape('Cell', { next: 'ref' })
      heap.run((m) => {
        const table = m.roots.table('ref', 1)
        table.set(0, m.alloc(cell))
        for (const safepoint of [
          () => m.parked(() => undefined),
          () => m.roots.table('ref', 1).free(),
          () => heap.verify(),
          () => heap.census(),
        ]) {
          const stale = table.get(0) as Ref
          safepoint()
          m.setRef(table.get(0) as Ref, cell.at.next, 0)
          if (configuration.collects) expect(failure(() => m.setRef(stale, cell.at.next, 0)).code).toBe('ERR_STALE_REF')
        }
      })
    })
  })

  it('an allocation of more bytes than the interval is one collection', () => {
    withHeap(configuration, { stress: { everyBytes: 1000 } }, (heap) => {
      const Bytes = heap.defineArray('Bytes', 'u8')
      heap.run((m) => {
        for (let i = 0; i < 3; i++) m.allocArray(Bytes, 10_000)
        for (let i = 0; i < 3; i++) m.allocArray(Bytes, 100_000)
      })
      expect(heap.stats().collections).toBe(configuration.collects ? 6 : 0)
    })
  })
})
