// One heap, several JS threads: the concurrent collector's heaps can be shared, opened and closed by each.
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { Heap, type Ref } from 'glissade'
import { expect, it } from 'vitest'
import { concurrent, failure, overAll } from '../conformance/configurations.js'
import { entry, inThread, reportOf, start } from './workers.js'

overAll(
  'shared heap',
  ({ options }) => {
    it('serves three threads that allocate while it collects', async () => {
      const heap = Heap.create({ maxBytes: '32m', ...options })
      const node = heap.defineShape('Node', { next: 'ref', key: 'i32' })
      const stop = new SharedArrayBuffer(4)
      const workers = [start(heap, stop), start(heap, stop)]
      const kept = heap.run((m) => m.scoped((s) => heap.global(s.new(node, { key: 42 }))))
      for (let i = 0; i < 30; i++) {
        await heap.collect()
        heap.run((m) => m.scoped((s) => Array.from({ length: 500 }, (_, key) => s.new(node, { key }))))
      }
      Atomics.store(new Int32Array(stop), 0, 1)
      for (const { report } of workers) {
        const { failures, rounds } = await report
        expect(failures).toBe(0)
        expect(rounds).toBeGreaterThan(0)
      }
      heap.run(() => expect(kept.handle.key).toBe(42))
      heap.assertValid()
      heap.close()
    })

    it.each(['allocating', 'polling', 'polling unasked', 'comparing with the stack limit', 'parked'])(
      'tells a thread that is %s that the owner has closed it',
      async (mode) => {
        const heap = Heap.create({ maxBytes: '4m', ...options })
        heap.defineShape('Node', { next: 'ref' })
        const closed = new SharedArrayBuffer(4)
        const workerData = { entry, token: heap.share(), mode, closed }
        const worker = new Worker(new URL('../fixtures/outlived.mjs', import.meta.url), { workerData })
        await once(worker, 'message')
        heap.close()
        Atomics.store(new Int32Array(closed), 0, 1)
        Atomics.notify(new Int32Array(closed), 0)
        expect((await once(worker, 'message'))[0]).toEqual(['ERR_HEAP_CLOSED', 'ERR_HEAP_CLOSED'])
      },
    )

    it('lets a thread leave that it has closed: it listens for nothing any more, and what it holds says so', async () => {
      const heap = Heap.create({ maxBytes: '4m', ...options })
      const worker = inThread(
        heap,
        `async ({ Heap }, token, port) => {
          const { once } = require('node:events')
          const listeners = () => process.listenerCount('exit')
          const before = listeners()
          const code = (action) => { try { action(); return 'nothing' } catch (error) { return error.code } }
          const first = Heap.attach(token)
          const old = first.run((m) => m)
          first.close()
          const heap = Heap.attach(token)
          const node = heap.defineShape('Node', { next: 'ref' })
          const left = heap.run((m) => [m.alloc(node) > 0 && m.index === old.index, code(() => old.reserve(64)), code(() => old.poll())])
          const during = listeners()
          port.postMessage('ready')
          await once(port, 'message')
          heap.close()
          port.unref()
          return [left, during - before, listeners() - before]
        }`,
      )
      await once(worker, 'message')
      heap.close()
      worker.postMessage('closed')
      expect((await once(worker, 'message'))[0]).toEqual([[true, 'ERR_HEAP_CLOSED', 'ERR_HEAP_CLOSED'], 1, 0])
    })

    it('is inspected with what other threads hold, which stand still for that', async () => {
      using heap = Heap.create({ maxBytes: '16m', ...options })
      const node = heap.defineShape('Node', { next: 'ref' })
      const worker = inThread(
        heap,
        `async ({ Heap }, token, port) => {
          const heap = Heap.attach(token)
          const node = heap.defineShape('Node', { next: 'ref' }), mine = heap.defineShape('Mine', { list: 'ref' })
          let stop = false
          port.on('message', () => (stop = true))
          heap.run((m) => {
            const table = m.roots.table('ref', 1, { name: 'theirs' })
            table.set(0, m.alloc(mine))
          })
          port.postMessage('ready')
          // A list of 500 nodes is made, held and let go: between safepoints there is a whole one or none.
          while (!stop) {
            heap.run((m) => {
              const stack = m.roots.stack('ref', 1)
              m.reserve(8000)
              let list = 0
              for (let i = 0; i < 500; i++) {
                const next = m.alloc(node)
                m.setRef(next, node.at.next, list)
                list = next
              }
              stack.top = 1
              m.rootsI32[stack.base] = list
              m.poll()
              stack.free()
            })
            await new Promise(setImmediate)
          }
          heap.close()
          return 'done'
        }`,
      )
      await once(worker, 'message')
      const seen = new Set<number>()
      for (const end = performance.now() + 20_000; seen.size < 2 && performance.now() < end;) {
        const { shapes } = heap.census()
        const nodes = shapes.find(({ name }) => name === 'Node')?.objects ?? 0
        expect([0, 500]).toContain(nodes)
        seen.add(nodes)
        expect(shapes.find(({ name }) => name === `shape ${node.id + 1}`)).toMatchObject({ objects: 1, bytes: 16 })
        const path = heap.pathTo((ref, m) => m.shapeOf(ref) === node.id + 1)
        expect(path?.[0]).toMatch(/^root area \d+\[0\]$/)
      }
      expect([...seen].sort()).toEqual([0, 500])
      worker.postMessage('stop')
      expect((await once(worker, 'message'))[0]).toBe('done')
    })

    it("tells in checked mode that an object may be another thread's", async () => {
      using heap = Heap.create({ maxBytes: '16m', checked: true, ...options })
      const node = heap.defineShape('Node', { next: 'ref', key: 'i32' })
      heap.run((m) => {
        const alone = failure(() => m.shapeOf((heap.options.maxBytes / 8) as Ref))
        expect(alone.message).toMatch(/no object begins at \d+$/)
      })
      const slot = await reportOf(
        heap,
        `({ Heap }, token) => {
          const heap = Heap.attach(token)
          const node = heap.defineShape('Node', { next: 'ref', key: 'i32' })
          return heap.run((m) => {
            const table = m.roots.table('ref', 1)
            const ref = m.alloc(node)
            table.set(0, ref)
            return [table.index, ref]
          })
        }`,
      )
      const [index, ref] = slot as [number, Ref]
      heap.run((m) => {
        const told = [() => m.i32[ref + node.at.key], () => m.shapeOf(ref), () => m.getRef(ref, node.at.next)].map(
          failure,
        )
        expect(told.map(({ code }) => code)).toEqual(['ERR_BOUNDS', 'ERR_BAD_REF', 'ERR_BAD_REF'])
        for (const { message } of told)
          expect(message).toMatch(/or another thread allocated it since the last collection$/)
        heap.collectSync()
        expect(m.i32[(m.roots.tableAt('ref', index).get(0) as Ref) + node.at.key]).toBe(0)
      })
    })

    it('is opened once by a thread', () => {
      const heap = Heap.create({ maxBytes: '4m', ...options })
      const token = heap.share()
      const refused = failure(() => Heap.attach(token))
      expect(refused.code).toBe('ERR_BAD_VALUE')
      expect(refused.message).toMatch(
        /^this thread has this heap open already: use that Heap object, or close it first/,
      )
      expect(failure(() => Heap.attach(heap.share())).code).toBe('ERR_BAD_VALUE')
      // The refused one has left, and the other is as it was.
      const node = heap.defineShape('Node', { next: 'ref' })
      heap.run((m) => m.alloc(node))
      heap.collectSync()
      heap.close()
      expect(failure(() => Heap.attach(token)).code).toBe('ERR_HEAP_CLOSED')
    })

    it('is not opened by a token whose shapes are not those of the heap', () => {
      using heap = Heap.create({ maxBytes: '4m', ...options })
      heap.defineShape('Node', { next: 'ref', n: 'i32' })
      heap.defineArray('Bytes', 'u8')
      const token = heap.share()
      const [node, bytes] = token.shapes
      for (const wrong of [
        { ...node, slots: { next: 'ref', n: 'i32', more: 'f64' } },
        { ...node, slots: {} },
        // As long, with its reference in another place, with two, with none, with a value.
        { ...node, slots: { n: 'i32', next: 'ref' } },
        { ...node, slots: { next: 'ref', n: 'ref' } },
        { ...node, slots: { next: 'i32', n: 'i32' } },
        { ...node, slots: { next: 'value' } },
        { ...node, slots: 'ref' },
        { ...node, id: bytes.id },
        { ...bytes, slots: 'u16' },
        { ...bytes, slots: { a: 'f64' } },
        { ...bytes, id: bytes.id + 1 },
        { ...bytes, id: 1 },
        { ...bytes, id: -1 },
        { ...bytes, id: '2' },
      ]) {
        const { code, message } = failure(() => Heap.attach({ ...token, shapes: [wrong] } as never))
        expect(code).toBe('ERR_BAD_SHAPE')
        expect(message).toMatch(/^shape '(Node|Bytes)' of the token is not shape .* of the heap$/)
      }
    })

    it('is opened by a thread again that has closed it', async () => {
      const heap = Heap.create({ maxBytes: '4m', ...options })
      const program = `
      import('node:worker_threads').then(async ({ workerData, parentPort }) => {
        const { Heap } = await import(workerData.entry)
        const codes = []
        const first = Heap.attach(workerData.token)
        try { Heap.attach(workerData.token) } catch (error) { codes.push(error.code) }
        try { Heap.attach(first.share()) } catch (error) { codes.push(error.code) }
        first.close()
        const again = Heap.attach(workerData.token)
        codes.push(again.run(() => 'runs'))
        again.close()
        parentPort.postMessage(codes)
      })`
      const worker = new Worker(program, { eval: true, workerData: { entry, token: heap.share() } })
      expect((await once(worker, 'message'))[0]).toEqual(['ERR_BAD_VALUE', 'ERR_BAD_VALUE', 'runs'])
      heap.close()
    })

    it('is closed for good to what a thread had of it before it opened it again', async () => {
      using heap = Heap.create({ maxBytes: '4m', ...options })
      heap.defineShape('Node', { next: 'ref', key: 'f64' })
      const codes = await reportOf(
        heap,
        `({ Heap }, token) => {
      const slots = { next: 'ref', key: 'f64' }
      const left = Heap.attach(token)
      const node = left.defineShape('Node', slots)
      const bytes = left.defineArray('Bytes', 'u8')
      let m, scope, table
      const globals = left.run((mutator) => {
        m = mutator
        scope = m.scope()
        table = m.roots.table('ref', 1)
        m.allocArray(bytes, m.lengthOf(m.allocArray(bytes, m.i32[m.alloc(node)])))
        return [1, 2, 3].map((key) => left.global(scope.new(node, { key })))
      })
      globals[0].release()
      left.close()
      const again = Heap.attach(token)
      const other = again.defineShape('Node', slots)
      return again.run((n) => n.scoped((s) => {
        const kept = [1, 2, 3].map((key) => again.global(s.new(other, { key })))
        const codes = [() => globals[1].handle.key, () => (globals[2].handle.key = 9), () => globals[1].handle.get('key'),
          () => globals[1].handle.ref, () => globals[1].handle.is(globals[2].handle), () => m.alloc(node),
          () => m.allocArray(bytes, 1), () => m.allocator(node), () => m.scope(), () => scope.new(node), () => m.poll(),
          () => table.get(0), () => left.global(globals[1].handle), () => left.run(() => 0)].map((use) => {
          try { return String(use()) } catch (error) { return error.code }
        })
        globals[1].release()
        return [[...new Set(codes)], [globals[1].open, globals[1].handle.alive], kept.map(({ handle }) => handle.key)]
      }))
    }`,
      )
      expect(codes).toEqual([['ERR_HEAP_CLOSED'], [false, false], [1, 2, 3]])
    })
  },
  concurrent,
)

it('is refused by collectors of one thread', () => {
  using heap = Heap.create({ maxBytes: '1m', collector: 'stop-the-world' })
  expect(failure(() => heap.share())).toMatchObject({ code: 'ERR_NO_SHARING' })
  expect(failure(() => Heap.attach({} as never)).message).toMatch(/takes what heap.share\(\) returned/)
})
