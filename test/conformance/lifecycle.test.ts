// Running, closing, exhaustion: what a heap does at its edges.
import { runInNewContext } from 'node:vm'
import { Heap, type Mutator, type Ref } from 'glissade'
import { graphHash, step } from 'glissade/testing'
import { expect, it } from 'vitest'
import { Word } from '../../dist/heap/layout.js'
import type { Views } from '../../dist/heap/memory.js'
import { collecting, failure, overAll, withHeap } from './configurations.js'

overAll('lifecycle', (configuration) => {
  it('returns what run’s callback returns and throws what it throws, and stays usable', () => {
    withHeap(configuration, {}, (heap) => {
      const node = heap.defineShape('Node', { next: 'ref' })
      expect(heap.run(() => 42)).toBe(42)
      const thrown = new Error('mine')
      expect(() =>
        heap.run((m) => {
          m.scope().new(node)
          throw thrown
        }),
      ).toThrow(thrown)
      expect(heap.run((m) => heap.run((n) => n === m))).toBe(true)
      expect(heap.run((m) => m.parked(() => 'parked'))).toBe('parked')
    })
  })

  it('stays open while one of its threads is inside run, parked or not', () => {
    withHeap(configuration, {}, (heap) => {
      const node = heap.defineShape('Node', { key: 'i32' })
      heap.run((m) => {
        const kept = m.scope().new(node, { key: 1 })
        m.parked(() => {
          expect(failure(() => heap.close()).message).toMatch(
            /^close\(\) inside m\.parked\(\), inside heap\.run\(\): return/,
          )
          expect(failure(() => kept.key).code).toBe('ERR_NOT_RUNNING')
          // A run in there ends its own scopes and no others.
          const left = heap.run((n) => n.scope().new(node, { key: kept.key + 1 }))
          expect(left.alive).toBe(false)
          expect(failure(() => heap.close()).code).toBe('ERR_RUNNING')
          expect(failure(() => kept.key).code).toBe('ERR_NOT_RUNNING')
        })
        expect(kept.key).toBe(1)
        expect(failure(() => heap.close()).message).toMatch(/^close\(\) inside heap\.run\(\)/)
        expect(() =>
          m.parked(() => {
            throw new Error('mine')
          }),
        ).toThrow('mine')
        expect(kept.key).toBe(1)
      })
      heap.close()
      expect(heap.closed).toBe(true)
    })
  })

  it.runIf(configuration.concurrent)('can be closed after a termination inside parked, which nothing can catch', () => {
    withHeap(configuration, {}, (heap) => {
      const forever = (): void => {
        for (;;);
      }
      const program = (): unknown => heap.run((m) => m.parked(forever))
      expect(() => runInNewContext('program()', { program }, { timeout: 50 })).toThrow(/timed out/)
      heap.close()
    })
  })

  it('has one collection in common for all who ask while one is under way, also when that one has just ended', async () => {
    const heap = Heap.create({ maxBytes: '4m', ...configuration.options })
    const { collector } = heap._core as { collector: { collectAsync(): Promise<void> } }
    const collectAsync = collector.collectAsync.bind(collector)
    let begun = 0
    let third: Promise<void> | undefined
    collector.collectAsync = () => {
      const collection = collectAsync()
      // Before what the heap does at its end; so the third comes after that, and before the next collection begins.
      if (begun++ === 0) void collection.then(() => queueMicrotask(() => (third = heap.collect())))
      return collection
    }
    await Promise.all([heap.collect(), heap.collect()])
    await third
    expect([third, begun]).toEqual([expect.any(Promise), 2])
    heap.close()
  })

  it('says of what found no room that the heap was closed, if its owner has closed it meanwhile', () => {
    for (const meet of ['allocateSlow', 'createArea']) {
      const heap = Heap.create({ maxBytes: '4m', ...configuration.options })
      const bytes = heap.defineArray('Bytes', 'u8')
      const { collector, views } = heap._core as unknown as { collector: Record<string, unknown>; views: Views }
      heap.run((m) => {
        // As another thread does it.
        collector[meet] = () => {
          views.control[Word.HeapState] = 1
          return meet === 'allocateSlow' ? 0 : -1
        }
        const use = { allocateSlow: () => m.allocArray(bytes, 100_000), createArea: () => m.roots.table('ref', 1) }
        expect(failure(use[meet as keyof typeof use]).code).toBe('ERR_HEAP_CLOSED')
        views.control[Word.HeapState] = 0
        Reflect.deleteProperty(collector, meet)
      })
      heap.close()
    }
  })

  it('refuses functions that would leave run in the middle', () => {
    withHeap(configuration, {}, (heap) => {
      const cases = [async () => {}, function* () {}, async function* () {}]
      for (const fn of cases as (() => unknown)[]) {
        expect(failure(() => heap.run(fn)).code).toBe('ERR_ASYNC_RUN')
        expect(failure(() => heap.run((m) => m.parked(fn))).message).toMatch(
          /^m\.parked takes a synchronous function; got/,
        )
        expect(failure(() => heap.run((m) => m.scoped(fn))).message).toMatch(
          /^m\.scoped takes a synchronous function; got/,
        )
      }
      expect(failure(() => heap.run(cases[0] as () => unknown)).message).toMatch(
        /synchronous function; got AsyncFunction/,
      )
      expect(failure(() => heap.run(5 as never)).message).toMatch(/heap\.run takes a function; got 5/)
      expect(failure(() => heap.run((m) => m.parked(undefined as never))).message).toMatch(/m\.parked takes a function/)
      expect(failure(() => heap.run((m) => m.scoped(undefined as never))).message).toMatch(/m\.scoped takes a function/)
      expect(heap.run(((m: Mutator) => m.parked(() => 1)).bind(null))).toBe(1)
    })
  })

  it('refuses a promise for a result of run, when all is done', () => {
    withHeap(configuration, {}, (heap) => {
      const odd = heap.defineShape('Odd', { then: 'f64' })
      let done = 0
      const promising = (): Promise<number> => Promise.resolve(++done)
      expect(failure(() => heap.run(promising))).toMatchObject({ code: 'ERR_ASYNC_RUN' })
      expect(failure(() => heap.run(() => heap.run(promising))).message).toMatch(/one that returned a Promise: what/)
      expect(done).toBe(2)
      expect(heap.run(() => failure(() => heap.run(() => ({ then: () => 0 }))).code)).toBe('ERR_ASYNC_RUN')
      expect(heap.run((m) => m.scope().new(odd)).alive).toBe(false)
      expect(heap.run(() => ({ then: 1 }))).toEqual({ then: 1 })
    })
  })

  it('says so when anything is used outside run', () => {
    withHeap(configuration, {}, (heap) => {
      const node = heap.defineShape('Node', { next: 'ref' })
      const bytes = heap.defineArray('Bytes', 'u8')
      const { m, allocate, allocateArray, table } = heap.run((m: Mutator) => ({
        m,
        allocate: m.allocator(node),
        allocateArray: m.arrayAllocator(bytes),
        table: m.roots.table('ref', 1),
      }))
      const uses: (() => unknown)[] = [
        allocate,
        () => allocateArray(1),
        () => m.alloc(node),
        () => m.allocArray(bytes, 1),
        () => m.allocArray(bytes, 100_000),
        () => m.newString(bytes, 'x'),
        () => m.poll(),
        () => m.scope(),
        () => m.scoped(() => 0),
        () => m.parked(() => 0),
        () => m.getValue(4096 as Ref, 1),
        () => m.identityHash(4096 as Ref),
        () => m.copyOut(4096 as Ref),
        () => m.readString(4096 as Ref),
        () => table.get(0),
        () => table.set(0, 0),
        () => heap.global(undefined as never),
      ]
      for (const use of uses) expect(failure(use)).toMatchObject({ code: 'ERR_NOT_RUNNING' })
      expect(failure(allocate).message).toMatch(/outside heap\.run\(\)/)
      heap.run((n) => n.parked(() => expect(failure(allocate).code).toBe('ERR_NOT_RUNNING')))
    })
  })

  it('says so when anything is used after close, and closes once', async () => {
    const heap = Heap.create({ maxBytes: '4m', ...configuration.options })
    const node = heap.defineShape('Node', { next: 'ref' })
    const { m, handle, allocate, kept } = heap.run((m) => {
      expect(failure(() => heap.close()).code).toBe('ERR_RUNNING')
      const handle = m.scope().new(node)
      const stack = m.roots.stack('ref', 1)
      expect(stack.limitIndex).toBeGreaterThan(0)
      const kept: Disposable[] = [stack, m.roots.table('value', 1), m.scope(), heap.global(handle), heap.weak(handle)]
      return { m, handle, allocate: m.allocator(node), kept }
    })
    heap.close()
    heap.close()
    // As the end of a `using` block does it: twice, and with nothing left to give back.
    for (const disposable of [...kept, ...kept]) disposable[Symbol.dispose]()
    expect(heap.closed).toBe(true)
    const uses = [
      () => heap.run(() => 0),
      () => heap.defineShape('Other', {}),
      () => heap.defineArray('Other', 'u8'),
      () => heap.collectSync(),
      () => heap.stats(),
      () => heap.verify(),
      () => heap.share(),
      () => m.scope(),
      () => m.poll(),
      () => m.reserve(64),
      () => m.roots.stack('ref', 1),
      () => m.roots.table('ref', 1),
      () => allocate(),
      () => handle.next,
      () => handle.ref,
    ]
    for (const use of uses) expect(failure(use)).toMatchObject({ code: 'ERR_HEAP_CLOSED' })
    await expect(heap.collect()).rejects.toMatchObject({ code: 'ERR_HEAP_CLOSED' })
  })

  it.runIf(!configuration.concurrent)('says so when its own buffer was transferred away', () => {
    const heap = Heap.create({ maxBytes: '1m', ...configuration.options })
    const node = heap.defineShape('Node', { next: 'ref' })
    const kept = heap.run((m) => m.scoped((scope) => heap.global(scope.new(node))))
    expect(kept.handle.alive).toBe(true)
    heap.run((m) => structuredClone(m.i32, { transfer: [m.i32.buffer as ArrayBuffer] }))
    expect(kept.handle.alive).toBe(false)
    expect(failure(() => heap.run((m) => m.alloc(node)))).toMatchObject({ code: 'ERR_HEAP_CLOSED' })
    expect(failure(() => heap.collectSync()).message).toMatch(
      /own buffer was transferred .* transfer copies, which m.copy/,
    )
    heap.close()
  })

  it('runs several heaps side by side', () => {
    withHeap(configuration, { maxBytes: '4m' }, (a) => {
      withHeap(configuration, { maxBytes: '4m' }, (b) => {
        const shapes = [a, b].map((heap) => heap.defineShape('Node', { key: 'i32', next: 'ref' }))
        a.run((m) =>
          b.run((n) => {
            m.scoped((s) =>
              n.scoped((t) => {
                const [x, y] = [s.new(shapes[0], { key: 1 }), t.new(shapes[1], { key: 2 })]
                for (let i = 0; i < 1000; i++) {
                  x.next = s.new(shapes[0], { key: i })
                  y.next = t.new(shapes[1], { key: -i })
                }
                a.collectSync()
                b.collectSync()
                expect([x.next?.get('key'), y.next?.get('key')]).toEqual([999, -999])
              }),
            )
          }),
        )
      })
    })
  })

  it('throws ERR_HEAP_EXHAUSTED when live data fills it, and is valid and usable after dropping some', () => {
    withHeap(configuration, { maxBytes: '4m' }, (heap) => {
      const node = heap.defineShape('Node', { next: 'ref', a: 'f64', b: 'f64' })
      const numbers = heap.defineArray('Numbers', 'f64')
      const refs = heap.defineArray('Refs', 'ref')
      heap.run((m) => {
        const table = m.roots.table('ref', 1)
        const fill = (): number => {
          for (let count = 0; ; count++) {
            const ref = m.alloc(node)
            m.setRef(ref, node.at.next, table.get(0) as Ref)
            table.set(0, ref)
            if (count > 1e6) throw new Error('never full')
          }
        }
        const full = failure(fill)
        expect(full.code).toBe('ERR_HEAP_EXHAUSTED')
        expect(full.message).toMatch(/maxBytes = 4194304/)
        expect(full.message).toMatch(
          configuration.collects ? /drop references/ : /larger maxBytes or with another coll/,
        )
        if (!configuration.collects) expect(full.message).not.toMatch(/drop references/)
        heap.assertValid()
        expect(heap.verify().bytes).toBeGreaterThan(2 * 2 ** 20)
        expect(heap.verify().bytes).toBeLessThanOrEqual(4 * 2 ** 20)
        expect(failure(fill).code).toBe('ERR_HEAP_EXHAUSTED')
        expect(failure(() => m.allocArray(numbers, 2 ** 18)).message).toMatch(/live data fills|and collector 'none'/)
        const tooLong = failure(() => m.allocArray(numbers, 2 ** 20))
        expect(tooLong.code).toBe('ERR_HEAP_EXHAUSTED')
        expect(tooLong.message).toMatch(/^an object of 8388616 bytes can never fit into maxBytes = 4194304: create/)
        expect(failure(() => m.allocArray(refs, 2 ** 30 - 1)).code).toBe('ERR_HEAP_EXHAUSTED')
        expect(failure(() => m.allocArray(numbers, 2 ** 30 - 1)).code).toBe('ERR_HEAP_EXHAUSTED')
        if (!configuration.collects) return
        table.set(0, 0)
        for (let i = 0; i < 300_000; i++) m.alloc(node)
        m.allocArray(numbers, 2 ** 17)
        expect(heap.verify().objects).toBe(0)
      })
    })
  })

  it('gives the same graph for the same program as any other collector', () => {
    // One fixed program; the expected hash is the oracle's, the stop-the-world collector's.
    const program = (heap: Heap): string =>
      heap.run((m) => {
        const node = heap.defineShape('Node', { left: 'ref', right: 'ref', v: 'value' })
        const table = m.roots.table('ref', 64)
        let seed = 1
        const random = (end: number): number => (seed = (seed * 48271) % 2147483647) % end
        for (let i = 0; i < 64; i++) table.set(i, m.alloc(node))
        for (let i = 0; i < 30_000; i++) {
          const ref = m.alloc(node)
          m.setRef(ref, node.at.left, table.get(random(64)) as Ref)
          m.setValueNumber(ref, node.at.v, i)
          m.setRef(table.get(random(64)) as Ref, node.at.right, table.get(random(64)) as Ref)
          m.setValueRef(table.get(random(64)) as Ref, node.at.v, ref)
          if (random(3) === 0) table.set(random(64), ref)
          else m.setRef(table.get(random(64)) as Ref, node.at.left, 0)
        }
        const { hash, objects } = graphHash(heap)
        heap.collectSync()
        const after = graphHash(heap)
        expect(after).toEqual({ hash, objects })
        expect(heap.verify().objects).toBe(objects)
        return hash
      })
    const expected = program(Heap.create({ maxBytes: '64m', collector: 'stop-the-world' }))
    withHeap(configuration, { maxBytes: '64m' }, (heap) => expect(program(heap)).toBe(expected))
  })
})

overAll(
  'collections',
  (configuration) => {
    it('reclaim what was dropped, of every kind, with memory that stays bounded', () => {
      withHeap(configuration, { maxBytes: '8m' }, (heap) => {
        const node = heap.defineShape('Node', { next: 'ref' })
        const numbers = heap.defineArray('Numbers', 'f64')
        const refs = heap.defineArray('Refs', 'ref')
        heap.run((m) => {
          // 40 MB of garbage through an 8 MiB heap, with large objects of both kinds.
          for (let i = 0; i < 400; i++) {
            for (let k = 0; k < 1000; k++) m.alloc(node)
            m.allocArray(numbers, 6000)
            m.allocArray(refs, 9000)
          }
        })
        const stats = heap.stats()
        expect(stats.collections).toBeGreaterThan(2)
        expect(stats.bytesAllocated).toBeGreaterThan(35e6)
        expect(stats.bytesUsed).toBeLessThanOrEqual(8 * 2 ** 20)
      })
    })

    it('leave room for larger and larger objects, where smaller ones have been', () => {
      withHeap(configuration, { maxBytes: '4m' }, (heap) => {
        const kinds = [heap.defineArray('Refs', 'ref'), heap.defineArray('Numbers', 'i32')]
        heap.run((m) => {
          // Three after each other, none of which fits into the places of those before it alone.
          for (let words = 10_000; words < 200_000; words += 1024)
            for (const kind of kinds) for (let i = 0; i < 3; i++) m.allocArray(kind, words)
        })
        heap.collectSync()
        expect(heap.verify().objects).toBe(0)
      })
    })

    it('are counted and timed, sync and async', async () => {
      const heap = Heap.create({ maxBytes: '8m', ...configuration.options })
      const node = heap.defineShape('Node', { next: 'ref' })
      heap.run((m) => {
        const scope = m.scope()
        for (let i = 0; i < 1000; i++) scope.new(node)
        heap.collectSync()
      })
      const before = heap.stats()
      await heap.collect()
      await Promise.all([heap.collect(), heap.collect()])
      // Who asks while one is under way has the next one, in common with all others who do.
      await Promise.all(Array.from({ length: 100 }, () => heap.collect()))
      expect(heap.stats().collections).toBeLessThan(before.collections + 20)
      heap.collectSync()
      const after = heap.stats()
      expect(after.collections).toBeGreaterThanOrEqual(before.collections + 3)
      expect(after.collector).toBe(configuration.options.collector)
      expect(after.maxBytes).toBe(8 * 2 ** 20)
      expect(after.phase).toBe('idle')
      const pause = configuration.concurrent ? after.pauses.remark : after.pauses.pause
      expect(pause.count).toBeGreaterThanOrEqual(after.collections)
      expect(pause.max).toBeGreaterThanOrEqual(pause.p50)
      expect(pause.p50).toBeGreaterThan(0)
      heap.close()
    })

    it('can be stepped through', () => {
      withHeap(configuration, { stepping: true }, (heap) => {
        const node = heap.defineShape('Node', { next: 'ref', key: 'i32' })
        heap.run((m) => {
          m.scoped((scope) => {
            const first = scope.new(node, { key: 1, next: scope.new(node, { key: 2 }) })
            const { hash } = graphHash(heap)
            const phases = new Set<string>()
            const before = heap.stats().collections
            for (let i = 0; i < 60 && heap.stats().collections < before + 2; i++) {
              phases.add(step(heap))
              heap.assertValid()
              m.scoped(() => expect(first.next?.get('key')).toBe(2))
              m.scoped((inner) => (first.next = inner.new(node, { key: 2 })))
            }
            expect(heap.stats().collections).toBeGreaterThan(before)
            expect(graphHash(heap).objects).toBe(3)
            expect(hash).toHaveLength(16)
            if (configuration.concurrent) expect(phases.size).toBeGreaterThan(3)
          })
        })
      })
    })
  },
  collecting,
)
