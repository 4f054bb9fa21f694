// A cycle moved by the test: what each step does, and that it does nothing else.
import { Heap, type HeapOptions, type Mutator, type Ref } from 'glissade'
import { stepCycle, type SteppedCycle } from 'glissade/testing'
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { loadNative } from '../../dist/gc/native-loader.js'
import type { NativeBinding } from '../../src/gc/native.js'
import { HOLD_POINTS, PAGE_KINDS, RESTS } from '../../dist/testing/stepping.js'
import { configurations, failure } from '../conformance/configurations.js'

const binding = loadNative().exports as unknown as NativeBinding

interface Stage {
  readonly heap: Heap
  readonly m: Mutator
  readonly cycle: SteppedCycle
  /** The list's first node, read anew. */
  head(): Ref
  keys(): number[]
}

/** A stepping heap with a list of `length` nodes, each with a dead one before it. */
function staged(options: HeapOptions, length: number, use: (stage: Stage) => void): void {
  using heap = Heap.create({ maxBytes: '8m', maxRootBytes: '1m', verify: 4, ...options, stepping: true })
  const node = heap.defineShape('Node', { next: 'ref', key: 'i32' })
  heap.run((m) => {
    const table = m.roots.table('ref', 1)
    for (let i = 0; i < length; i++) {
      m.alloc(node)
      const ref = m.alloc(node)
      m.i32[ref + node.at.key] = i
      m.setRef(ref, node.at.next, table.get(0) as Ref)
      table.set(0, ref)
    }
    const head = (): Ref => table.get(0) as Ref
    const keys = (): number[] => {
      const found: number[] = []
      for (let ref = head(); ref !== 0; ref = m.getRef(ref, node.at.next)) found.push(m.i32[ref + node.at.key])
      return found
    }
    use({ heap, m, cycle: stepCycle(heap), head, keys })
    expect(keys()).toEqual(Array.from({ length }, (_, i) => length - 1 - i))
  })
  heap.collectSync()
  heap.assertValid()
}

const chosen = configurations.filter((c) => c.concurrent)

describe.each(chosen)('stepCycle ($name)', ({ name, options }) => {
  const bySignal = !name.includes('thread')

  it('rests at every rest, in their order', () => {
    staged(options, 2000, ({ cycle }) => {
      const seen = [cycle.rest]
      do {
        if (cycle.next() !== seen.at(-1)) seen.push(cycle.rest)
      } while (cycle.rest !== 'idle')
      expect(seen).toEqual(['idle', 'mark', 'trace', 'preclean', 'reclaim', 'flip', 'compact', 'close', 'idle'])
    })
  })

  it('marks as many objects as asked for', () => {
    staged(options, 2000, ({ cycle, heap }) => {
      expect(cycle.mark(1)).toBe(1)
      expect(cycle.mark(99)).toBe(100)
      expect(cycle.rest).toBe('trace')
      expect(heap.stats().phase).toBe('mark')
      expect(cycle.mark(1e6)).toBe(2000)
      cycle.to('preclean')
      expect(cycle.mark(5)).toBe(2000)
      cycle.finish()
    })
  })

  it('compacts exactly the page that it is told to, by the collector or by this thread', () => {
    staged(options, 4000, ({ cycle, heap }) => {
      cycle.to('compact')
      const pages = cycle.pages().filter(({ kind }) => kind === 'compacted')
      expect(pages.length).toBeGreaterThan(8)
      expect(new Set(pages.map(({ state }) => state))).toEqual(new Set(['untouched']))
      const [a, b, c] = [pages[5].page, pages[2].page, pages[7].page]
      expect(cycle.compactPage(a)).toMatchObject({ state: 'mapped', builders: 0, kind: 'compacted' })
      const faults = heap.stats().barrierFaults
      expect(cycle.touch(a)).toBe(false)
      expect(heap.stats().barrierFaults).toBe(faults)
      expect(cycle.touch(b)).toBe(true)
      expect(heap.stats().barrierFaults).toBe(faults + 1)
      const states = new Map(cycle.pages().map(({ page, state }) => [page, state]))
      for (const { page } of pages) expect(states.get(page)).toBe(page === a || page === b ? 'mapped' : 'untouched')
      expect(cycle.page(c).sources).toHaveLength(2)
      cycle.to('close')
      expect(new Set(cycle.pages().map(({ state }) => state))).toEqual(new Set(['mapped']))
      cycle.finish()
    })
  })

  it('builds the page of an object when the program reads it', () => {
    staged(options, 2000, ({ cycle, head, m }) => {
      cycle.to('compact')
      const page = cycle.pageOf(head())
      expect(cycle.page(page).state).toBe('untouched')
      expect(m.i32[head()]).toBeGreaterThan(1)
      expect(cycle.touch(page)).toBe(false) // and whoever served the fault is done with it
      expect(cycle.page(page).state).toBe('mapped')
      cycle.finish()
    })
  })

  it.each([
    ['claimed', 'building', 'mapped'],
    ['built', 'building', 'mapped'],
    ['published', 'built', 'mapped'],
    ['placing', 'built', 'mapped'],
    ['placed', 'built', 'mapped'],
  ] as const)('holds the collector at %s, where a touch need not wait for it', (point, held, after) => {
    staged(options, 2000, ({ cycle }) => {
      cycle.to('compact')
      const { page } = cycle.pages().filter(({ kind }) => kind === 'compacted')[3]
      expect(cycle.holdPage(page, point)).toBe(true)
      expect(cycle.page(page).state).toBe(held)
      expect(cycle.touch(page)).toBe(point !== 'placed')
      expect(cycle.page(page).state).toBe(point === 'placed' ? 'built' : after)
      cycle.releasePage()
      expect(cycle.page(page)).toMatchObject({ state: 'mapped', builders: 0 })
      expect(cycle.holdPage(page, point)).toBe(false)
      cycle.finish()
    })
  })

  it.runIf(bySignal)('gives the collector and this thread turns on a page: every schedule, each twice the same', () => {
    staged(options, 120_000, ({ cycle }) => {
      cycle.to('compact')
      const missing = cycle.pages().flatMap(({ kind, page }) => (kind === 'compacted' ? [page] : []))
      let schedules = 0
      const states = new Set<string>()
      let order: ('collector' | 'mutator')[] | undefined = []
      while (order !== undefined && schedules < 200) {
        const turns = cycle.interleave(missing.pop() as number, order)
        expect(cycle.interleave(missing.pop() as number, order)).toEqual(turns)
        expect(turns.slice(0, order.length).map(({ actor }) => actor)).toEqual(order)
        for (const { before, after } of turns) states.add(`${before} ${after}`)
        schedules++
        // Depth first: the other choice at the last turn where there was one.
        const at = turns.findLastIndex(({ actor, enabled }) => actor === 'collector' && enabled.includes('mutator'))
        order = at < 0 ? undefined : [...turns.slice(0, at).map(({ actor }) => actor), 'mutator']
      }
      expect(schedules).toBeGreaterThan(100)
      expect(states).toContain('untouched building')
      expect(states).toContain('building built')
      expect(states).toContain('built mapped')
      cycle.finish()
    })
  })

  it('lets a held cycle go when the program needs memory or closes the heap', () => {
    staged(options, 2000, ({ cycle, heap }) => {
      cycle.to('compact')
      expect(cycle.holdPage(cycle.pages()[0].page, 'built')).toBe(true)
      heap.collectSync()
      cycle.releasePage()
      expect(cycle.rest).toBe('idle')
    })
    const heap = Heap.create({ maxBytes: '1m', ...options, stepping: true })
    const bytes = heap.defineArray('Bytes', 'u8')
    heap.run((m) => {
      const table = m.roots.table('ref', 1)
      for (let i = 0; i < 8; i++) table.set(0, m.allocArray(bytes, 20_000))
    })
    const cycle = stepCycle(heap).to('compact')
    expect(cycle.holdPage(cycle.pages()[0].page, 'claimed')).toBe(true)
    heap.close()
    expect(failure(() => cycle.rest).code).toBe('ERR_HEAP_CLOSED')
  })

  it('says so when a held cycle is asked to go on, which it never would', () => {
    staged(options, 2000, ({ cycle }) => {
      const [{ page }] = cycle.to('compact').pages()
      expect(cycle.holdPage(page, 'built')).toBe(true)
      for (const ask of [
        () => cycle.rest,
        () => cycle.next(),
        () => cycle.to('close'),
        () => cycle.mark(1),
        () => cycle.pages(),
        () => cycle.compactPage(page),
        () => cycle.holdPage(page, 'built'),
        () => cycle.interleave(page, []),
        () => cycle.finish(),
      ]) {
        expect(failure(ask)).toEqual({
          code: 'ERR_BAD_VALUE',
          message: 'the collector is held at a page: releasePage() lets the cycle go on',
        })
      }
      expect(cycle.page(page).page).toBe(page)
      cycle.releasePage()
      expect(cycle.rest).toBe('compact')
      cycle.finish()
    })
  })

  it('takes no count, point, turn or heap that is none', () => {
    staged(options, 2000, ({ cycle }) => {
      cycle.to('trace')
      const marked = cycle.mark(0)
      expect(cycle.mark(0)).toBe(marked)
      for (const wrong of [-1, 0.5, NaN, 'x', 2 ** 31]) {
        expect(failure(() => cycle.mark(wrong as number)).message).toMatch(
          /^mark takes a whole number of objects, 0 to /,
        )
      }
      const [{ page }] = cycle.to('compact').pages()
      for (const wrong of ['faulted', 'looking', 'overtaking', 'drained', 'x']) {
        expect(failure(() => cycle.holdPage(page, wrong as never)).message).toMatch(
          /^holdPage holds a page at claiming, /,
        )
      }
      if (bySignal) {
        expect(failure(() => cycle.interleave(page, ['colector'] as never)).message).toBe(
          'interleave gives turns to collector and mutator; got "colector"',
        )
      }
      cycle.finish()
    })
    const heap = Heap.create({ maxBytes: '1m', ...options, stepping: true })
    const cycle = stepCycle(heap)
    heap.close()
    for (const ask of [() => cycle.page(0), () => cycle.touch(0), () => cycle.releasePage(), () => cycle.mark(1)]) {
      expect(failure(ask).code).toBe('ERR_HEAP_CLOSED')
    }
  })

  it('refuses what it cannot do', () => {
    staged(options, 100, ({ cycle }) => {
      expect(failure(() => cycle.compactPage(0)).message).toMatch(
        /wants a cycle that rests at 'compact'; it is at 'idle'/,
      )
      expect(failure(() => cycle.page(-1)).code).toBe('ERR_BOUNDS')
      expect(failure(() => cycle.to('nowhere' as never)).message).toMatch(/rests at idle, mark/)
    })
    using plain = Heap.create({ maxBytes: '1m', ...options })
    expect(failure(() => stepCycle(plain)).message).toMatch(/stepping: true/)
  })
})

describe.runIf(chosen.length > 0)('the names', () => {
  it('are those of the native code', () => {
    const lower = (names: readonly string[]): string[] => names.map((name) => name.toLowerCase())
    expect(lower(binding.stepping['rests'])).toEqual([...RESTS])
    expect(lower(binding.stepping['points'])).toEqual([...HOLD_POINTS])
    expect(lower(binding.stepping['kinds'])).toEqual([...PAGE_KINDS])
  })

  it('every edge of the page states has its line in the table of page-state.h, and its test', () => {
    const header = readFileSync(new URL('../../native/core/compaction/page-state.h', import.meta.url), 'utf8')
    const inHeader = [...header.matchAll(/^ {2}X\((\w+), (\w+), (\w+), [+-]?\d\)/gm)].map(([, edge, from, to]) => ({
      edge,
      from,
      to,
    }))
    expect(inHeader.map(({ edge }) => edge)).toEqual(binding.stepping['edges'])
    // With threads in every schedule (page_states.cc), and the rest by name (page_close.cc).
    const [tests, closing] = ['page_states', 'page_close'].map((name) =>
      readFileSync(new URL(`../../native/selftest/${name}.cc`, import.meta.url), 'utf8'),
    )
    const worked = /kWorkEdges = \{([^}]*)\}/.exec(tests)?.[1] ?? ''
    const alone: { [edge: string]: string } = {
      Fill: 'a_tlab_granted_during_a_compaction_fills_its_pages_and_the_close_resets_them',
      Reset: 'every_schedule_of_a_late_fault_and_the_close_on_a_mapped_page',
    }
    for (const { edge } of inHeader) {
      const test = alone[edge]
      if (test === undefined) expect(worked).toContain(`"${edge}"`)
      else expect(closing).toContain(`TEST(${test})`)
    }
  })
})
