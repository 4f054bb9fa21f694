// Work in JavaScript that a vm timeout or the end of the stack cuts off, of portable collectors and of checked heaps: no
// `finally` runs for the first, and the second may come at every call.
import { spawnSync } from 'node:child_process'
import { createContext, runInContext } from 'node:vm'
import { Heap, type Handle, type Ref } from 'glissade'
import { afterEach, describe, expect, it } from 'vitest'
import type { PortableSpace } from '../src/gc/portable/portable-space.js'
import { AreaKind, AreaWord, LARGE_BYTES, Word, areaBlock } from '../dist/heap/layout.js'
import { concurrent, failure, overAll } from './conformance/configurations.js'

const { Int32Array: Words } = globalThis
const { copyWithin } = Words.prototype
afterEach(() => {
  globalThis.Int32Array = Words
  Words.prototype.copyWithin = copyWithin
})

/** Where a collection meets it, it spins until the timeout. */
const stuck = function (): never {
  for (;;);
} as never
/** On a busy machine it may take most of `timeout`, in ms, to come to where it spins. */
function cutOff(work: () => unknown, timeout = 50): void {
  expect(() => runInContext('work()', createContext({ work }), { timeout })).toThrow(/timed out/)
  globalThis.Int32Array = Words
  Words.prototype.copyWithin = copyWithin
}

const LENGTH = 6000
/** An array of nodes with their indices, garbage between them, and a large object without references beside it. */
function fill(heap: Heap): { check: (every: number) => void; drop: (every: number) => void } {
  const node = heap.defineShape('Node', { other: 'ref', key: 'i32' })
  const nodes = heap.defineArray('Nodes', 'ref')
  const bytes = heap.defineArray('Bytes', 'u8')
  const table = heap.run((m) => {
    const roots = m.roots.table('ref', 2)
    roots.set(0, m.allocArray(nodes, LENGTH))
    roots.set(1, m.allocArray(bytes, 100_000))
    for (let i = 0; i < LENGTH; i++) {
      m.alloc(node)
      const ref = m.alloc(node)
      m.i32[ref + node.at.key] = i
      m.setElementRef(roots.get(0) as Ref, i, ref)
    }
    return roots
  })
  const element = (i: number): number => (table.get(0) as number) + nodes.elementsAt + i
  return {
    drop: (every) => heap.run((m) => Array.from({ length: LENGTH }, (_, i) => i % every && (m.i32[element(i)] = 0))),
    check: (every) =>
      heap.run((m) => {
        heap.assertValid()
        const keys = Array.from({ length: LENGTH }, (_, i) => i % every || m.i32[m.i32[element(i)] + node.at.key] - i)
        expect(keys.filter((wrong, i) => i % every === 0 && wrong !== 0)).toEqual([])
      }),
  }
}

describe.each([false, true])('a stop-the-world collection (checked: %s)', (checked) => {
  const options = { maxBytes: '4m', collector: 'stop-the-world' } as const

  it('that is cut off while it marks changes nothing, and the next one is whole', () => {
    using heap = Heap.create({ ...options, checked })
    const { drop, check } = fill(heap)
    // What is pending outgrows its array.
    cutOff(() => {
      globalThis.Int32Array = stuck
      heap.collectSync()
    })
    check(1)
    const all = heap.verify().objects
    drop(2)
    heap.collectSync()
    check(2)
    expect(heap.verify().objects).toBe(all - LENGTH / 2)
    expect(heap.stats().bytesLive).toBeLessThan(LENGTH * 4 + (LENGTH / 2) * 16 + 110_000)
  })

  it('that is cut off while objects move leaves a heap that says so', () => {
    const heap = Heap.create({ ...options, checked })
    const { drop } = fill(heap)
    const node = heap.defineShape('Node', { other: 'ref', key: 'i32' })
    drop(2)
    heap.run((m) => {
      cutOff(() => {
        Words.prototype.copyWithin = stuck
        heap.collectSync()
      }, 500)
      for (const use of [() => m.alloc(node), () => m.poll(), () => m.parked(() => 0)]) {
        expect(failure(use).code).toBe('ERR_INVALID_HEAP')
      }
      for (const use of [() => heap.collectSync(), () => heap.verify()]) {
        expect(failure(use).code).toBe('ERR_INVALID_HEAP')
      }
    })
    expect(failure(() => heap.run(() => 0)).message).toMatch(
      /^a collection of this heap was cut off half way, by a vm timeout or an exception.*: close it and make another/,
    )
    heap.close()
    expect(heap.closed).toBe(true)
  })
})

it('a stop-the-world collection that meets the end of the stack has changed nothing', () => {
  using heap = Heap.create({ maxBytes: '4m', collector: 'stop-the-world' })
  const { check, drop } = fill(heap)
  let overflows = 0
  heap.run((m) => {
    const node = heap.defineShape('Node', { other: 'ref', key: 'i32' })
    for (let round = 0; round < 40; round++) {
      drop(1 + (round % 2))
      m.alloc(node)
      let collected = false
      // On the way back it tries from every frame, until there is stack enough.
      const descend = (): number => {
        try {
          return descend() + 1
        } catch (error) {
          if (!collected) {
            try {
              heap.collectSync()
              collected = true
            } catch (overflow) {
              expect((overflow as Error).message).toMatch(/call stack/)
              overflows++
            }
          }
          throw error
        }
      }
      const from = (pad: number): number => (pad === 0 ? descend() : from(pad - 1) * 1.5)
      expect(() => from(round)).toThrow(/call stack/)
      expect(collected).toBe(true)
    }
  })
  check(2)
  expect(overflows).toBeGreaterThan(40)
})

it('a collection does without what a vm timeout may have left undefined', () => {
  const { performance } = globalThis
  using heap = Heap.create({ maxBytes: '4m', collector: 'stop-the-world' })
  try {
    Object.defineProperty(globalThis, 'performance', { value: undefined, configurable: true })
    heap.collectSync()
  } finally {
    Object.defineProperty(globalThis, 'performance', { value: performance, configurable: true, writable: true })
  }
  expect(heap.stats().collections).toBe(1)
})

it.each(['stop-the-world', 'none'] as const)(
  'an allocation that is cut off at any call leaves a valid heap (%s)',
  (collector) => {
    const sizes = [8000, 20_000, 100_000]
    for (const length of sizes) {
      let cutOff = 0
      for (let at = 1; ; at++) {
        using heap = Heap.create({ maxBytes: '4m', collector })
        const pair = heap.defineShape('Pair', { left: 'ref', right: 'ref' })
        const bytes = heap.defineArray('Bytes', 'u8')
        const { space } = heap._core.collector as unknown as { space: PortableSpace }
        let calls = 0
        // Whatever finds a mutator's block is a call, and makes a number of its index.
        const index = {
          [Symbol.toPrimitive](hint: string) {
            if (hint !== 'string' && ++calls === at) throw new RangeError('cut off')
            return 0
          },
        }
        heap.run((m) => {
          // What they leave of their TLAB is too short.
          for (let i = 0; i < 8; i++) m.allocArray(bytes, 8000)
          try {
            space.allocate(index as unknown as number, bytes.id, length << 2, 1 + length / 8, 2 ** 22)
          } catch (error) {
            expect((error as Error).message).toBe('cut off')
            cutOff++
          }
          const made = Array.from({ length: 10 }, () => m.alloc(pair))
          expect(made.every((ref) => ref > 0 && m.shapeOf(ref) === pair.id)).toBe(true)
        })
        heap.assertValid()
        if (calls < at) break
      }
      expect(cutOff).toBeGreaterThan(length < LARGE_BYTES ? 2 : 0)
    }
  },
)

// In a process of its own: what is not there any more must not be written to.
it.each(['stop-the-world', 'none'])(
  'a run (%s) whose buffers were transferred away ends with its own error',
  (collector) => {
    const source = `
    import { Heap } from ${JSON.stringify(new URL('../dist/index.js', import.meta.url).href)}
    const heap = Heap.create({ maxBytes: '1m', collector: '${collector}' })
    try {
      heap.run((m) => {
        const { buffer } = m.rootsI32
        structuredClone(buffer, { transfer: [buffer] })
        throw new Error('mine')
      })
    } catch (error) {
      console.log(error.message)
    }`
    const { status, signal, stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', source], {
      encoding: 'utf8',
    })
    expect({ status, signal, stdout }).toEqual({ status: 0, signal: null, stdout: 'mine\n' })
  },
)

overAll(
  'cut off between a collection and what a checked heap makes of it',
  ({ options }) => {
    const overflow = function (): never {
      throw new RangeError('end of the stack')
    } as never
    const ways = {
      'the end of the stack': (safepoint: () => void) => {
        globalThis.Int32Array = overflow
        expect(safepoint).toThrow('end of the stack')
        globalThis.Int32Array = Words
      },
      'a vm timeout': (safepoint: () => void) =>
        cutOff(() => {
          globalThis.Int32Array = stuck
          safepoint()
        }),
    }

    it.each(Object.entries(ways))('%s: no object is called stale that is not', (_name, way) => {
      using heap = Heap.create({ maxBytes: '4m', checked: true, stress: { everyAllocations: 1 }, ...options })
      const node = heap.defineShape('Node', { key: 'i32' })
      heap.run((m) => {
        const table = m.roots.table('ref', 1)
        table.set(0, m.alloc(node))
        const safepoints = [() => heap.collectSync(), () => void m.alloc(node), () => m.reserve(16)]
        let moved = 0
        for (const safepoint of safepoints) {
          for (const use of [
            (ref: Ref) => (m.i32[ref + node.at.key] = 1),
            (ref: Ref) => m.shapeOf(ref),
            (ref: Ref) => table.set(0, ref),
            (ref: Ref) => m.scoped((scope) => scope.handle(ref, node).key),
            (ref: Ref) => m.identityHash(ref),
          ]) {
            const stale = table.get(0) as Ref
            way(safepoint)
            use(table.get(0) as Ref)
            // On a busy machine a timeout may come before the collection.
            if (table.get(0) === stale) continue
            moved++
            expect(failure(() => use(stale)).code).toBe('ERR_STALE_REF')
          }
        }
        expect(moved).toBeGreaterThan(0)
      })
      heap.assertValid()
    })

    it('the root area that was being made is free again', () => {
      using heap = Heap.create({ maxBytes: '4m', checked: true, ...options })
      const way = ways['the end of the stack']
      heap.run((m) => {
        for (let i = 0; i < 300; i++) {
          way(() => heap.collectSync())
          way(() => m.roots.stack('ref', 1))
        }
        m.roots.stack('ref', 1)
      })
    })
  },
  concurrent,
)

describe.each(['stop-the-world', 'none', ...(concurrent.length > 0 ? (['concurrent'] as const) : [])] as const)(
  'the end of the stack, wherever it comes in a call of a heap (%s)',
  (collector) => {
    const calls: [string, (heap: Heap) => unknown][] = [
      ['run', (heap) => heap.run(() => 0)],
      ['parked', (heap) => heap.run((m) => m.parked(() => 0))],
      ['verify', (heap) => heap.verify()],
      ['census', (heap) => heap.census()],
      ['pathTo', (heap) => heap.pathTo(() => false)],
      ['collectSync', (heap) => heap.collectSync()],
    ]
    it.each(calls)('leaves it neither running nor inspected: %s', (_, call) => {
      using heap = Heap.create({ maxBytes: '16m', collector })
      const node = heap.defineShape('Node', { next: 'ref', key: 'i32' })
      const fill = (): void =>
        heap.run((m) => {
          const table = m.roots.table('ref', 1)
          for (let i = 0; i < 50; i++) {
            const ref = m.alloc(node)
            m.setRef(ref, node.at.next, table.get(0))
            table.set(0, ref)
          }
          table.free()
        })
      fill()
      let done = 0
      let overflows = 0
      // On the way back from the end there is a little more room at each level.
      const deep = (level: number, ...padding: number[]): number => {
        try {
          return deep(level + 1, ...padding)
        } catch (error) {
          if (!(error instanceof RangeError)) throw error
          try {
            call(heap)
            done++
          } catch (again) {
            if (!(again instanceof RangeError)) throw again
            overflows++
          }
          if (done > 200) return level
          throw error
        }
      }
      for (let padding = 0; padding < 8; padding++) {
        done = 0
        deep(0, ...new Array<number>(padding).fill(0))
        expect([heap._core.running, heap._core.inspecting]).toEqual([false, false])
        fill()
        heap.assertValid()
      }
      expect(overflows).toBeGreaterThan(0)
    })
  },
)

/** Calls `work` where there is no stack left for it, and from one frame after the other on the way back, until it is done. How often it was not. */
function fromTheEndOfTheStack(work: () => void): number {
  let overflows = 0
  const down = (): boolean => {
    // No `expect` in here, which takes more stack than most of what is tried.
    try {
      if (down()) return true
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
    }
    try {
      work()
      return true
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
      overflows++
      return false
    }
  }
  expect(down()).toBe(true)
  return overflows
}

overAll('what meets the end of the stack', ({ options }) => {
  const create = (): Heap => Heap.create({ maxBytes: '8m', ...options })

  it('is a first run that can be tried again: it takes one place among the threads', () => {
    using heap = create()
    let ran = 0
    expect(fromTheEndOfTheStack(() => heap.run(() => ran++))).toBeGreaterThan(1)
    expect(ran).toBe(1)
    heap.run((m) => expect(m.index).toBe(0))
  })

  it('leaves nothing above the top of a table', () => {
    using heap = create()
    const node = heap.defineShape('Node', { other: 'ref' })
    const table = heap.run((m) => m.roots.table('ref', 512))
    const slots = (): number[] =>
      Array.from(heap._core.views.rootsI32.subarray(table.base + table.top, table.base + table.capacity))
    for (let round = 0; round < 10; round++) {
      heap.run((m) => Array.from({ length: 512 }, (_, i) => table.set(i, m.alloc(node))))
      const overflows = fromTheEndOfTheStack(() => {
        expect(slots().every((slot) => slot === 0)).toBe(true)
        table.top = 0
      })
      expect(overflows).toBeGreaterThan(0)
      expect([table.top, slots().every((slot) => slot === 0)]).toEqual([0, true])
    }
    heap.assertValid()
  })

  it('is a release that can be tried again, and then has been done', () => {
    using heap = create()
    const node = heap.defineShape('Node', { other: 'ref' })
    const held = (): number => heap.census().objects
    for (let round = 0; round < 300; round++) {
      const { table, global, weak, guardian } = heap.run((m) =>
        m.scoped((scope) => {
          const table = m.roots.table('ref', 1)
          table.set(0, m.alloc(node))
          const handle = scope.new(node)
          const guardian = heap.guardian()
          guardian.guard(handle)
          return { table, global: heap.global(handle), weak: heap.weak(handle), guardian }
        }),
      )
      for (const release of [
        () => table.free(),
        () => global.release(),
        () => weak.release(),
        () => guardian.release(),
      ]) {
        fromTheEndOfTheStack(release)
      }
    }
    // 256 areas are all there are: each round would have left some.
    heap.collectSync()
    expect(held()).toBe(0)
  })

  it('is a scope that can be ended again, and then holds nothing, also what was made while an inner one was open', () => {
    using heap = create()
    const node = heap.defineShape('Node', { other: 'ref' })
    heap.run((m) => {
      for (let round = 0; round < 60; round++) {
        const scope = m.scope()
        const parked = m.scope()
        for (let i = 0; i < 5; i++) scope.new(node)
        for (let i = 0; i < 40; i++) parked.new(node)
        fromTheEndOfTheStack(() => scope.dispose())
        expect([scope.open, parked.open]).toEqual([false, false])
        // No slot was given back twice: each of these is in one of its own.
        const [outer, inner] = [m.scope(), m.scope()]
        const made = Array.from({ length: 10 }, () => outer.new(node))
        expect(new Set(made.map(({ _slot }) => _slot)).size).toBe(10)
        inner.dispose()
        outer.dispose()
      }
      expect(heap.census().objects).toBe(0)
    })
  })

  it('is a handle, a global, a guardian or a root area that nobody has, and that holds nothing', () => {
    using heap = create()
    const node = heap.defineShape('Node', { other: 'ref' })
    const held = (): number => {
      heap.collectSync()
      return heap.census().objects
    }
    const areas = (): number => {
      const { control } = heap._core.views
      const kinds = Array.from(
        { length: control[Word.AreaCount] },
        (_, area) => control[areaBlock(area) + AreaWord.Kind],
      )
      return kinds.filter((kind) => kind !== AreaKind.Free).length
    }
    heap.run((m) => {
      /** Makes something of a new handle, and lets go of it, again and again. */
      const rounds = (make: (handle: Handle) => () => void): void => {
        for (let i = 0; i < 40; i++) {
          m.scoped((scope) => {
            const handle = scope.new(node)
            let letGo = (): void => undefined
            fromTheEndOfTheStack(() => (letGo = make(handle)))
            letGo()
          })
        }
      }
      rounds((handle) => {
        const global = heap.global(handle)
        return () => global.release()
      })
      expect(held()).toBe(0)
      m.scoped((outer) => rounds((handle) => (outer.keep(handle), () => undefined)))
      expect(held()).toBe(0)
      const before = areas()
      rounds((handle) => {
        const guardian = heap.guardian()
        guardian.guard(handle)
        return () => guardian.release()
      })
      rounds(() => {
        const table = m.roots.table('ref', 1)
        return () => table.free()
      })
      expect([held(), areas()]).toEqual([0, before])
    })
  })
})
