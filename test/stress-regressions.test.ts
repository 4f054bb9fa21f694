// What stress found, each bug as a short program of its own.
import { Heap, type Ref } from 'glissade'
import { step } from 'glissade/testing'
import { expect, it } from 'vitest'
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
