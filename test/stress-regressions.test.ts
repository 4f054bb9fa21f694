// What stress found, each bug as a short program of its own.
import { spawnSync } from 'node:child_process'
import { Heap, type ObjectHandle, type Ref } from 'glissade'
import { step } from 'glissade/testing'
import { expect, it } from 'vitest'
import { planEpisode } from '../dist/cli/stress/plan.js'
import { loadNative } from '../dist/gc/native-loader.js'
import type { NativeBinding } from '../dist/gc/native.js'
import { oracleHere } from '../dist/testing/differential.js'

const concurrent = oracleHere().some(({ options }) => options.collector === 'concurrent')

// The checked heap traces its objects anew after a flip. An object that lost its last strong reference after it had been
// marked is still there, and its weak reference still gives it: the trace must know it.
it.runIf(concurrent)('a checked heap knows an object that only a weak reference still gives', () => {
  const heap = Heap.create({ collector: 'concurrent', maxBytes: '4m', checked: true, stepping: true })
  const Thing = heap.defineShape('Thing', { number: 'i32' })
  heap.run((m) => {
    const { strong, weak } = m.scoped((scope) => {
      const thing = scope.new(Thing, { number: 7 })
      return { strong: heap.global(thing), weak: heap.weak(thing) }
    })
    for (let phase = step(heap, 0); phase !== 'prepare' && phase !== 'reclaim' && phase !== 'compact';)
      phase = step(heap)
    strong.release()
    while (step(heap) !== 'idle');
    m.poll()
    m.scoped(() => expect(weak.get()?.number).toBe(7))
  })
  heap.close()
})

// A table that is made after the pause that has found an object due, and before it is handed over, knows nothing of it.
it.runIf(concurrent)('a checked heap knows what a guardian hands out, and what that leads to', () => {
  const heap = Heap.create({ collector: 'concurrent', maxBytes: '4m', checked: true, stepping: true })
  const Thing = heap.defineShape('Thing', { number: 'i32', next: 'ref', any: 'value' })
  const guardian = heap.guardian<ObjectHandle<typeof Thing.slots>>()
  const thing = heap.run((m) => {
    const scope = m.scope()
    const third = scope.new(Thing, { number: 3 })
    const made = scope.new(Thing, { number: 1, next: scope.new(Thing, { number: 2, any: third }) })
    third.next = made
    guardian.guard(made)
    return heap.global(made)
  })
  // Outside run: objects move, and no table is made yet.
  heap.collectSync()
  thing.release()
  while (step(heap) !== 'reclaim');
  heap.run((m) => m.poll())
  while (step(heap) !== 'prepare');
  heap.run((m) => {
    m.scoped(() => {
      const first = guardian.next()
      const second = first?.next?.as(Thing)
      const third = second?.any as ObjectHandle<typeof Thing.slots>
      expect([first?.number, second?.number, third.number, third.next?.is(first)]).toEqual([1, 2, 3, true])
    })
  })
  heap.close()
})

// Level 1 stopped after the first root that it looked at.
it.runIf(concurrent)('verification of level 1 looks at every root', () => {
  const heap = Heap.create({ collector: 'concurrent', maxBytes: '4m', verify: 1 })
  const Thing = heap.defineShape('Thing', { number: 'i32' })
  heap.run((m) => {
    const table = m.roots.table('ref', 2)
    table.set(1, m.alloc(Thing))
    // A Ref into memory that was never handed out: no object begins there.
    table.set(0, ((table.get(1) as number) + 400_000) as Ref)
  })
  expect(() => heap.collectSync()).toThrow(/has no shape .*held by a root/)
  heap.close()
})

// A refused move is an error in a heap that asked for moves alone, so a run of stress must not call it a violation.
it('stress injects no refusal where moving is demanded', () => {
  const options = { seconds: 1, seed: 0, collector: 'auto', workloads: [], checked: false } as const
  const refusing = (relocation?: 'move'): number => {
    let plans = 0
    for (let seed = 0; seed < 300; seed++) {
      const { inject } = planEpisode({ ...options, relocation }, seed, ['lists'], 1)
      if (/move:E(BUSY|NOMEM|FAULT)/.test(inject)) plans++
    }
    return plans
  }
  expect(refusing('move')).toBe(0)
  expect(refusing()).toBeGreaterThan(10)
})

// The collection after a flip that the kernel refused found large objects black that had been born since.
it.runIf(concurrent)('after a refused flip allocation is white again', () => {
  const binding = loadNative().exports as unknown as NativeBinding
  const heap = Heap.create({ collector: 'concurrent', maxBytes: '8m', stepping: true })
  const Thing = heap.defineShape('Thing', { number: 'i32' })
  const Refs = heap.defineArray('Refs', 'ref')
  const freed = (): number => heap.stats().raw.counters['largeFreed']
  heap.run((m) => {
    // Garbage to compact: else there is no flip to refuse.
    for (let i = 0; i < 50_000; i++) m.alloc(Thing)
    binding.configureInjection('mremap:ENOMEM=once', 1)
    heap.collectSync()
    binding.configureInjection('', 0)
    expect(heap.stats().raw.counters['flipsCancelled']).toBe(1)
    const before = freed()
    expect(step(heap, 1)).toBe('mark')
    m.allocArray(Refs, 20_000)
    while (step(heap, 1) !== 'idle');
    expect(freed()).toBe(before + 1)
  })
  heap.close()
})

// The toucher sleeps in the kernel until somebody wakes it; the compaction that would end its wait rests at a gate.
it.runIf(concurrent)('a page fault that a thread serves ends while the collection rests', () => {
  const program = `
    import { Heap } from 'glissade'
    import { step } from 'glissade/testing'
    const heap = Heap.create({ collector: 'concurrent', maxBytes: '8m', stepping: true, faults: 'thread' })
    const Node = heap.defineShape('Node', { next: 'ref', number: 'i32' })
    heap.run((m) => {
      const kept = m.roots.table('ref', 1)
      for (let i = 0; i < 20_000; i++) {
        const node = m.alloc(Node)
        m.alloc(Node)
        m.setRef(node, Node.at.next, kept.get(0))
        m.i32[node + Node.at.number] = i
        kept.set(0, node)
      }
      while (step(heap, 1) !== 'compact');
      let sum = 0
      for (let node = kept.get(0); node !== 0; node = m.getRef(node, Node.at.next)) sum += m.i32[node + Node.at.number]
      console.log(sum, heap.stats().barrierFaults > 10)
    })
    process.exit()`
  const run = spawnSync(process.execPath, ['--input-type=module', '--eval', program], {
    encoding: 'utf8',
    timeout: 120_000,
    killSignal: 'SIGKILL',
  })
  expect({ signal: run.signal, out: run.stdout, err: run.stderr }).toEqual({
    signal: null,
    out: '199990000 true\n',
    err: '',
  })
})

// Only EBUSY was an error; the other refusals were copied without a word.
it.runIf(concurrent).each(['EBUSY', 'ENOMEM', 'EFAULT'])(
  'a page refused with %s is an error under move alone',
  (errno) => {
    const binding = loadNative().exports as unknown as NativeBinding
    const collect = (relocation: 'move' | 'auto'): unknown => {
      using heap = Heap.create({ collector: 'concurrent', maxBytes: '8m', relocation })
      const Thing = heap.defineShape('Thing', { number: 'i32' })
      heap.run((m) => {
        const kept = m.roots.table('ref', 100)
        for (let i = 0; i < 50_000; i++) {
          const thing = m.alloc(Thing)
          m.i32[thing + Thing.at.number] = i
          if (i % 500 === 0) kept.set(i / 500, thing)
        }
      })
      binding.configureInjection(`move:${errno}=once`, 1)
      try {
        heap.collectSync()
        return undefined
      } catch (error) {
        return error
      } finally {
        binding.configureInjection('', 0)
        // The page was placed all the same: the heap is whole, and the next collection has nothing to complain about.
        heap.assertValid()
        heap.collectSync()
      }
    }
    expect(collect('auto')).toBeUndefined()
    expect(collect('move')).toMatchObject({
      code: 'ERR_RELOCATION',
      message: expect.stringMatching(/could not be moved/),
    })
  },
)

// A checked heap makes its table of objects anew when they have moved, and stops the other threads for it. Another thread
// that stops everybody first, for a collection, had the object that was being allocated collected: no root held it yet.
it.runIf(concurrent)('a new object of a checked heap survives a collection that comes while the table is made', () => {
  const heap = Heap.create({ collector: 'concurrent', maxBytes: '4m', checked: true, stress: { everyAllocations: 3 } })
  const { collector } = heap._core
  const stopped = collector.stopped.bind(collector)
  let collections = 0
  // What waiting for one's turn may be: a safepoint with a whole collection in it.
  collector.stopped = (mutator, work) => {
    collections++
    collector.collect(mutator)
    return stopped(mutator, work)
  }
  const Thing = heap.defineShape('Thing', { number: 'i32' })
  heap.run((m) => {
    const last = m.roots.table('ref', 1)
    for (let i = 0; i < 30; i++) {
      const thing = m.alloc(Thing)
      m.i32[thing + Thing.at.number] = i
      expect(m.shapeOf(thing)).toBe(Thing.id)
      if (i > 0) expect(m.i32[(last.get(0) as Ref) + Thing.at.number]).toBe(i - 1)
      last.set(0, thing)
    }
  })
  expect(collections).toBeGreaterThanOrEqual(10)
  collector.stopped = stopped
  heap.assertValid()
  heap.close()
})

// The boundary between small and large objects comes down into pages that the moving space has used and recycled, once the
// holes among the large ones are too short.
it.runIf(concurrent)('a large object begins as zeros where small ones have been', () => {
  using heap = Heap.create({ collector: 'concurrent', maxBytes: '4m' })
  const Thing = heap.defineShape('Thing', { a: 'f64', b: 'f64', c: 'f64' })
  const Refs = heap.defineArray('Refs', 'ref')
  const pages = (n: number): number => n * 1024 - 2
  heap.run((m) => {
    const large = m.roots.table('ref', 400)
    let count = 0
    const add = (length: number): void => {
      const array = m.allocArray(Refs, length)
      for (let i = 0; i < length; i++) {
        if (m.i32[array + Refs.elementsAt + i] !== 0) expect.fail(`element ${i} of array ${count} is not null`)
      }
      large.set(count++, array)
    }
    for (let i = 0; i < 110_000; i++) {
      const thing = m.alloc(Thing)
      m.f64[(thing >>> 1) + Thing.at.a] = m.f64[(thing >>> 1) + Thing.at.c] = i + 0.1
    }
    heap.collectSync()
    for (let i = 0; i < 78; i++) add(pages(12))
    for (let i = 0; i < 78; i++) if (i % 4 !== 0) large.set(i, 0 as Ref)
    heap.collectSync()
    for (let i = 0; i < 18; i++) add(pages(37))
  })
  heap.assertValid()
})

// A page that ends early, the last one or one before a run of whole pages, took for whole what it was made from.
it.runIf(concurrent)('a page whose first and last object live slides with its holes closed', () => {
  for (const verify of [0, 4]) {
    using heap = Heap.create({ collector: 'concurrent', maxBytes: '4m', verify })
    const Thing = heap.defineShape('Thing', { number: 'i32' })
    const perPage = 4096 / 16
    heap.run((m) => {
      const kept = m.roots.table('ref', 3)
      const numbers = [0, 100, perPage - 1]
      for (let i = 0; i < perPage; i++) {
        const thing = m.alloc(Thing)
        m.i32[thing + Thing.at.number] = i
        if (numbers.includes(i)) kept.set(numbers.indexOf(i), thing)
      }
      heap.collectSync()
      expect(numbers.map((_, k) => m.i32[(kept.get(k) as Ref) + Thing.at.number])).toEqual(numbers)
      expect(numbers.map((_, k) => m.shapeOf(kept.get(k) as Ref))).toEqual([Thing.id, Thing.id, Thing.id])
    })
    heap.assertValid()
  }
})
