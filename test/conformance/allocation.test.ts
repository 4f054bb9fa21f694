// Where large objects begin.
import { type Ref } from 'glissade'
import { expect, it } from 'vitest'
import { PAGE_BYTES } from '../../dist/heap/layout.js'
import { overAll, withHeap } from './configurations.js'

overAll('allocation', (configuration) => {
  it.each([false, true])(
    'an array as long as a large object has pages of its own, and stays (checked: %s)',
    (checked) => {
      withHeap(configuration, { checked }, (heap) => {
        const bytes = heap.defineArray('Bytes', 'u8')
        const doubles = heap.defineArray('Doubles', 'f64')
        heap.run((m) => {
          const table = m.roots.table('ref', 2)
          for (const [shape, least] of [
            [bytes, 32_753],
            [doubles, 4095],
          ] as const) {
            for (const [slot, length] of [least, 32_760 >>> shape.shift].entries()) {
              // Room for it in the TLAB, where it would begin at no page.
              for (let used = 0; used < 4; used++) m.allocArray(bytes, 8000)
              m.reserve(8192)
              m.allocArray(bytes, 40)
              table.set(slot, m.allocArray(shape, length))
            }
            const large = [0, 1].map((slot) => table.get(slot) as Ref)
            for (const ref of large) expect((ref * 4) % PAGE_BYTES).toBe(0)
            heap.collectSync()
            expect([table.get(0), table.get(1)]).toEqual(large)
          }
        })
      })
    },
  )
})
