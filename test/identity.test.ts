// Identity hashes that several threads ask for at once: what one was told is what all are told.
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { Heap, type Ref } from 'glissade'
import { expect, it } from 'vitest'
import { concurrent } from './conformance/configurations.js'

const entry = new URL('../dist/index.js', import.meta.url).href

const OBJECTS = 100_000

const program = `
  const { entry, token, base, gate, told } = require('node:worker_threads').workerData
  import(entry).then(({ Heap }) => {
    const heap = Heap.attach(token)
    heap.run((m) => {
      Atomics.add(gate, 0, 1)
      while (Atomics.load(gate, 0) < 2);
      for (let i = 0; i < told.length; i++) told[i] = m.identityHash(m.rootsI32[base + i])
    })
    heap.close()
  })
`

it.runIf(concurrent.length > 0)('two threads that ask first are told the same', async () => {
  using heap = Heap.create({ maxBytes: '64m', collector: 'concurrent' })
  const cell = heap.defineShape('Cell', { next: 'ref' })
  const table = heap.run((m) => {
    const made = m.roots.table('ref', OBJECTS)
    for (let i = 0; i < OBJECTS; i++) made.set(i, m.alloc(cell))
    return made
  })
  const gate = new Int32Array(new SharedArrayBuffer(4))
  const told = new Int32Array(new SharedArrayBuffer(4 * OBJECTS))
  const worker = new Worker(program, {
    eval: true,
    workerData: { entry, token: heap.share(), base: table.base, gate, told },
  })
  const ended = once(worker, 'exit')
  while (Atomics.load(gate, 0) === 0) await new Promise((resolve) => setTimeout(resolve, 1))
  const mine = heap.run((m) => {
    Atomics.add(gate, 0, 1)
    return Array.from({ length: OBJECTS }, (_, i) => m.identityHash(table.get(i) as Ref))
  })
  await ended
  const differing = mine.filter((hash, i) => hash !== told[i]).length
  expect(differing).toBe(0)
  heap.run((m) => {
    for (let i = 0; i < OBJECTS; i++) expect(m.identityHash(table.get(i) as Ref)).toBe(mine[i])
  })
})
