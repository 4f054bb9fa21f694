// Large objects do not move: free addresses between them may lie in pieces, and the error says so instead of "full".
import type { Ref } from 'glissade'
import { expect, it } from 'vitest'
import { collecting, failure, overAll, withHeap } from './configurations.js'

const MAX_BYTES = 2 ** 24
const PAGE_BYTES = 4096

overAll(
  'an object for which there is no run of addresses',
  (configuration) => {
    it('is told from one that live data leaves no room for', () => {
      withHeap(configuration, { maxBytes: MAX_BYTES }, (heap) => {
        const bytes = heap.defineArray('Bytes', 'u8')
        heap.run((m) => {
          const table = m.roots.table('ref', 1000)
          const free = Array.from({ length: 1000 }, (_, slot) => slot)
          const kept: number[] = []
          const messages: string[] = []
          for (let size = 8 * PAGE_BYTES; size <= MAX_BYTES / 4; size *= 2) {
            const fill = (): never => {
              for (;;) {
                const object = m.allocArray(bytes, size - 8)
                kept.push(free.pop() as number)
                table.set(kept[kept.length - 1], object)
              }
            }
            const { code, message } = failure(fill)
            expect(code).toBe('ERR_HEAP_EXHAUSTED')
            const hasRoom = heap.stats().bytesUsed + size <= MAX_BYTES
            expect(message).toMatch(
              hasRoom
                ? /has room for it, but large objects do not move, .*intact: make several smaller objects/
                : /live data fills maxBytes = 16777216, even after a full collection\. .*intact: drop references/,
            )
            messages.push(message)
            // Of those that begin in the same piece of twice the size only one stays: no run is long enough for the next size.
            const pieces = new Set<number>()
            for (const slot of kept.splice(0)) {
              const piece = Math.floor(((table.get(slot) as Ref) * 4) / (2 * size))
              if (pieces.has(piece)) {
                table.set(slot, 0)
                free.push(slot)
              } else {
                pieces.add(piece)
                kept.push(slot)
              }
            }
          }
          // Protected heaps have eight times the addresses.
          const some = configuration.options.protect !== true
          expect(messages.some((message) => /do not move/.test(message))).toBe(some)
          expect(messages.some((message) => /live data fills/.test(message))).toBe(true)
        })
      })
    })
  },
  collecting,
)
