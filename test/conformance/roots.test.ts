// Root areas: what lies below `top` lives, what lies above reads as zero after a collection.
import { Heap, Tag, Tagged, type Ref } from 'glissade'
import { Random, seedFromEnvironment, step } from 'glissade/testing'
import { expect, it } from 'vitest'
import { collecting, failure, overAll, runsIn, withHeap } from './configurations.js'

overAll('roots', (configuration) => {
  it('keeps what stacks and tables of both kinds hold', () => {
    withHeap(configuration, {}, (heap) => {
      const cell = heap.defineShape('Cell', { n: 'i32' })
      heap.run((m) => {
        const areas = {
          refStack: m.roots.stack('ref', 3000),
          refTable: m.roots.table('ref', 3000),
          valueStack: m.roots.stack('value', 3000),
          valueTable: m.roots.table('value', 3000),
        }
        const make = (n: number): Ref => {
          const ref = m.alloc(cell)
          m.i32[ref + cell.at.n] = n
          return ref
        }
        for (let i = 0; i < 3000; i++) {
          areas.refStack.set(i, make(i))
          areas.refStack.top = i + 1
          areas.refTable.set(i, make(-i))
          areas.valueStack.set(i, i % 3 === 0 ? i : new Tagged(Tag.Ref, make(i * 2)))
          areas.valueStack.top = i + 1
          areas.valueTable.set(i, i % 3 === 0 ? null : new Tagged(Tag.Ref, make(i * 3)))
        }
        heap.collectSync()
        for (let i = 0; i < 3000; i++) {
          const number = (content: unknown): number => m.i32[(content as number) + cell.at.n]
          expect(number(areas.refStack.get(i))).toBe(i)
          expect(number(areas.refTable.get(i))).toBe(i === 0 ? 0 : -i)
          const value = areas.valueStack.get(i)
          if (i % 3 === 0) expect(value).toBe(i)
          else expect(number((value as Tagged).payload)).toBe(i * 2)
          const constant = areas.valueTable.get(i)
          if (i % 3 === 0) expect(constant).toBe(null)
          else expect(number((constant as Tagged).payload)).toBe(i * 3)
        }
        for (const area of Object.values(areas)) area.free()
        expect(failure(() => areas.refStack.get(0)).message).toMatch(/was freed/)
      })
    })
  })

  it('opens a table by its index, and nothing else', () => {
    withHeap(configuration, {}, (heap) => {
      const cell = heap.defineShape('Cell', { n: 'i32' })
      heap.run((m) => {
        using scope = m.scope()
        heap.global(scope.new(cell)) // areas of scopes and globals are tables, too, and not for programs
        heap.guardian().guard(scope.new(cell))
        const made = m.roots.table('ref', 8)
        const stack = m.roots.stack('ref', 8)
        const values = m.roots.table('value', 8)
        const opened = m.roots.tableAt('ref', made.index)
        opened.set(5, m.alloc(cell))
        expect(made.top).toBe(6)
        expect(made.get(5)).toBe(opened.get(5))
        expect(failure(() => opened.get(8)).code).toBe('ERR_BOUNDS')
        const tables = Array.from({ length: 256 }, (_, index) => index).filter((index) => {
          try {
            return m.roots.tableAt('ref', index).index === index
          } catch {
            return false
          }
        })
        expect(tables).toEqual([made.index])
        for (const wrong of [stack.index, values.index, -1, 256, 0.5, NaN, '0', undefined, 2 ** 32 + made.index]) {
          const { code, message } = failure(() => m.roots.tableAt('ref', wrong as number))
          expect(code).toBe('ERR_BOUNDS')
          expect(message).toMatch(/^no table of kind 'ref' is at .*: give the index of one that m\.roots\.table made/)
        }
        expect(failure(() => m.roots.tableAt('refs' as never, made.index)).code).toBe('ERR_BAD_VALUE')
        opened.free()
        expect(failure(() => made.get(0)).message).toMatch(/was freed/)
        expect(failure(() => m.roots.tableAt('ref', made.index)).code).toBe('ERR_BOUNDS')
        made.free()
      })
    })
  })

  it('makes areas out of those that were freed, also while a collection is under way', () => {
    withHeap(configuration, { stepping: true }, (heap) => {
      const cell = heap.defineShape('Cell', { n: 'i32' })
      heap.run((m) => {
        const kept = m.roots.table('ref', 1)
        const made = m.alloc(cell)
        m.i32[made + cell.at.n] = 7
        kept.set(0, made)
        step(heap, 1)
        // More than there are; a collection that is under way keeps what was freed.
        for (let i = 0; i < 600; i++) {
          const stack = m.roots.stack('ref', 16)
          stack.set(0, kept.get(0))
          stack.top = 1
          stack.free()
        }
        expect(m.i32[(kept.get(0) as Ref) + cell.at.n]).toBe(7)
      })
    })
  })

  it('takes a store into a stack without a barrier while a collection is under way', () => {
    withHeap(configuration, { maxBytes: '32m' }, (heap) => {
      const cell = heap.defineShape('Cell', { next: 'ref', n: 'i32' })
      heap.run((m) => {
        const stack = m.roots.stack('ref', 64)
        const { i32, rootsI32 } = m
        const { base } = stack
        stack.top = 64
        const expected = new Int32Array(64).fill(-1)
        for (let i = 0; i < 200_000; i++) {
          // Moves references about between slots, plainly, and drops others.
          const ref = m.alloc(cell)
          i32[ref + cell.at.n] = i
          const slot = base + (i & 63)
          rootsI32[base + ((i * 7 + 1) & 63)] = rootsI32[slot]
          expected[(i * 7 + 1) & 63] = expected[i & 63]
          expected[i & 63] = i
          rootsI32[slot] = ref
        }
        for (let k = 0; k < 64; k++) {
          const ref = rootsI32[base + k]
          if (ref === 0 ? expected[k] === -1 : i32[ref] === cell.id && i32[ref + cell.at.n] === expected[k]) continue
          throw new Error(`slot ${k} lost its object`)
        }
      })
    })
  })

  it('lets the top of a stack be raised over what lies there from before', () => {
    withHeap(configuration, { maxBytes: '8m', verify: 2 }, (heap) => {
      const cell = heap.defineShape('Cell', { next: 'ref', n: 'i32' })
      const value = heap.defineShape('Value', { any: 'value' })
      heap.run((m) => {
        const refs = m.roots.stack('ref', 256)
        const values = m.roots.stack('value', 256)
        const allocate = m.allocator(cell)
        const { i32, rootsI32 } = m
        const collections = heap.stats().collections
        let seed = 1
        const random = (below: number): number => {
          seed = (Math.imul(seed, 1103515245) + 12345) >>> 0
          return (seed >>> 8) % below
        }
        // Frames come and go; only the first slots of each are written, and what is above is what an older one left there.
        const enough = (): boolean => !configuration.collects || heap.stats().collections >= collections + 4
        for (let i = 0; i % 10_000 !== 0 || i < 40_000 || !enough(); i++) {
          const frame = random(192)
          refs.top = values.top = frame + 1
          for (let k = 0; k < 8; k++) {
            const made = allocate()
            i32[made + cell.at.n] = i
            i32[made + cell.at.next] = rootsI32[refs.base + frame]
            rootsI32[refs.base + frame] = k === 0 ? 0 : made
          }
          m.reserve(8 * (value.granules + cell.granules))
          const held = m.alloc(value)
          m.setValueRef(held, value.at.any, m.alloc(cell))
          values.top = refs.top = frame + 64
          if (random(64) === 0) m.poll()
          const ref = rootsI32[refs.base + frame]
          if (i32[ref] !== cell.id || i32[ref + cell.at.n] !== i) throw new Error(`slot ${frame} lost its object`)
          rootsI32[2 * (values.base + frame)] = ref
          rootsI32[2 * (values.base + frame) + 1] = Tag.Ref
        }
        heap.assertValid()
      })
    })
  })

  it('makes overflow check and poll one compare', () => {
    withHeap(configuration, {}, (heap) => {
      heap.run((m) => {
        const stack = m.roots.stack('value', 512)
        const other = m.roots.stack('value', 512)
        expect(m.control[stack.limitIndex]).toBe(stack.capacity)
        expect(failure(() => other.limitIndex).code).toBe('ERR_STACK_LIMIT_TAKEN')
        expect(stack.overflowOrPoll(100)).toBe(false)
        expect(stack.top).toBe(100)
        // The last slot is one of those that there are.
        expect(stack.overflowOrPoll(stack.capacity)).toBe(false)
        expect(stack.top).toBe(stack.capacity)
        expect(stack.overflowOrPoll(stack.capacity + 1)).toBe(true)
        expect(stack.top).toBe(stack.capacity)
        stack.free()
        stack.free()
        // A freed stack has no limit, and does not take it from the others.
        expect(failure(() => stack.limitIndex)).toMatchObject({ code: 'ERR_BOUNDS' })
        expect(failure(() => stack.limitIndex).message).toMatch(/was freed: make another/)
        expect(other.limitIndex).toBeGreaterThan(0)
        other.free()
      })
    })
  })

  it.runIf(configuration.concurrent)(
    'asks for the poll also where the limit is taken while a stop is requested',
    async () => {
      const heap = Heap.create({ maxBytes: '4m', ...configuration.options })
      let collection
      heap.run((m) => {
        const stack = m.roots.stack('value', 512)
        // From inside run: the stop is requested of this thread.
        collection = heap.collect()
        const end = Date.now() + 10_000
        while (!m.mustPoll() && Date.now() < end);
        expect(m.mustPoll()).toBe(true)
        expect(m.control[stack.limitIndex]).toBe(-1)
        expect(stack.overflowOrPoll(3)).toBe(false)
        // Nobody else collects, so what stands there now is no request.
        while (heap.stats().phase !== 'idle' && Date.now() < end) stack.overflowOrPoll(3)
        expect(m.control[stack.limitIndex]).toBe(stack.capacity)
      })
      await collection
      heap.close()
    },
  )

  it('refuses what is no slot, no top, no Ref', () => {
    withHeap(configuration, {}, (heap) => {
      heap.run((m) => {
        const refs = m.roots.table('ref', 10)
        const values = m.roots.stack('value', 10)
        expect(failure(() => refs.get(-1)).code).toBe('ERR_BOUNDS')
        expect(failure(() => refs.get(refs.capacity)).code).toBe('ERR_BOUNDS')
        expect(failure(() => refs.get(0.5)).code).toBe('ERR_BOUNDS')
        for (const bad of [3, -2, 0.5, m.i32.length, 2 ** 31 - 2]) {
          expect(failure(() => refs.set(0, bad as Ref)).code).toBe('ERR_BAD_REF')
          if (bad !== 0.5) expect(failure(() => values.set(0, new Tagged(Tag.Ref, bad))).code).toBe('ERR_BAD_REF')
        }
        expect(failure(() => (values.top = values.capacity + 1)).code).toBe('ERR_BOUNDS')
        expect(failure(() => (values.top = -1)).code).toBe('ERR_BOUNDS')
        expect(failure(() => values.set(0, 'text' as never)).code).toBe('ERR_BAD_VALUE')
        expect(failure(() => values.set(0, new Tagged(Tag.Ref, 0))).code).toBe('ERR_BAD_VALUE')
        expect(failure(() => values.set(0, new Tagged((Tag.User3 + 1) as never, 0))).code).toBe('ERR_BAD_VALUE')
        expect(failure(() => m.roots.stack('value', 0)).code).toBe('ERR_BOUNDS')
        expect(failure(() => m.roots.table('f64' as never, 1)).code).toBe('ERR_BAD_VALUE')
        expect(failure(() => m.roots.table('ref', 1e9)).code).toBe('ERR_ROOTS_EXHAUSTED')
      })
    })
  })

  it('has the capacity that was asked for, on every collector', () => {
    withHeap(configuration, { maxRootBytes: '128k' }, (heap) => {
      heap.run((m) => {
        const areas = [1, 5, 1024, 1025].flatMap((slots) => {
          const made = [
            m.roots.stack('ref', slots),
            m.roots.stack('value', slots),
            m.roots.table('ref', slots),
            m.roots.table('value', slots),
          ]
          expect(made.map(({ capacity }) => capacity)).toEqual([slots, slots, slots, slots])
          const [refs] = made
          expect(failure(() => (refs.top = slots + 1)).code).toBe('ERR_BOUNDS')
          expect(failure(() => refs.get(slots)).code).toBe('ERR_BOUNDS')
          if (slots > 5) made.forEach((area) => area.free())
          return slots > 5 ? [] : made
        })
        // Each has pages of its own all the same: 8 of the 32.
        expect(new Set(areas.map(({ base, kind }) => (kind === 'ref' ? base : 2 * base) >>> 10)).size).toBe(8)
        expect(failure(() => m.roots.table('ref', 24 * 1024 + 1)).code).toBe('ERR_ROOTS_EXHAUSTED')
        expect(failure(() => m.roots.table('ref', 2 ** 32 + 5)).code).toBe('ERR_ROOTS_EXHAUSTED')
      })
    })
  })

  it('says which limit a root area does not fit into', () => {
    withHeap(configuration, { maxRootBytes: '2m' }, (heap) => {
      const node = heap.defineShape('Node', { next: 'ref' })
      heap.run((m) => {
        const large = failure(() => m.roots.table('ref', 1 << 20))
        expect(large.code).toBe('ERR_ROOTS_EXHAUSTED')
        expect(large.message).toMatch(/^no room for a root area of 1048576 slots in maxRootBytes = 2097152: raise it/)
        const areas = new Set<{ free(): void }>()
        const fill = (): void => {
          for (;;) areas.add(m.roots.stack('ref', 1))
        }
        const full = failure(fill)
        expect(full.code).toBe('ERR_ROOTS_EXHAUSTED')
        expect(full.message).toMatch(/^no room for a root area of 1 slots: all 256 root areas .* are taken/)
        const handles = failure(() => m.scoped((scope) => scope.new(node)))
        expect(handles.message).toMatch(/^no room for 1024 more handles: all 256 root areas .* are taken/)
        for (const area of areas) area.free()
        m.scoped((scope) => expect(scope.new(node).next).toBe(null))
      })
    })
  })

  it.runIf(configuration.concurrent)('says that areas freed in a collection under way come back at its end', () => {
    withHeap(configuration, { stepping: true, maxRootBytes: '2m' }, (heap) => {
      const node = heap.defineShape('Node', { next: 'ref' })
      heap.run((m) => {
        const areas: { free(): void }[] = []
        expect(
          failure(() => {
            for (;;) areas.push(m.roots.stack('ref', 1))
          }).code,
        ).toBe('ERR_ROOTS_EXHAUSTED')
        step(heap) // into a cycle
        for (const area of areas) area.free()
        const { code, message } = failure(() => m.scoped((scope) => scope.new(node)))
        expect(code).toBe('ERR_ROOTS_EXHAUSTED')
        expect(message).toMatch(
          /^no room for 1024 more handles: root areas that were freed come back at the end of the/,
        )
        while (step(heap) !== 'idle');
        m.scoped((scope) => expect(scope.new(node).next).toBe(null))
      })
    })
  })

  it('has room for 200 areas, and for others once they are freed', () => {
    withHeap(configuration, {}, (heap) => {
      heap.run((m) => {
        for (let round = 0; round < 3; round++) {
          const areas = Array.from({ length: 200 }, () => m.roots.table('ref', 100))
          for (const area of areas) expect(area.get(50)).toBe(0)
          areas.forEach((area) => area.free())
        }
      })
    })
  })

  it('gives each area a place of its own, whatever was freed before', () => {
    withHeap(configuration, { maxRootBytes: '1m' }, (heap) => {
      const random = new Random(seedFromEnvironment())
      heap.run((m) => {
        const areas: { base: number; capacity: number; kind: string; free(): void }[] = []
        for (let i = 0; i < 300; i++) {
          if (areas.length > 12) areas.splice(random.below(areas.length), 1)[0].free()
          const kind = random.below(2) === 0 ? 'ref' : 'value'
          areas.push(m.roots.stack(kind, random.below(6) * 1024 + 1 + random.below(512)))
          const words = areas.map(({ base, capacity, kind }) => {
            const size = kind === 'ref' ? 1 : 2
            return [base * size, (base + capacity) * size]
          })
          words.sort(([a], [b]) => a - b)
          for (let k = 1; k < words.length; k++) expect(words[k][0]).toBeGreaterThanOrEqual(words[k - 1][1])
        }
      })
    })
  })

  it('moves the top of a stack outside run, but not beside a pause', () => {
    withHeap(configuration, {}, (heap) => {
      const cell = heap.defineShape('Cell', { n: 'i32' })
      const stack = heap.run((m) => {
        const made = m.roots.stack('ref', 8)
        made.set(0, m.alloc(cell))
        made.top = 8
        expect(runsIn(heap, () => (made.top = 1))).toBe(0)
        expect(runsIn(heap, () => m.parked(() => (made.top = 2)))).toBe(1)
        return made
      })
      expect(runsIn(heap, () => (stack.top = 0))).toBe(1)
      expect(stack.top).toBe(0)
      expect(heap.verify()).toMatchObject({ ok: true, objects: 0 })
    })
  })

  it('clears what a table lets go when its top is lowered, also outside run', () => {
    withHeap(configuration, {}, (heap) => {
      const cell = heap.defineShape('Cell', { n: 'i32' })
      const [refs, values] = heap.run((m) => {
        const tables = [m.roots.table('ref', 600), m.roots.table('value', 600)] as const
        for (let i = 0; i < 600; i++) {
          tables[0].set(i, m.alloc(cell))
          tables[1].set(i, new Tagged(Tag.Ref, tables[0].get(i) as Ref))
        }
        tables[0].top = 3
        return tables
      })
      expect(runsIn(heap, () => (values.top = 2))).toBe(1)
      expect(heap.verify()).toMatchObject({ ok: true, objects: 3 })
      heap.run((m) => {
        refs.set(599, m.alloc(cell))
        values.set(599, 1.5)
        for (let i = 3; i < 599; i++) expect(refs.get(i)).toBe(0)
        for (let i = 2; i < 599; i++) expect(values.get(i)).toBe(0)
      })
    })
  })

  it('makes areas of zeros, whatever was where they lie', () => {
    withHeap(configuration, { maxRootBytes: '64k' }, (heap) => {
      const cell = heap.defineShape('Cell', { n: 'i32' })
      heap.run((m) => {
        for (const kind of ['ref', 'value'] as const) {
          for (const make of [() => m.roots.table(kind, 2000), () => m.roots.stack(kind, 2000)]) {
            const area = make()
            const slots = kind === 'ref' ? m.rootsI32 : m.rootsF64
            expect(slots.subarray(area.base, area.base + 2000).every((slot) => slot === 0)).toBe(true)
            const made = m.alloc(cell)
            for (let i = 0; i < 2000; i++) area.set(i, (kind === 'ref' ? made : new Tagged(Tag.Ref, made)) as never)
            area.top = 2000
            area.free()
          }
        }
        m.roots.table('ref', 10_000).top = 10_000
        heap.collectSync()
        expect(heap.verify()).toMatchObject({ ok: true, objects: 0 })
      })
    })
  })

  it('gives root areas back at the end of a `using` block', () => {
    withHeap(configuration, { maxRootBytes: '1m' }, (heap) => {
      heap.run((m) => {
        for (let i = 0; i < 300; i++) {
          using stack = m.roots.stack('ref', 100_000)
          using table = m.roots.table('ref', 100_000)
          expect(stack.capacity + table.capacity).toBe(200_000)
        }
      })
    })
  })
})

overAll(
  'roots after a collection',
  (configuration) => {
    it('reads zero above the top, and forgets what was there', () => {
      withHeap(configuration, {}, (heap) => {
        const cell = heap.defineShape('Cell', { n: 'i32' })
        heap.run((m) => {
          const refs = m.roots.stack('ref', 2000)
          const values = m.roots.stack('value', 2000)
          for (let i = 0; i < 2000; i++) {
            refs.set(i, m.alloc(cell))
            refs.top = i + 1
            values.set(i, new Tagged(Tag.Ref, refs.get(i) as Ref))
            values.top = i + 1
          }
          refs.top = 5
          values.top = 7
          heap.collectSync()
          for (let i = 5; i < 2000; i++) expect(refs.get(i)).toBe(0)
          for (let i = 7; i < 2000; i++) expect(values.get(i)).toBe(0)
          heap.assertValid({ afterCollection: true })
          expect(heap.verify().objects).toBe(7)
        })
      })
    })
  },
  collecting,
)
