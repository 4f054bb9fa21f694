// One heap, several JS threads: the concurrent collector's heaps can be shared, and a thread that dies leaves them.
import { Worker } from 'node:worker_threads'
import { Heap } from 'glissade'
import { describe, expect, it } from 'vitest'
import { configurations, failure } from './conformance/configurations.js'

const concurrent = configurations.filter((c) => c.concurrent)
const entry = new URL('../dist/index.js', import.meta.url).href

interface Report {
  readonly failures?: number
  readonly rounds?: number
  readonly ready?: boolean
}
function start(heap: Heap, stop: SharedArrayBuffer, terminateMe = false): { worker: Worker; report: Promise<Report> } {
  const workerData = { entry, token: heap.share(), stop, terminateMe }
  const worker = new Worker(new URL('./fixtures/attach.mjs', import.meta.url), { workerData })
  const report = new Promise<Report>((resolve, reject) => worker.once('message', resolve).once('error', reject))
  return { worker, report }
}

describe.each(concurrent)('shared heap ($name)', ({ options }) => {
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
})

it('is refused by collectors of one thread', () => {
  using heap = Heap.create({ maxBytes: '1m', collector: 'stop-the-world' })
  expect(failure(() => heap.share())).toMatchObject({ code: 'ERR_NO_SHARING' })
  expect(failure(() => Heap.attach({} as never)).message).toMatch(/takes what heap.share\(\) returned/)
})
