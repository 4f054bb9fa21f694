// What the collector's own verification finds in a cycle that nobody asked for: the program hears of it at once.
import { spawnSync } from 'node:child_process'
import { Heap, type Mutator, type Ref } from 'glissade'
import { tuned } from 'glissade/testing'
import { describe, expect, it } from 'vitest'
import { configurations, failure } from './conformance/configurations.js'

const entry = (file: string): string => JSON.stringify(new URL(`../dist/${file}.js`, import.meta.url).href)

/** In a process of its own, as its stderr counts: a reference stored without its card, found by the cycle that went on. */
function run(next: string): { status: number | null; out: string; error: string } {
  const source = `
    import { Heap } from ${entry('index')}
    import { step } from ${entry('testing')}
    const heap = Heap.create({ maxBytes: '4m', collector: 'concurrent', stepping: true, verify: 2 })
    const node = heap.defineShape('Node', { next: 'ref' })
    const told = (fn) => { try { fn(); return 'nothing' } catch (error) { return error.code + ' ' + error.message } }
    heap.run((m) => {
      const table = m.roots.table('ref', 1)
      table.set(0, m.alloc(node))
      while (heap.verify().ok) {
        if (step(heap) !== 'mark') throw new Error('the cycle rested nowhere between trace and remark')
        const other = m.alloc(node)
        const slot = table.get(0) + node.at.next
        m.i32[slot] = other
        m.cards[slot >>> 8] = 0
      }
      while (step(heap) === 'mark');
      m.setRef(table.get(0), node.at.next, 0)
      ${next}
    })
    heap.close()`
  const child = spawnSync(process.execPath, ['--input-type=module', '-e', source], {
    encoding: 'utf8',
    timeout: 60_000,
  })
  return { status: child.status, out: child.stdout, error: child.stderr }
}

describe.runIf(configurations.some((c) => c.concurrent))('a violation of a cycle that nobody waits for', () => {
  const found = /ref \d+, held by ref \d+, is not marked \(invariant 6\)/
  it.each([
    ['poll', 'm.poll()'],
    ['slow allocation', 'for (let i = 0; i < 1e5; i++) m.alloc(node)'],
  ])('is thrown at the next %s, once', (_what, next) => {
    const { status, out, error } = run(`
      for (let i = 0; i < 2; i++) console.log(told(() => { ${next} }))
      console.log(told(() => heap.collectSync()))`)
    expect(error).toMatch(new RegExp(`^glissade: verification: ${found.source}\n$`))
    expect(out.split('\n')[0]).toMatch(new RegExp(`^ERR_INVALID_HEAP ${found.source}$`))
    expect(out.split('\n').slice(1)).toEqual(['nothing', 'nothing', ''])
    expect(status).toBe(0)
  })

  it('is told again when it is found again', () => {
    const { out, error } = run(`
      console.log(told(() => m.poll()))
      while (heap.verify().ok) {
        if (step(heap) !== 'mark') continue
        const other = m.alloc(node)
        const again = table.get(0) + node.at.next
        m.i32[again] = other
        m.cards[again >>> 8] = 0
      }
      while (step(heap) === 'mark');
      m.setRef(table.get(0), node.at.next, 0)
      console.log(told(() => m.poll()))`)
    expect(out).toMatch(new RegExp(`^ERR_INVALID_HEAP ${found.source}\nERR_INVALID_HEAP ${found.source}\n$`))
    expect(error.split('\n').length).toBe(3)
  })

  it('is on stderr before a program can die of it', () => {
    const { error } = run(`process.kill(process.pid, 'SIGKILL')`)
    expect(error).toMatch(new RegExp(`^glissade: verification: ${found.source}\n$`))
  })

  it('is thrown by the collection that somebody waits for', () => {
    const { out } = run(`console.log(told(() => heap.collectSync())); console.log(told(() => m.poll()))`)
    expect(out).toMatch(new RegExp(`^ERR_INVALID_HEAP ${found.source}\nnothing\n$`))
  })
})

describe.runIf(configurations.some((c) => c.concurrent))('checks that the collector made of itself', () => {
  it.each([0, 1, 2, 3])('are counted, level %d', (verify) => {
    using heap = Heap.create({ maxBytes: '4m', collector: 'concurrent', verify })
    for (let i = 0; i < 3; i++) heap.collectSync()
    const { verifications } = heap.stats().raw.counters
    expect(verifications > 0).toBe(verify > 0)
  })
})

describe.each(configurations.filter((c) => c.concurrent))(
  'a heap that its program has damaged ($name)',
  ({ options }) => {
    const damages: [string, (m: Mutator, at: { array: Ref; node: Ref; root: number; slot: number }) => void, RegExp][] =
      [
        ['past the end of an array', (m, { array }) => m.i32.fill(-1, array + 6, array + 66), /word 0 is 4294967295/],
        ['a longer length', (m, { array }) => (m.i32[array + 1] = 1 << 30), /is longer than any object there, held by/],
        ['a number in a root', (m, { root }) => (m.rootsI32[root] = -8), /is odd or outside the heap, held by a root/],
        ['a number in a slot', (m, { node, slot }) => (m.i32[node + slot] = 7), /ref 7 is odd or .*, held by ref \d+/],
        [
          'null with an offset',
          (m, { node, slot }) => (m.i32[node + slot] = 16),
          /ref 16 is odd or .*, held by ref \d+/,
        ],
      ]
    it.each(damages.flatMap(([name, damage, says]) => [1, 2, 4].map((level) => [name, level, damage, says] as const)))(
      'is told by a collection, and can be looked at after it: %s, at level %i',
      (_name, verify, damage, says) => {
        using heap = Heap.create({ maxBytes: '8m', ...options, verify })
        const node = heap.defineShape('Node', { next: 'ref', key: 'i32' })
        const refs = heap.defineArray('Refs', 'ref')
        heap.run((m) => {
          const table = m.roots.table('ref', 3)
          table.set(1, m.allocArray(refs, 4))
          for (let key = 0; key < 1000; key++) {
            const made = m.alloc(node)
            m.i32[made + node.at.key] = key
            m.setRef(made, node.at.next, table.get(0))
            table.set(0, made)
            if (key % 2) m.alloc(node)
          }
          // Neighbours, of which the first is written past.
          table.set(1, m.allocArray(refs, 4))
          for (let i = 0; i < 8; i++) {
            const made = m.alloc(node)
            m.setRef(made, node.at.next, table.get(0))
            table.set(0, made)
          }
          const at = { array: table.get(1) as Ref, node: table.get(0) as Ref, root: table.base + 2, slot: node.at.next }
          table.top = 3
          damage(m, at)
          m.cards.fill(1)
          m.rootCards.fill(1)
          for (let i = 0; i < 3; i++) {
            expect(failure(() => heap.collectSync())).toMatchObject({
              code: 'ERR_INVALID_HEAP',
              message: expect.stringMatching(says),
            })
          }
          // Nothing has moved, so what was damaged is where it was.
          expect([table.get(1), table.get(0)]).toEqual([at.array, at.node])
          expect(heap.verify().ok).toBe(false)
        })
      },
    )
    const told = (heap: Heap): { code: string; message: string } => failure(() => heap.collectSync())

    it.each(
      ([7, -8, 2_000_000_000] as const).flatMap((word) =>
        (['elements', 'keys'] as const).map((weak) => [word, weak] as const),
      ),
    )('is told of a weak slot, and the slot keeps what it has: %i in weak %s', (word, weak) => {
      for (const verify of [1, 4]) {
        using heap = Heap.create({ maxBytes: '8m', ...options, verify })
        const array = heap.defineArray('Weak', 'ref', { weak })
        heap.run((m) => {
          const table = m.roots.table('ref', 1)
          table.set(0, m.allocArray(array, 4))
          const slot = (table.get(0) as Ref) + array.elementsAt
          m.i32[slot] = word
          for (let i = 0; i < 2; i++) {
            expect(told(heap)).toMatchObject({
              code: 'ERR_INVALID_HEAP',
              message: expect.stringMatching(/odd or outside/),
            })
            expect(m.i32[slot]).toBe(word)
          }
          m.i32[slot] = 0
        })
        heap.collectSync()
        heap.assertValid()
      }
    })

    it('loses nothing that only what is damaged leads to: repaired, it is whole', () => {
      using heap = Heap.create({ maxBytes: '8m', ...options, verify: 2 })
      const node = heap.defineShape('Node', { next: 'ref' })
      const array = heap.defineArray('Weak', 'ref', { weak: 'elements' })
      const guardian = heap.guardian()
      heap.run((m) => {
        const table = m.roots.table('ref', 2)
        table.set(0, m.alloc(node))
        table.set(1, m.allocArray(array, 1))
        const only = m.alloc(node)
        const [holder, weak] = [table.get(0) as Ref, table.get(1) as Ref]
        m.setRef(holder, node.at.next, only)
        m.setElementRef(weak, 0, only)
        guardian.guardRef(only)
        m.i32[holder] = 60_000
        for (let i = 0; i < 2; i++) expect(told(heap).message).toMatch(/word 0 is 60000\), held by a root/)
        m.i32[holder] = node.id
        expect([m.getRef(holder, node.at.next), m.i32[weak + array.elementsAt], guardian.due]).toEqual([only, only, 0])
      })
      heap.collectSync()
      heap.assertValid()
    })

    it('is told by a cycle that keeps the marks of the one before', () => {
      using heap = tuned({ young: 2 }, () => Heap.create({ maxBytes: '32m', ...options, verify: 1 }))
      const node = heap.defineShape('Node', { next: 'ref', key: 'i32' })
      heap.run((m) => {
        const table = m.roots.table('ref', 1)
        for (let i = 0; i < 20_000; i++) {
          const made = m.alloc(node)
          m.setRef(made, node.at.next, table.get(0))
          table.set(0, made)
        }
        for (let i = 0; i < 5; i++) heap.collectSync()
        let at = table.get(0) as Ref
        for (let i = 0; i < 50; i++) at = m.getRef(at, node.at.next)
        m.i32[at] = -1
        m.cards.fill(1)
        for (let i = 0; i < 4; i++) expect(told(heap).message).toMatch(/word 0 is 4294967295\), held by ref/)
      })
    })

    it('gives out no memory in a cycle that begins by itself', () => {
      using heap = tuned({ minBytes: 4 * 2 ** 20 }, () => Heap.create({ maxBytes: '8m', ...options, verify: 1 }))
      const node = heap.defineShape('Node', { next: 'ref', key: 'i32' })
      const COUNT = 40_000
      heap.run((m) => {
        const table = m.roots.table('ref', 1)
        heap.collectSync()
        for (let i = 0; i < 170_000; i++) m.alloc(node)
        table.set(0, m.alloc(node))
        for (let i = 0; i < COUNT; i++) {
          const made = m.alloc(node)
          const head = table.get(0) as Ref
          m.i32[made + node.at.key] = i
          m.setRef(made, node.at.next, m.getRef(head, node.at.next))
          m.setRef(head, node.at.next, made)
        }
        const head = table.get(0) as Ref
        m.i32[head] = 0xffffff
        const { message } = failure(() => {
          for (let i = 0; i < 3_000_000; i++) m.alloc(node)
        })
        expect(message).toMatch(/word 0 is 16777215\), held by a root|live data fills maxBytes/)
        failure(() => {
          for (let i = 0; i < 3_000_000; i++) m.alloc(node)
        })
        let intact = 0
        for (let at = m.getRef(head, node.at.next); at !== 0 && intact < COUNT; at = m.getRef(at, node.at.next)) {
          if (m.i32[at] !== node.id || m.i32[at + node.at.key] !== COUNT - 1 - intact) break
          intact++
        }
        expect(intact).toBe(COUNT)
      })
    })
  },
)
