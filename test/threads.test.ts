// One heap, several JS threads: the concurrent collector's heaps can be shared, and a thread that dies leaves them.
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { Heap, Tagged, type Ref } from 'glissade'
import { expect, it } from 'vitest'
import { concurrent, failure, overAll } from './conformance/configurations.js'

const entry = new URL('../dist/index.js', import.meta.url).href

interface Report {
  readonly failures?: number
  readonly rounds?: number
  readonly ready?: boolean
}
function start(
  heap: Heap,
  stop: SharedArrayBuffer,
  terminateMe = false,
  slots = 0,
): { worker: Worker; report: Promise<Report> } {
  const workerData = { entry, token: heap.share(), stop, terminateMe, slots }
  const worker = new Worker(new URL('./fixtures/attach.mjs', import.meta.url), { workerData })
  const report = new Promise<Report>((resolve, reject) => worker.once('message', resolve).once('error', reject))
  return { worker, report }
}

/** A thread that runs a function of what glissade exports, the heap's token and the port to here, and posts what it returns. */
function inThread(heap: Heap, body: string): Worker {
  const program = `import(${JSON.stringify(entry)}).then(async (glissade) => {
    const { workerData, parentPort } = require('node:worker_threads')
    parentPort.postMessage(await (${body})(glissade, workerData, parentPort))
  })`
  return new Worker(program, { eval: true, workerData: heap.share() })
}
async function reportOf(heap: Heap, body: string): Promise<unknown> {
  const worker = inThread(heap, body)
  const [report] = (await once(worker, 'message')) as unknown[]
  await worker.terminate()
  return report
}

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
        const worker = new Worker(new URL('./fixtures/outlived.mjs', import.meta.url), { workerData })
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

it('is refused by collectors of one thread', () => {
  using heap = Heap.create({ maxBytes: '1m', collector: 'stop-the-world' })
  expect(failure(() => heap.share())).toMatchObject({ code: 'ERR_NO_SHARING' })
  expect(failure(() => Heap.attach({} as never)).message).toMatch(/takes what heap.share\(\) returned/)
})
