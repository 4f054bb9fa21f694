// What once went wrong in the collector that this one descends from (Android's concurrent mark-compact), by its commits.
//
// Each entry has a test here, the name of the native self-test that is it, or the reason why it cannot happen in this
// design. Entries without a counterpart (there are no generations here) test the rule that stands in the same place.
import { Heap, type HeapOptions, type Mutator, type Ref } from 'glissade'
import { stepCycle, tuned, type SteppedCycle } from 'glissade/testing'
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { configurations } from '../conformance/configurations.js'

const concurrent = configurations.some((c) => c.concurrent)
const FILLER = 1

interface Program {
  readonly heap: Heap
  readonly m: Mutator
  readonly cycle: SteppedCycle
  readonly set: (slot: number, ref: Ref | 0) => void
  readonly get: (slot: number) => Ref
  /** A list of `keys` in a slot, with so many dead nodes before each. */
  readonly list: (slot: number, keys: number, dead?: number) => void
  readonly expectList: (slot: number, keys: number) => void
  readonly counter: (name: string) => number
}

/** A stepping heap of nodes of 16 bytes: 256 to a page. */
function program(options: HeapOptions, use: (p: Program) => void): void {
  using heap = Heap.create({
    collector: 'concurrent',
    maxBytes: '8m',
    maxRootBytes: '1m',
    verify: 4,
    stepping: true,
    ...options,
  })
  const node = heap.defineShape('Node', { next: 'ref', key: 'i32' })
  heap.run((m) => {
    const table = m.roots.table('ref', 16)
    const set = (slot: number, ref: Ref | 0): void => table.set(slot, ref)
    const get = (slot: number): Ref => table.get(slot) as Ref
    use({
      heap,
      m,
      cycle: heap.options.stepping ? stepCycle(heap) : (undefined as never),
      set,
      get,
      list(slot, keys, dead = 0) {
        set(slot, 0)
        for (let i = 0; i < keys; i++) {
          for (let d = 0; d < dead; d++) m.alloc(node)
          const ref = m.alloc(node)
          m.i32[ref + node.at.key] = i
          m.setRef(ref, node.at.next, get(slot))
          set(slot, ref)
        }
      },
      expectList(slot, keys) {
        let expected = keys
        for (let ref = get(slot); ref !== 0; ref = m.getRef(ref, node.at.next)) {
          expect([m.i32[ref], m.i32[ref + node.at.key]]).toEqual([node.id, --expected])
        }
        expect(expected).toBe(0)
      },
      counter: (name) => heap.stats().raw.counters[name],
    })
    heap.assertValid()
  })
  heap.collectSync()
}

interface Regression {
  readonly commits: string
  readonly was: string
  /** The test, a native test's name in test names of native/selftest, or `cannot: ` and the reason. */
  readonly here: (() => void) | string
}

const regressions: readonly Regression[] = [
  {
    commits: 'dd33afc86b, 8ad405adff',
    was: 'a boundary between parts of the heap was rounded down, and an object fell into the wrong part',
    here: () => {
      // The end of the compacted part is rounded up to a page, where black pages begin: nodes on both sides, for every
      // position of that end near the page's own.
      for (const live of [255, 256, 257, 511, 512, 513, 700]) {
        program({}, ({ cycle, list, expectList }) => {
          list(0, live, 3)
          cycle.to('reclaim')
          list(1, 300)
          cycle.finish()
          expectList(0, live)
          expectList(1, 300)
        })
      }
    },
  },
  {
    commits: '0ecda2b3ac',
    was: 'addresses of before and after compaction were compared',
    here: () => {
      // Sliding by less than the heap's length: nearly every word is a valid address before and after. Whatever the order of
      // the pages, each reference is translated once.
      for (const order of ['up', 'down', 'inside out'] as const) {
        program({}, ({ cycle, list, expectList, set }) => {
          list(1, 300)
          list(0, 5000)
          set(1, 0)
          cycle.to('compact')
          const pages = cycle.pages().map(({ page }) => page)
          if (order === 'down') pages.reverse()
          if (order === 'inside out') pages.sort((a, b) => Math.abs(a - 10) - Math.abs(b - 10))
          for (const [i, page] of pages.entries()) {
            if (i % 2) cycle.touch(page)
            else cycle.compactPage(page)
          }
          expectList(0, 5000)
          cycle.finish()
          expectList(0, 5000)
        })
      }
    },
  },
  {
    commits: 'faa89ac4b6',
    was: 'a boundary was left unaligned when compaction was skipped',
    here: () =>
      program({}, ({ cycle, list, expectList, counter }) => {
        list(0, 700)
        cycle.to('compact').finish()
        cycle.to('flip')
        list(1, 100)
        expect(cycle.next()).toBe('idle')
        expect(counter('flipsSkipped')).toBeGreaterThan(0)
        list(2, 300, 2)
        cycle.to('compact').finish()
        expectList(0, 700)
        expectList(1, 100)
        expectList(2, 300)
      }),
  },
  {
    commits: '88310308d9',
    was: 'cards dirtied late were not seen by the pause that ends marking',
    here: () =>
      program({}, ({ cycle, list, expectList, m, get, set, heap }) => {
        const holder = heap.defineShape('Holder', { list: 'ref' })
        set(0, m.alloc(holder))
        list(3, 2000, 1)
        cycle.to('preclean')
        // The holder is marked already; the list will hang on it alone, by a store of this moment.
        list(1, 200)
        m.setRef(get(0), holder.at.list, get(1))
        set(1, 0)
        cycle.finish()
        set(2, m.getRef(get(0), holder.at.list))
        expectList(2, 200)
        expectList(3, 2000)
      }),
  },
  {
    commits: '1cdb151ce1, a70995dbc8',
    was: "an object's class was in a part of the heap that had already moved or was released",
    here: () =>
      program({}, ({ cycle, list, expectList, heap, m, set, get, counter }) => {
        // Layouts are control words, outside all that moves: a shape can be defined, used and read while every page is missing.
        list(0, 2000, 1)
        cycle.to('compact')
        const faults = counter('barrierFaults')
        const late = heap.defineShape('Late', { a: 'f64', list: 'ref' })
        const ref = m.alloc(late)
        expect(counter('barrierFaults')).toBe(faults)
        m.setRef(ref, late.at.list, get(0))
        set(1, ref)
        cycle.finish()
        heap.collectSync()
        set(2, m.getRef(get(1), late.at.list))
        expectList(2, 2000)
        expectList(0, 2000)
      }),
  },
  {
    commits: '4e244861ab',
    was: 'roots were looked at for one part of the heap only',
    here: () =>
      program({}, ({ cycle, list, expectList, heap, m, set, get }) => {
        // A root into each part: prefix, compacted, black, large; read through roots whose own pages are missing.
        const refs = heap.defineArray('Refs', 'ref')
        list(0, 2000)
        list(1, 2000, 2)
        set(2, m.allocArray(refs, 9000))
        m.setElementRef(get(2), 8999, get(1))
        cycle.to('reclaim')
        list(3, 500)
        m.setElementRef(get(2), 0, get(3))
        cycle.to('compact')
        const kinds = new Set(cycle.pages().map(({ kind }) => kind))
        expect([...kinds].sort()).toEqual(['black', 'compacted', 'large', 'prefix'])
        expectList(0, 2000)
        expectList(1, 2000)
        expectList(3, 500)
        expect(m.i32[get(2) + refs.elementsAt + 8999]).toBe(get(1))
        expect(m.i32[get(2) + refs.elementsAt]).toBe(get(3))
        cycle.finish()
      }),
  },
  {
    commits: 'b979fd508c',
    was: 'a bit vector leaked in every cycle',
    here: () =>
      program({ stepping: false, maxBytes: '64m' }, ({ list, heap, counter }) => {
        // Its bits for this heap would be a MiB or two a cycle.
        const cycles = (n: number): void => {
          for (let i = 0; i < n; i++) {
            list(0, 500, 1)
            heap.collectSync()
          }
        }
        cycles(40)
        const resident = (): number => Number(readFileSync('/proc/self/statm', 'utf8').split(' ')[1]) * 4096
        const before = resident()
        cycles(200)
        expect(resident() - before).toBeLessThan(64 * 2 ** 20)
        expect(counter('flips')).toBeGreaterThan(200)
      }),
  },
  {
    commits: '87a0d38e94',
    was: 'the sum of live bytes, from which the dense prefix is chosen, overflowed',
    here: 'cannot: live data is summed in granules, and in 64 bits (choose_prefix); the largest heap has 2³⁰ granules',
  },
  {
    commits: '3fe3180b51',
    was: 'a walk through the heap stumbled over the holes of the dense part',
    here: () => {
      // A cycle that the program has to wait for leaves only full pages alone, and on a busy machine it may have to wait.
      let automatic = false
      for (let attempt = 0; attempt < 20 && !automatic; attempt++) {
        // Its garbage dies in whole pages, which would be reused without a flip.
        tuned({ reuse: 0 }, () =>
          program({ stepping: false, verify: 3 }, ({ heap, m, set, get, list, expectList, counter }) => {
            // Two dead nodes of a hundred in a part that stays where it is; the collector covers them with fillers.
            const node = heap.defineShape('Node', { next: 'ref', key: 'i32' })
            const holes: Ref[] = []
            set(0, 0)
            for (let i = 0; i < 40_000; i++) {
              if (i % 50 === 25) holes.push(m.alloc(node))
              const ref = m.alloc(node)
              m.i32[ref + node.at.key] = i
              m.setRef(ref, node.at.next, get(0))
              set(0, ref)
            }
            expect(heap.stats().epoch).toBe(0)
            // Automatic cycles: an explicit one leaves only full pages alone.
            for (let i = 0; i < 400 && heap.stats().epoch === 0; i++) list(1, 500, 4)
            expect(heap.stats().epoch).toBeGreaterThan(0)
            automatic = counter('allocationStalls') === 0
            const filled = holes.filter((ref) => m.i32[ref] === FILLER).length
            if (automatic) expect(filled).toBeGreaterThan(holes.length / 2)
            expectList(0, 40_000)
            expect(heap.stats().pages.kept + heap.stats().pages.moved).toBeGreaterThan(0)
            heap.assertValid()
          }),
        )
      }
      expect(automatic).toBe(true)
    },
  },
  {
    commits: 'db9cd130d8',
    was: 'pages were given back while a thread was still to place from them: in a batch, it placed something else',
    here: () => {
      for (const relocation of ['move', 'copy'] as const) {
        program({ relocation }, ({ cycle, list, expectList }) => {
          list(0, 12_000, 2)
          cycle.to('compact')
          const pages = cycle.pages().flatMap(({ kind, page }) => (kind === 'compacted' ? [page] : []))
          const late = pages.splice(7, 1)[0]
          expect(cycle.holdPage(late, 'placing')).toBe(true)
          // Placed by this thread; its buffer and its sources are used again for all that follows.
          expect(cycle.touch(late)).toBe(true)
          for (const page of pages) cycle.touch(page)
          cycle.releasePage()
          expectList(0, 12_000)
          cycle.finish()
          expectList(0, 12_000)
        })
      }
    },
  },
  {
    commits: '1733aa10e2',
    was: 'each thread that wanted one page took a buffer and kept it',
    here: () => {
      // The same pages, once by the collector alone, once each by two at the same time: as many buffers are left.
      const left = [false, true].map((contended) => {
        let recycled = 0
        program({}, ({ cycle, list, expectList, counter, set }) => {
          list(1, 120 * 256)
          list(0, 12_000, 1)
          set(1, 0)
          cycle.to('compact')
          const pages = cycle.pages().filter(({ kind }) => kind === 'compacted')
          for (const { page } of pages.slice(0, 40)) {
            if (!contended) cycle.compactPage(page)
            else {
              expect(cycle.holdPage(page, 'claimed')).toBe(true)
              expect(cycle.touch(page)).toBe(true)
              cycle.releasePage()
            }
          }
          expect(counter('pagesBuiltTwice')).toBe(contended ? 40 : 0)
          cycle.finish()
          expect(counter('buffersFromKernel')).toBe(0)
          recycled = counter('pagesRecycled')
          expectList(0, 12_000)
        })
        return recycled
      })
      expect(left[1]).toBe(left[0])
      expect(left[0]).toBeGreaterThan(0)
    },
  },
  {
    commits: '89591d0bc4',
    was: 'a thread that had claimed the mapping of a page, and was not scheduled, held up the others',
    here: () =>
      program({}, ({ cycle, list, expectList }) => {
        list(0, 3000, 1)
        cycle.to('compact')
        const [first, second] = cycle.pages().filter(({ kind }) => kind === 'compacted')
        // Nobody waits: the touch returns while the collector stands still in the middle of its work.
        for (const [{ page }, point] of [[first, 'placing'] as const, [second, 'claimed'] as const]) {
          expect(cycle.holdPage(page, point)).toBe(true)
          expect(cycle.touch(page)).toBe(true)
          cycle.releasePage()
        }
        cycle.finish()
        expectList(0, 3000)
      }),
  },
  {
    commits: 'ffe52b0806, 5f3c7ebf, 5cac217cdc',
    was: 'the ranges fell into ever more mappings, and a flip met several where it wanted one',
    here: () =>
      program({ stepping: false }, ({ list, expectList, heap, counter }) => {
        const mappings = (): number => readFileSync('/proc/self/maps', 'utf8').split('\n').length
        const cycles = (n: number): void => {
          for (let i = 0; i < n; i++) {
            list(0, 600, 1)
            heap.collectSync()
          }
        }
        cycles(20)
        const before = mappings()
        cycles(150)
        // V8 maps things of its own meanwhile.
        expect(mappings() - before).toBeLessThan(75)
        expect(counter('flipsCancelled')).toBe(0)
        expect(counter('flips')).toBeGreaterThanOrEqual(170)
        expectList(0, 600)
      }),
  },
  {
    commits: '2a8a527e90',
    was: 'allocation during a compaction faulted, as TLABs lay in the registered range',
    here: () =>
      program({}, ({ cycle, list, expectList, counter, get }) => {
        list(0, 3000, 1)
        cycle.to('compact')
        get(1) // the roots' own page arrives
        const faults = counter('barrierFaults')
        list(1, 3000)
        expect(counter('barrierFaults')).toBe(faults)
        cycle.finish()
        expectList(0, 3000)
        expectList(1, 3000)
      }),
  },
  {
    commits: '4e984c7d01',
    was: 'speculative accesses to from-space after a collection went unseen',
    here: () =>
      program({}, ({ cycle, list }) => {
        const forbidden = (): number[][] =>
          [...readFileSync('/proc/self/maps', 'utf8').matchAll(/^(\w+)-(\w+) ---p/gm)].map(([, from, to]) => [
            Number.parseInt(from, 16),
            Number.parseInt(to, 16),
          ])
        const allowedOf = (ranges: number[][]): number[][] =>
          forbidden().reduce(
            (left, [from, to]) =>
              left.flatMap(([a, b]) =>
                [
                  [a, Math.min(b, from)],
                  [Math.max(a, to), b],
                ].filter(([begin, end]) => begin < end),
              ),
            ranges,
          )
        const closed = forbidden()
        list(0, 3000, 1)
        cycle.to('compact')
        // V8 and malloc open ranges of their own meanwhile; none is as long as from-space.
        const opened = allowedOf(closed).filter(([from, to]) => to - from >= 2 ** 30)
        expect(opened).not.toEqual([])
        cycle.finish()
        expect(allowedOf(opened)).toEqual([])
      }),
  },
  {
    commits: 'f9c33ca817',
    was: 'a fault between unregistering and the end of the cycle waited for a thread, or met states of the next one',
    here: 'every_schedule_of_a_late_fault_and_the_close_on_a_missing_page_moved',
  },
  {
    commits: '23387b1324, 0430a13499',
    was: 'a thread read the range in the middle of the flip, and had a zero page mapped there',
    here: 'cannot: roots, objects and large objects are one range, which nobody touches during the flip (invariant 5); the flip drops what is mapped there before anybody runs (flip.cc)',
  },
  {
    commits: 'f3bd6dd11e',
    was: "threads that scanned their stacks made a shared mark stack grow under each other's feet",
    here: 'cannot: each marker has a stack of its own, and gives work away by whole vectors under a lock (mark-bag.h)',
  },
  {
    commits: 'ea6f741e73',
    was: 'clearing a weak reference waited for the collection',
    here: 'cannot: weak tables are cleared in the remark pause, and a slot is cleared by a plain store at any time (decision 007)',
  },
]

describe.runIf(concurrent)("Android's regressions", () => {
  const selftest = readFileSync(new URL('../../native/selftest/page_close.cc', import.meta.url), 'utf8')
  for (const { commits, was, here } of regressions) {
    if (typeof here === 'function') it(`${was} (${commits})`, here)
    else if (here.startsWith('cannot: ')) it.skip(`${was} (${commits}): ${here}`)
    else it(`${was} (${commits}): ${here}`, () => expect(selftest).toContain(`TEST(${here})`))
  }
})
