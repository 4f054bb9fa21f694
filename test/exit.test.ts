// Processes and threads that end without manners: no close, exit in the middle, uncaught errors, cut-off scripts.
import { spawnSync } from 'node:child_process'
import { createContext, runInContext } from 'node:vm'
import { Heap } from 'glissade'
import { describe, expect, it } from 'vitest'
import { loadNative } from '../dist/gc/native-loader.js'
import { configurations, failure } from './conformance/configurations.js'

const native = loadNative().exports !== undefined
const entry = new URL('../dist/index.js', import.meta.url).href

describe.each(configurations)('a process ($name)', ({ options, concurrent }) => {
  /** Runs a program with `heap`, `node` and `fill(m)`, which keeps a list of ten thousand nodes. */
  function run(program: string): { status: number | null; signal: string | null; out: string; error: string } {
    const source = `
      import { Heap } from ${JSON.stringify(entry)}
      const heap = Heap.create({ maxBytes: '32m', ...${JSON.stringify(options)} })
      const node = heap.defineShape('Node', { next: 'ref' })
      function fill(m) {
        const table = m.roots.table('ref', 1)
        for (let i = 0; i < 10000; i++) {
          const ref = m.alloc(node)
          m.setRef(ref, node.at.next, table.get(0))
          table.set(0, ref)
        }
      }
      ${program}`
    const child = spawnSync(process.execPath, ['--input-type=module', '-e', source], {
      encoding: 'utf8',
      timeout: 60_000,
    })
    return { status: child.status, signal: child.signal, out: child.stdout, error: child.stderr }
  }

  // Where the count of shapes is stored, which publishes the new one, it is cut off.
  const stuck = `Object.assign(Atomics, { store() { for (;;); } })`

  it('defines shapes after a vm timeout in the middle of a definition', () => {
    const cut = run(`
      import vm from 'node:vm'
      const { store } = Atomics
      ${stuck}
      const define = () => heap.defineShape('Mine', { next: 'ref', key: 'i32' })
      try { vm.runInNewContext('define()', { define }, { timeout: 50 }) } catch (error) { console.log(error.code) }
      Object.assign(Atomics, { store })
      const mine = define()
      heap.run((m) => console.log(mine.id - node.id, m.shapeOf(m.alloc(mine)) === mine.id))
      heap.close()`)
    expect(cut).toMatchObject({ status: 0, signal: null, out: 'ERR_SCRIPT_EXECUTION_TIMEOUT\n1 true\n' })
  })

  it.runIf(concurrent)('defines shapes after a thread was terminated in the middle of a definition', () => {
    const cut = run(`
      import { once } from 'node:events'
      import { Worker } from 'node:worker_threads'
      const worker = new Worker(\`import('node:worker_threads').then(async ({ parentPort, workerData }) => {
        const { Heap } = await import(workerData.entry)
        const heap = Heap.attach(workerData.token)
        Object.assign(Atomics, { store() { parentPort.postMessage('defines'); for (;;); } })
        heap.defineShape('Mine', {})
      })\`, { eval: true, workerData: { entry: ${JSON.stringify(entry)}, token: heap.share() } })
      await once(worker, 'message')
      await worker.terminate()
      console.log(heap.defineShape('Mine', { next: 'ref' }).id - node.id)
      heap.close()`)
    expect(cut).toMatchObject({ status: 0, signal: null, out: '1\n' })
  })

  it.runIf(concurrent)('lets others define shapes after a vm timeout in the middle of a definition', () => {
    const cut = run(`
      import { once } from 'node:events'
      import vm from 'node:vm'
      import { Worker } from 'node:worker_threads'
      const { store } = Atomics
      ${stuck}
      const define = () => heap.defineShape('Mine', {})
      try { vm.runInNewContext('define()', { define }, { timeout: 50 }) } catch (error) { console.log(error.code) }
      Object.assign(Atomics, { store })
      // This thread does not come back to it.
      const worker = new Worker(\`import('node:worker_threads').then(async ({ parentPort, workerData }) => {
        const { Heap } = await import(workerData.entry)
        parentPort.postMessage(Heap.attach(workerData.token).defineShape('Other', { next: 'ref' }).id)
      })\`, { eval: true, workerData: { entry: ${JSON.stringify(entry)}, token: heap.share() } })
      console.log((await once(worker, 'message'))[0] - node.id)
      heap.close()`)
    expect(cut).toMatchObject({ status: 0, signal: null, out: 'ERR_SCRIPT_EXECUTION_TIMEOUT\n1\n' })
  })

  it.runIf(concurrent).each([
    ['at the exit of the thread', `heap.run((m) => m.parked(() => heap.run(() => process.exit(0))))`],
    [
      'after a vm timeout',
      `heap.run((m) => m.parked(() => {
        try { vm.runInNewContext('run()', { run: () => heap.run(() => { for (;;); }) }, { timeout: 20 }) } catch (error) {
          if (error.code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error
        }
        process.exit(0)
      }))`,
    ],
  ])('a run inside parked that is cut off %s does not come back as another thread', (_, program) => {
    const ended = run(`
      import { once } from 'node:events'
      import { Worker } from 'node:worker_threads'
      const flags = new Int32Array(new SharedArrayBuffer(8))
      const start = (program) => new Worker(\`import('node:worker_threads').then(async ({ workerData: { entry, token, flags } }) => {
        const vm = await import('node:vm')
        const heap = (await import(entry)).Heap.attach(token)
        \${program}
      })\`, { eval: true, workerData: { entry: ${JSON.stringify(entry)}, token: heap.share(), flags } })
      const reached = async (n) => { while (Atomics.load(flags, 0) < n) await new Promise((done) => setTimeout(done, 5)) }
      // It leaves the heap in its exit listener, and goes on when the other has its place.
      const first = start(\`heap.run(() => 0)
      process.on('exit', () => {
        heap.close()
        Atomics.store(flags, 0, 1)
        Atomics.wait(flags, 1, 0, 20000)
      })
      ${program}\`)
      await reached(1)
      const second = start(\`heap.run(() => 0)
      Atomics.store(flags, 0, 2)
      setInterval(() => 0, 1000)\`)
      await reached(2)
      Atomics.store(flags, 1, 1)
      Atomics.notify(flags, 1)
      await once(first, 'exit')
      // The second is outside run: nobody is waited for.
      await heap.collect()
      console.log('collected')
      process.exit(0)`)
    expect(ended).toEqual({ status: 0, signal: null, out: 'collected\n', error: '' })
  })

  it('knows after a vm timeout in a run inside parked that it is parked still', () => {
    const cut = run(`
      import vm from 'node:vm'
      const spin = () => { for (;;); }
      heap.run((m) => m.scoped((scope) => {
        const kept = scope.new(node)
        m.parked(() => {
          try { vm.runInNewContext('run()', { run: () => heap.run(spin) }, { timeout: 50 }) } catch (error) { console.log(error.code) }
          try { heap.close() } catch (error) { console.log(error.code) }
          heap.run(() => 0)
        })
        console.log(kept.next)
      }))
      heap.close()`)
    expect(cut).toMatchObject({ status: 0, signal: null, out: 'ERR_SCRIPT_EXECUTION_TIMEOUT\nERR_RUNNING\nnull\n' })
  })

  it('may end without closing its heap', () => {
    const ended = run(`heap.run(fill); heap.collectSync(); heap.run(fill); console.log('end')`)
    expect(ended).toMatchObject({ status: 0, signal: null, out: 'end\n' })
  })

  it('may exit in the middle of a collection, and inside run', () => {
    const middle = run(`heap.run(fill); void heap.collect(); setImmediate(() => process.exit(7))`)
    expect(middle).toMatchObject({ status: 7, signal: null })
    const inside = run(`heap.run((m) => { fill(m); void heap.collect(); process.exit(8) })`)
    expect(inside).toMatchObject({ status: 8, signal: null })
  })

  /** What `wait` does with the heap in a thread of its own, for ever, beside `program`. */
  const besideThread = (wait: string, program: string): string => `
    const { Worker } = await import('node:worker_threads')
    const other = \`
      import('node:worker_threads').then(async ({ workerData, parentPort }) => {
        const { Heap } = await import(${JSON.stringify(entry)})
        const heap = Heap.attach(workerData)
        const node = heap.defineShape('Node', { next: 'ref' })
        parentPort.postMessage('begins')
        ${wait}
      })\`
    const worker = new Worker(other, { eval: true, workerData: heap.share() })
    await new Promise((resolve) => worker.once('message', resolve))
    const spin = () => { for (const end = Date.now() + 300; Date.now() < end; ); }
    ${program}`
  const waits = [
    ['for a collection', 'for (;;) heap.collectSync()'],
    ['for the promise of one', 'for (;;) await heap.collect()'],
    ['for memory', 'heap.run((m) => { for (;;) m.alloc(node) })'],
  ]
  it.runIf(concurrent).each(waits)('may exit inside run while another thread waits %s', (_what, wait) => {
    const ended = run(besideThread(wait, `heap.run(() => { spin(); process.exit(9) })`))
    expect(ended).toMatchObject({ status: 9, signal: null, error: '' })
    const listens = `
      heap.run(fill)
      process.on('exit', () => { heap.run(fill); heap.close(); console.log('closed') })
      heap.run((m) => { m.parked(spin); process.exit(9) })`
    const listened = run(besideThread(wait, listens))
    expect(listened).toMatchObject({ status: 9, signal: null, out: 'closed\n', error: '' })
  })

  it.runIf(concurrent).each(waits)(
    'may exit while it inspects the heap, and another thread waits %s',
    (_what, wait) => {
      const ended = run(besideThread(wait, `heap.run(fill); heap.pathTo(() => { spin(); process.exit(9) })`))
      expect(ended).toMatchObject({ status: 9, signal: null, error: '' })
      const listens = `
      heap.run(fill)
      process.on('exit', () => { heap.run(fill); console.log(heap.census().objects > 0); heap.close() })
      heap.run((m) => heap.pathTo(() => { spin(); process.exit(9) }))`
      const listened = run(besideThread(wait, listens))
      expect(listened).toMatchObject({ status: 9, signal: null, out: 'true\n', error: '' })
    },
  )

  it.runIf(concurrent)('goes on when one of its threads exits inside run with a collection under way', () => {
    const exits = `heap.run((m) => {
      void heap.collect()
      for (const end = Date.now() + 300; Date.now() < end; ) m.alloc(node)
      process.exit(9)
    })`
    const goesOn = `
      const code = new Promise((resolve) => worker.once('exit', resolve))
      for (const end = Date.now() + 1000; Date.now() < end; ) { heap.run(fill); heap.collectSync() }
      console.log(await code)
      heap.collectSync()
      heap.assertValid()`
    const ended = run(besideThread(exits, goesOn))
    expect(ended).toMatchObject({ status: 0, signal: null, out: '9\n', error: '' })
  })

  it.runIf(concurrent)('listens for its end once for all heaps, and no longer when they are closed', () => {
    const ended = run(`
      const heaps = Array.from({ length: 12 }, () => Heap.create({ maxBytes: '1m', ...${JSON.stringify(options)} }))
      const listeners = () => process.listenerCount('exit')
      const before = listeners()
      for (const heap of heaps) heap.run(() => 0)
      console.log(listeners() - before)
      for (const heap of heaps) heap.close()
      console.log(listeners() - before)`)
    expect(ended).toMatchObject({ status: 0, out: '1\n0\n', error: '' })
  })

  it('dies of an error thrown inside run as of any other', () => {
    const died = run(`heap.run((m) => { fill(m); throw new Error('mine') })`)
    expect(died).toMatchObject({ status: 1, signal: null })
    expect(died.error).toMatch(/Error: mine/)
  })

  it('makes and closes a hundred heaps', () => {
    const ended = run(`
      for (let i = 0; i < 100; i++) {
        const heap = Heap.create({ maxBytes: '8m', ...${JSON.stringify(options)} })
        const node = heap.defineShape('Node', { next: 'ref' })
        heap.run((m) => { const s = m.scope(); for (let k = 0; k < 1000; k++) s.new(node) })
        if (i % 10 === 0) heap.collectSync()
        heap.close()
      }
      console.log('end')`)
    expect(ended).toMatchObject({ status: 0, signal: null, out: 'end\n' })
  })

  // Without native code nothing is left to do it: nothing in JavaScript survives a cut-off.
  it.runIf(native)('leaves run when a vm timeout cuts it off', () => {
    const heap = Heap.create({ maxBytes: '16m', ...options })
    const node = heap.defineShape('Node', { next: 'ref' })
    const spin = (): void =>
      heap.run((m) => {
        const scope = m.scope()
        scope.new(node)
        // A portable collection that is cut off is another test's (cut-off.test.ts).
        for (let i = 0; ; i++) if (concurrent || i < 1000) m.alloc(node)
      })
    expect(() => runInContext('spin()', createContext({ spin }), { timeout: 100 })).toThrow(/timed out/)
    expect(failure(() => heap.weak(null as never)).code).toBe('ERR_NOT_RUNNING')
    heap.collectSync()
    heap.run((m) => m.scoped((s) => expect(s.new(node).next).toBe(null)))
    heap.assertValid()
    heap.close()
    expect(heap.closed).toBe(true)
  })

  it.runIf(native)('is inside run again when a vm timeout cuts off what it parked for', () => {
    using heap = Heap.create({ maxBytes: '16m', ...options })
    const node = heap.defineShape('Node', { next: 'ref' })
    heap.run((m) => {
      const wait = (): never =>
        m.parked(() => {
          for (;;);
        })
      expect(() => runInContext('wait()', createContext({ wait }), { timeout: 50 })).toThrow(/timed out/)
      expect(m.identityHash(m.alloc(node))).toBeGreaterThan(0)
      m.scoped((s) => expect(s.new(node).next).toBe(null))
    })
  })

  // In a process of its own: a world that stays stopped is a hang.
  const inspections = ['heap.verify()', 'heap.assertValid()', 'graphHash(heap)']
  it.runIf(concurrent).each(inspections)('goes on when a vm timeout cuts %s off', (inspection) => {
    const ended = run(`
      import { createContext, runInContext } from 'node:vm'
      import { graphHash } from ${JSON.stringify(entry.replace('index', 'testing'))}
      heap.run((m) => { for (let i = 0; i < 30; i++) fill(m) })
      const inspect = () => ${inspection}
      const cutOff = (context) => {
        try { runInContext('inspect()', context, { timeout: 10 }) } catch (error) { return error.code }
      }
      console.log(cutOff(createContext({ inspect })), heap.run(() => cutOff(createContext({ inspect }))))
      heap.collectSync()
      console.log(heap.verify().ok)`)
    const cut = 'ERR_SCRIPT_EXECUTION_TIMEOUT'
    expect(ended).toMatchObject({ status: 0, signal: null, out: `${cut} ${cut}\ntrue\n`, error: '' })
  })
})
