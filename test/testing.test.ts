// glissade/testing: what it cannot do is an error that says so.
import { Heap } from 'glissade'
import { corrupt, seedFromEnvironment, step, tuned } from 'glissade/testing'
import { describe, expect, it, vi } from 'vitest'
import { loadNative } from '../dist/gc/native-loader.js'
import { concurrent, configurations, failure } from './conformance/configurations.js'

describe('glissade/testing refuses', () => {
  it.each([-1, NaN, 1.5, 2 ** 31, 'x' as never])('step(heap, %s)', (gates) => {
    for (const { options } of configurations) {
      using heap = Heap.create({ maxBytes: '1m', ...options, stepping: true })
      const { code, message } = failure(() => step(heap, gates))
      expect(code).toBe('ERR_BAD_VALUE')
      expect(message).toMatch(/^step passes a whole number of gates, 0 to 2147483647; got /)
    }
  })

  it('to step where there are no gates', () => {
    for (const { options, concurrent } of configurations) {
      using heap = Heap.create({ maxBytes: '1m', ...options })
      if (concurrent) expect(failure(() => step(heap)).message).toMatch(/^step wants .*\{ stepping: true \}/)
      else expect(step(heap)).toBe('idle')
    }
  })

  it('to step in a function that an inspection calls', () => {
    for (const { options } of configurations) {
      using heap = Heap.create({ maxBytes: '1m', ...options, stepping: true })
      const node = heap.defineShape('Node', { next: 'ref' })
      heap.run((m) => m.scoped((scope) => heap.global(scope.new(node))))
      expect(failure(() => heap.pathTo(() => step(heap) === 'idle')).code).toBe('ERR_NO_SAFEPOINT')
      expect(heap.stats().collections).toBe(0)
    }
  })

  it('to tune what an async function makes, which it does later', () => {
    expect(failure(() => tuned({ reuse: 0 }, async () => Promise.resolve(1))).code).toBe('ERR_ASYNC_RUN')
    expect(failure(() => tuned({ reuse: 0 }, 7 as never)).code).toBe('ERR_BAD_VALUE')
  })

  it('to plant what it does not know, and outside run', () => {
    using heap = Heap.create({ maxBytes: '1m' })
    heap.run(() => {
      expect(failure(() => corrupt(heap, 'oddref' as never))).toEqual({
        code: 'ERR_BAD_VALUE',
        message: 'corrupt knows no damage "oddref": did you mean \'oddRef\'?',
      })
      expect(failure(() => corrupt(heap, 'toString' as never)).message).toMatch(/it is one of badShapeId, freedObject/)
    })
    expect(failure(() => corrupt(heap, 'dirtyNullPage')).code).toBe('ERR_NOT_RUNNING')
    expect(heap.verify().violations).toEqual([])
  })

  it.each<[unknown, RegExp]>([
    [{ nope: 1 }, /^tuned knows no "nope": known are freshWindows, minBytes/],
    [{ reus: 0 }, /^tuned knows no "reus": did you mean 'reuse'\?/],
    [{ young: 3 }, /^young of tuned is a whole number, 0 to 2; got 3/],
    [{ reuse: '0' }, /^reuse of tuned is a whole number, 0 to 2; got "0"/],
    [null, /^tuned takes an object like \{ reuse: 0 \}; got null/],
  ])('tuned(%j)', (options, sentence) => {
    let made = false
    const { code, message } = failure(() => tuned(options as never, () => (made = true)))
    expect({ code, made }).toEqual({ code: 'ERR_OPTION', made: false })
    expect(message).toMatch(sentence)
  })

  it('nothing that is left undefined', () => {
    expect(tuned({ young: undefined, reuse: 0 }, () => 7)).toBe(7)
  })
})

describe.runIf(configurations.some((c) => c.concurrent))('what tuned says reaches the core', () => {
  const nodeOf = (heap: Heap) => heap.defineShape('Node', { next: 'ref', key: 'f64' })

  /** Makes so many nodes of 24 bytes and keeps none. It takes no root area: it may be called until something happens. */
  function discard(heap: Heap, nodes: number): void {
    const node = nodeOf(heap)
    heap.run((m) => {
      for (let i = 0; i < nodes; i++) m.alloc(node)
    })
  }

  /** Makes so many nodes of 24 bytes, all but one in 16 on a list, which hangs on the slot that it returns. */
  function keep(heap: Heap, nodes: number): number {
    const node = nodeOf(heap)
    return heap.run((m) => {
      const list = m.roots.table('ref', 1)
      for (let i = 0; i < nodes; i++) {
        const ref = m.alloc(node)
        if (i % 16 === 0) continue
        m.setRef(ref, node.at.next, list.get(0))
        list.set(0, ref)
      }
      return list.base
    })
  }

  const make = (options: Parameters<typeof tuned>[0], more: object = {}): Heap =>
    tuned(options, () => Heap.create({ maxBytes: '64m', collector: 'concurrent', ...more }))

  it('minBytes: where the first cycle begins', async () => {
    using late = make({ minBytes: 2 ** 26 })
    discard(late, 300_000)
    expect(late.phaseLog()).toEqual([])
    using early = make({ minBytes: 2 ** 20 })
    discard(early, 300_000)
    // It has been asked for; the collector's thread may need some time to begin.
    for (let i = 0; i < 3000 && early.phaseLog().length === 0; i++) await new Promise((done) => setTimeout(done, 10))
    expect(early.phaseLog()[0]?.phase).toBe('mark')
  })

  it('young: which cycles keep the marks', () => {
    for (const young of [0, 2]) {
      using heap = make({ young })
      for (let i = 0; i < 8; i++) {
        discard(heap, 1000)
        heap.collectSync()
      }
      expect(heap.stats().raw.counters['youngCycles'] > 0).toBe(young === 2)
    }
  })

  it('retentionMs: how soon memory goes back that is needed no longer', () => {
    for (const retentionMs of [0, 2 ** 31]) {
      using heap = make({ retentionMs, minBytes: 2 ** 20 })
      const slot = keep(heap, 900_000)
      heap.run((m) => (m.rootsI32[slot] = 0))
      const { collections } = heap.stats()
      // Cycles that begin by themselves; one that is asked for forgets everything at once.
      while (heap.stats().collections < collections + 6) discard(heap, 10_000)
      expect(heap.stats().raw.counters['pagesReturned'] > 2000, `${retentionMs} ms`).toBe(retentionMs === 0)
    }
  })

  it('overdraft: from when on neighbours are built', () => {
    for (const overdraft of [1, 10_000]) {
      using heap = make({ overdraft }, { stepping: true })
      const slot = keep(heap, 200_000)
      while (step(heap) !== 'compact');
      heap.run((m) => {
        // Every other page: each is made from two, which those beside it need as well.
        const end = m.rootsI32[slot]
        let shapes = 0
        for (let ref = end - 2048 * 150; ref < end; ref += 2048) shapes += m.i32[ref]
        expect(shapes).not.toBe(0)
      })
      const { pagesBuiltBeside, pagesBuiltByMutators } = heap.stats().raw.counters
      expect(pagesBuiltByMutators).toBeGreaterThan(50)
      expect(pagesBuiltBeside > 0).toBe(overdraft === 1)
    }
  })
})

describe('glissade/testing', () => {
  it.runIf(concurrent.length > 0)('tunes what is made inside, and nothing after it, also where that throws', () => {
    const binding = loadNative().exports as { create: (options: object) => unknown }
    const create = vi.spyOn(binding, 'create')
    const made = (): unknown => {
      Heap.create({ maxBytes: '1m', collector: 'concurrent' }).close()
      return create.mock.lastCall?.[0]
    }
    try {
      const plain = made()
      expect(plain).not.toHaveProperty('young')
      expect(tuned({ young: 2, overdraft: 7 }, made)).toEqual({ ...(plain as object), young: 2, overdraft: 7 })
      expect(made()).toEqual(plain)
      const within = { ...(plain as object), young: 2, overdraft: 7 }
      tuned({ young: 2, overdraft: 3 }, () => {
        expect(tuned({ overdraft: 7 }, made)).toEqual(within)
        expect(made()).toEqual({ ...within, overdraft: 3 })
      })
      expect(made()).toEqual(plain)
      const failing = (): void => {
        throw new TypeError('inside')
      }
      expect(() => tuned({ young: 2 }, failing)).toThrow('inside')
      expect(made()).toEqual(plain)
    } finally {
      create.mockRestore()
    }
  })

  it('takes a seed from the environment, where there is one', () => {
    vi.stubEnv('GLISSADE_SEED', '12345')
    vi.stubEnv('GLISSADE_OTHER_SEED', String(2 ** 32 + 7))
    expect([seedFromEnvironment(), seedFromEnvironment('GLISSADE_OTHER_SEED')]).toEqual([12345, 7])
    vi.unstubAllEnvs()
    const drawn = seedFromEnvironment('GLISSADE_NO_SUCH_SEED')
    expect(Number.isInteger(drawn) && drawn >= 0 && drawn < 2 ** 32).toBe(true)
  })
})
