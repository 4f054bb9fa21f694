// What m.reserve promises: until its bytes are used up allocations are no safepoints, whoever asks for a stop meanwhile.
import { createContext, runInContext } from 'node:vm'
import { Heap, type HeapOptions, type Mutator, type Ref, type Shape } from 'glissade'
import { Random, seedFromEnvironment } from 'glissade/testing'
import { expect, it } from 'vitest'
import { loadNative } from '../../dist/gc/native-loader.js'
import { MutatorWord, mutatorBlock } from '../../dist/heap/layout.js'
import { failure, overAll, withHeap } from './configurations.js'

const PAIR = { left: 'ref', right: 'ref' } as const
type Pair = Shape<typeof PAIR>
const LEAVES = 64
const TREE_BYTES = 16 * (2 * LEAVES - 1)

/** A tree of `LEAVES` leaves whose references are all in JavaScript variables until it is whole. */
function unrooted(m: Mutator, pair: Pair): Ref {
  let level = Array.from({ length: LEAVES }, () => m.alloc(pair))
  while (level.length > 1) {
    level = Array.from({ length: level.length / 2 }, (_, i) => {
      const made = m.alloc(pair)
      m.i32[made + pair.at.left] = level[2 * i]
      m.i32[made + pair.at.right] = level[2 * i + 1]
      return made
    })
  }
  return level[0]
}
/** Leaves of a whole tree of pairs; throws where something else is met. */
function leavesOf(m: Mutator, pair: Pair, ref: Ref): number {
  if (m.shapeOf(ref) !== pair.id) throw new Error(`no pair at ${ref}`)
  const left = m.getRef(ref, pair.at.left)
  return left === 0 ? 1 : leavesOf(m, pair, left) + leavesOf(m, pair, m.getRef(ref, pair.at.right))
}

overAll('reservations', (configuration) => {
  const heaps: Record<string, HeapOptions> = {
    plain: {},
    'a collection at every allocation': { stress: { everyAllocations: 1 } },
    'a collection at every safepoint, checked': { stress: { everySafepoint: true }, checked: true },
    checked: { checked: true },
  }
  for (const [what, options] of Object.entries(heaps)) {
    it(`lets references live in variables from one allocation to the next (${what})`, () => {
      withHeap(configuration, { maxBytes: '4m', verify: 2, ...options }, (heap) => {
        const pair = heap.defineShape('Pair', PAIR)
        heap.run((m) => {
          const roots = m.roots.table('ref', 16)
          const rounds = 'stress' in options || 'checked' in options ? 30 : configuration.collects ? 20_000 : 1000
          for (let i = 0; i < rounds; i++) {
            m.reserve(TREE_BYTES)
            roots.set(i & 15, unrooted(m, pair))
            const other = roots.get((i * 7) & 15) as Ref
            if (other !== 0) expect(leavesOf(m, pair, other)).toBe(LEAVES)
          }
        })
      })
    })
  }

  it.runIf(configuration.concurrent)('keeps a stop waiting until what was reserved is allocated', async () => {
    const heap = Heap.create({ maxBytes: '8m', ...configuration.options })
    const pair = heap.defineShape('Pair', PAIR)
    for (let i = 0; i < 20; i++) {
      let collection
      heap.run((m) => {
        const roots = m.roots.table('ref', 1)
        m.reserve(TREE_BYTES)
        const begin = m.alloc(pair)
        collection = heap.collect()
        const end = Date.now() + 10_000
        while (!m.mustPoll() && Date.now() < end);
        expect(m.mustPoll()).toBe(true)
        const made = Array.from({ length: 2 * LEAVES - 2 }, () => m.alloc(pair))
        expect(made.map((ref) => ref - begin)).toEqual(made.map((_, k) => 4 * (k + 1)))
        const stops = (): number => heap.stats().pauses.timeToSafepoint.count
        const before = stops()
        // All is used up: this one is a safepoint again.
        m.alloc(pair)
        expect(stops()).toBeGreaterThan(before)
        roots.set(0, m.alloc(pair))
        roots.free()
      })
      await collection
    }
    heap.close()
  })

  it.runIf(configuration.collects)('ends with the next other safepoint', () => {
    withHeap(configuration, { stress: { everyAllocations: 1 } }, (heap) => {
      const pair = heap.defineShape('Pair', PAIR)
      const bytes = heap.defineArray('Bytes', 'u8')
      heap.run((m) => {
        const collectionsOf = (work: () => void): number => {
          const before = heap.stats().collections
          work()
          return heap.stats().collections - before
        }
        const reserved = (): number =>
          collectionsOf(() => {
            m.reserve(64)
            m.alloc(pair)
            m.alloc(pair)
          })
        expect(reserved()).toBe(1)
        const others: [string, () => void][] = [
          ['poll', () => m.poll()],
          ['parked', () => m.parked(() => 0)],
          ['verify', () => heap.verify()],
          ['a collection', () => heap.collectSync()],
          ['an allocation that does not fit', () => m.allocArray(bytes, 100)],
          ['a large object', () => m.allocArray(bytes, 100_000)],
        ]
        for (const [name, safepoint] of others) {
          reserved()
          safepoint()
          expect([name, collectionsOf(() => m.alloc(pair))]).toEqual([name, 1])
        }
      })
    })
  })

  it('takes arrays and objects of all sizes together, to the last byte', () => {
    const random = new Random(seedFromEnvironment())
    withHeap(configuration, { maxBytes: '32m', stress: { everyAllocations: 1 } }, (heap) => {
      const pair = heap.defineShape('Pair', PAIR)
      const bytes = heap.defineArray('Bytes', 'u8')
      heap.run((m) => {
        for (let i = 0; i < 40; i++) {
          const lengths = Array.from({ length: 1 + random.below(8) }, () => random.below(1000))
          const total = lengths.reduce((sum, length) => sum + 8 + Math.ceil(length / 8) * 8 + 16, 0)
          m.reserve(total)
          const before = heap.stats().collections
          const made = lengths.map((length) => ({ length, array: m.allocArray(bytes, length), pair: m.alloc(pair) }))
          expect([heap.stats().collections - before, `seed ${random.seed}`]).toEqual([0, `seed ${random.seed}`])
          for (const { length, array } of made) expect(m.lengthOf(array)).toBe(length)
          expect(made.every((one) => m.shapeOf(one.pair) === pair.id)).toBe(true)
          m.alloc(pair)
          expect(heap.stats().collections - before).toBe(configuration.collects ? 1 : 0)
        }
      })
    })
  })

  it('refuses what is no size, is too large, does not fit, or is asked for outside run', () => {
    withHeap(configuration, { maxBytes: '1m' }, (heap) => {
      const pair = heap.defineShape('Pair', PAIR)
      const mutator = heap.run((m) => {
        for (const bytes of [-1, 0.5, NaN, 8193, 2 ** 32, '16', null, undefined]) {
          expect(failure(() => m.reserve(bytes as number))).toMatchObject({ code: 'ERR_BOUNDS' })
        }
        expect(failure(() => m.reserve(8200)).message).toMatch(
          /^m.reserve takes a whole number of bytes from 0 to 8192; got 8200:/,
        )
        m.reserve(0)
        m.reserve(8192)
        const table = m.roots.table('ref', 1)
        const full = failure(() => {
          for (;;) {
            m.reserve(8192)
            for (let i = 0; i < 512; i++) {
              const made = m.alloc(pair)
              m.setRef(made, pair.at.left, table.get(0) as Ref)
              table.set(0, made)
            }
          }
        })
        expect(full.code).toBe('ERR_HEAP_EXHAUSTED')
        return m
      })
      expect(failure(() => mutator.reserve(16)).code).toBe('ERR_NOT_RUNNING')
      heap.close()
      expect(failure(() => mutator.reserve(16)).code).toBe('ERR_HEAP_CLOSED')
    })
    withHeap(configuration, {}, (heap) => {
      // With no TLAB there is room for nothing, too.
      const mutator = heap.run((m) => m)
      expect(failure(() => mutator.reserve(0)).code).toBe('ERR_NOT_RUNNING')
    })
  })

  it.runIf(configuration.collects)('counts for stress as one allocation of so many bytes', () => {
    withHeap(configuration, { stress: { everyBytes: 1000 } }, (heap) => {
      const pair = heap.defineShape('Pair', PAIR)
      heap.run((m) => {
        const before = heap.stats().collections
        for (let i = 0; i < 100; i++) {
          m.reserve(64)
          for (let k = 0; k < 4; k++) m.alloc(pair)
        }
        expect(heap.stats().collections - before).toBe(6)
      })
    })
  })

  it.runIf(configuration.collects && loadNative().exports)('ends with a run that a vm timeout cuts off', () => {
    withHeap(configuration, { stress: { everyAllocations: 1 } }, (heap) => {
      const pair = heap.defineShape('Pair', PAIR)
      const spin = (): void =>
        heap.run((m) => {
          m.reserve(8192)
          for (;;);
        })
      expect(() => runInContext('spin()', createContext({ spin }), { timeout: 50 })).toThrow(/timed out/)
      const before = heap.stats().collections
      heap.run((m) => m.alloc(pair))
      expect(heap.stats().collections - before).toBe(1)
    })
  })

  it.runIf(configuration.collects)('knows in checked heaps where objects are when a collection failed', () => {
    withHeap(configuration, { checked: true, stress: { everyAllocations: 1 } }, (heap) => {
      const pair = heap.defineShape('Pair', PAIR)
      const { collector } = heap._core as { collector: { collect(mutator: number): number } }
      const collect = collector.collect.bind(collector)
      heap.run((m) => {
        const roots = m.roots.table('ref', 1)
        roots.set(0, m.alloc(pair))
        collector.collect = (mutator) => {
          collect(mutator)
          throw new Error('what verification found')
        }
        expect(() => m.reserve(16)).toThrow('what verification found')
        collector.collect = collect
        m.setRef(roots.get(0) as Ref, pair.at.left, roots.get(0) as Ref)
      })
    })
  })

  it('is as long as the bytes, rounded up to a granule', () => {
    withHeap(configuration, {}, (heap) => {
      const pair = heap.defineShape('Pair', PAIR)
      heap.run((m) => {
        m.alloc(pair) // opens a TLAB
        const block = mutatorBlock(m.index)
        for (const [bytes, words] of [
          [1, 2],
          [8, 2],
          [9, 4],
          [11, 4],
          [16, 4],
          [8185, 2048],
        ]) {
          m.reserve(bytes)
          expect(m.control[block + MutatorWord.ReservedEnd] - m.control[block + MutatorWord.TlabTop]).toBe(words)
        }
      })
    })
  })
})
