// A thread that ends, however it does, leaves the heaps that it shares, and what it had of them goes back.
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { Heap, Tagged, type Ref } from 'glissade'
import { expect, it } from 'vitest'
import { concurrent, failure, overAll } from '../conformance/configurations.js'
import { entry, inThread, reportOf, start } from './workers.js'

overAll(
  'shared heap',
  ({ options }) => {
    it('outlives a thread that is terminated inside run', async () => {
      const heap = Heap.create({ maxBytes: '16m', ...options })
      heap.defineShape('Node', { next: 'ref', key: 'i32' })
      const stop = new SharedArrayBuffer(4)
      Atomics.store(new Int32Array(stop), 0, 1)
      const { worker, report } = start(heap, stop, true)
      await report
      await worker.terminate()
      await heap.collect()
      heap.collectSync()
      heap.assertValid()
      heap.close()
    })

    it('gets back the root areas of threads that left', async () => {
      // Everything that a thread has of its own: 64 KiB of stacks and as much of handles, in a root region of 1 MiB.
      using heap = Heap.create({ maxBytes: '32m', maxRootBytes: '1m', ...options })
      const node = heap.defineShape('Node', { next: 'ref', key: 'i32' })
      const kept = heap.run((m) => m.scoped((s) => heap.global(s.new(node, { key: 42 }))))
      const visits = await reportOf(
        heap,
        `({ Heap }, token) => {
      for (let round = 0; round < 70; round++) {
        const visitor = Heap.attach(token)
        const own = visitor.defineShape('Node', { next: 'ref', key: 'i32' })
        visitor.run((m) => {
          const stack = m.roots.stack('ref', 8 * 1024)
          m.roots.stack('value', 4 * 1024)
          const scope = m.scope()
          for (let i = 0; i < 2000; i++) scope.new(own)
          const [first, last] = [scope.new(own, { key: 1 }), scope.new(own, { key: 2 })]
          visitor.global(first)
          visitor.weak(first)
          stack.set(0, last.ref)
          stack.top = 1
        })
        if (round % 20 === 0) visitor.collectSync()
        visitor.close()
      }
      return 'left'
    }`,
      )
      expect(visits).toBe('left')
      heap.collectSync()
      // What they held has gone with them; what this thread holds, and tables, have not.
      expect(heap.verify().objects).toBe(1)
      heap.run(() => expect(kept.handle.key).toBe(42))
    })

    it('leaves tables to the heap when the thread that made them leaves', async () => {
      using heap = Heap.create({ maxBytes: '4m', ...options })
      const node = heap.defineShape('Node', { next: 'ref', key: 'i32' })
      const slot = await reportOf(
        heap,
        `({ Heap }, token) => {
      const visitor = Heap.attach(token)
      const own = visitor.defineShape('Node', { next: 'ref', key: 'i32' })
      const slot = visitor.run((m) => {
        const table = m.roots.table('ref', 8)
        m.scoped((s) => table.set(3, s.new(own, { key: 42 }).ref))
        return table.base + 3
      })
      visitor.close()
      return slot
    }`,
      )
      heap.collectSync()
      heap.run((m) => m.scoped((s) => expect(s.handle(m.rootsI32[slot as number] as Ref, node).key).toBe(42)))
    })

    it('gets back the tables of threads that ended, from whoever opens them by their index', async () => {
      // A table that takes the whole root region, or all but the page of a handle.
      using heap = Heap.create({ maxBytes: '16m', maxRootBytes: '1m', ...options })
      const node = heap.defineShape('Node', { next: 'ref', key: 'i32' })
      const most = 250 * 1024
      for (const kind of ['ref', 'value'] as const) {
        const slots = kind === 'ref' ? most : most / 2
        const worker = new Worker(
          `import(${JSON.stringify(entry)}).then(({ Heap, Tagged, Tag }) => {
            const { workerData, parentPort } = require('node:worker_threads')
            const heap = Heap.attach(workerData)
            const node = heap.defineShape('Node', { next: 'ref', key: 'i32' })
            heap.run((m) => {
              const table = m.roots.table('${kind}', ${slots})
              const ref = m.alloc(node)
              m.i32[ref + node.at.key] = 42
              table.set(3, ${kind === 'ref' ? 'ref' : 'new Tagged(Tag.Ref, ref)'})
              parentPort.postMessage(table.index)
              throw new Error('it crashes')
            })
          })`,
          { eval: true, workerData: heap.share() },
        )
        const crashed = new Promise((resolve) => worker.once('error', resolve))
        // Not `once` of node:events, which fails where the error comes first.
        const index = await new Promise<number>((resolve) => worker.once('message', resolve))
        await crashed
        heap.collectSync()
        heap.run((m) => {
          expect(failure(() => m.roots.table(kind, slots)).code).toBe('ERR_ROOTS_EXHAUSTED')
          const table = m.roots.tableAt(kind, index)
          expect([table.index, table.kind, table.capacity, table.top]).toEqual([index, kind, slots, 4])
          const content = table.get(3)
          const ref = (content instanceof Tagged ? content.payload : content) as Ref
          expect(m.i32[ref + node.at.key]).toBe(42)
          table.top = 0
          heap.collectSync()
          expect(heap.verify().objects).toBe(0)
          table.free()
          m.roots.table(kind, slots).free()
        })
        await worker.terminate()
      }
    })

    it('frees a table once, whichever thread does, and not what came after it', async () => {
      using heap = Heap.create({ maxBytes: '4m', ...options })
      const [mine, value] = heap.run((m) => [m.roots.table('ref', 8, { name: 'mine' }), m.roots.table('value', 8)])
      const worker = inThread(
        heap,
        `({ Heap }, token, port) => new Promise((done) => {
          const heap = Heap.attach(token)
          port.once('message', (index) => heap.run((m) => {
            const table = m.roots.tableAt('ref', index)
            table.free()
            table.free()
            heap.collectSync()
            done(m.roots.table('ref', 16).index)
          }))
        })`,
      )
      worker.postMessage(mine.index)
      const [index] = (await once(worker, 'message')) as [number]
      // Its own is where mine was.
      expect(index).toBe(mine.index)
      heap.run((m) => {
        expect(failure(() => mine.get(0)).message).toMatch(/was freed/)
        expect(failure(() => mine.set(0, 0)).message).toMatch(/was freed/)
        expect(failure(() => (mine.top = 1)).message).toMatch(/was freed/)
        mine.free()
        const theirs = m.roots.tableAt('ref', index)
        expect(theirs.capacity).toBe(16)
        const node = heap.defineShape('Node', { next: 'ref' })
        theirs.set(0, m.alloc(node))
        expect(heap.pathTo((ref) => m.shapeOf(ref) === node.id)?.[0]).toBe(`root area ${index}[0]`)
        expect(failure(() => m.roots.tableAt('ref', value.index)).code).toBe('ERR_BOUNDS')
        expect(m.roots.tableAt('value', value.index).base).toBe(value.base)
      })
      await worker.terminate()
    })

    it('gets back the root areas of threads that were terminated', async () => {
      const heap = Heap.create({ maxBytes: '16m', maxRootBytes: '1m', ...options })
      heap.defineShape('Node', { next: 'ref', key: 'i32' })
      const stop = new SharedArrayBuffer(4)
      Atomics.store(new Int32Array(stop), 0, 1)
      // Half of the root region each.
      for (let i = 0; i < 4; i++) {
        const { worker, report } = start(heap, stop, true, 128 * 1024)
        await report
        await worker.terminate()
      }
      heap.collectSync()
      expect(heap.verify().objects).toBe(0)
      heap.close()
    })
  },
  concurrent,
)

it.runIf(concurrent.length > 0)(
  'a shared heap has room for 64 threads, and for another when one has left',
  async () => {
    using heap = Heap.create({ maxBytes: '16m', collector: 'concurrent' })
    heap.run(() => undefined)
    const visit = `({ Heap }, token, port) => {
    const heap = Heap.attach(token)
    const run = () => {
      try { return heap.run(() => 'runs') } catch (error) { return error.code + ' ' + error.message }
    }
    port.on('message', (word) => {
      if (word === 'again') return port.postMessage(run())
      heap.close()
      port.postMessage('left')
      port.close()
    })
    return run()
  }`
    const others = Array.from({ length: 63 }, () => inThread(heap, visit))
    const said = async (worker: Worker): Promise<unknown> => ((await once(worker, 'message')) as unknown[])[0]
    expect(new Set(await Promise.all(others.map(said)))).toEqual(new Set(['runs']))
    const last = inThread(heap, visit)
    expect(await said(last)).toMatch(/^ERR_MUTATORS .*at most 64 threads/)
    others[10].postMessage('leave')
    expect(await said(others[10])).toBe('left')
    last.postMessage('again')
    expect(await said(last)).toBe('runs')
    heap.collectSync()
    for (const other of [...others, last]) if (other !== others[10]) other.postMessage('leave')
    await Promise.all([...others, last].filter((o) => o !== others[10]).map(said))
  },
)
