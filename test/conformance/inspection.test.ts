// Census and paths to a root: what the program is told of who keeps what alive, against models of its graphs. What holds
// for every inspection is here, too; the files that snapshots are have tests of their own.
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { createContext, runInContext } from 'node:vm'
import { Heap, Tag, type Mutator, type Ref } from 'glissade'
import { expect, it } from 'vitest'
import { loadNative } from '../../dist/gc/native-loader.js'
import type { NativeBinding } from '../../dist/gc/native.js'
import { Phase, Word } from '../../dist/heap/layout.js'
import { failure, overAll, withHeap } from './configurations.js'
import { BYTES, distances, forRandomGraphs, NAMES, NODE_SLOTS, numberOf, seed, shapesOf } from './random-graphs.js'
import { folder, readSnapshot, snapshotOf } from './snapshot-files.js'

overAll('inspection', (configuration) => {
  it(`a census counts what strong references lead to, by shape (seed ${seed})`, () => {
    forRandomGraphs(configuration, (heap, { model, roots }) => {
      const alive = model.filter((_, k) => distances(model, roots)[k] !== undefined)
      const census = heap.census()
      const bytes = alive.reduce((sum, { kind }) => sum + BYTES[kind], 0)
      expect([census.objects, census.bytes]).toEqual([alive.length, bytes])
      for (const kind of ['node', 'strong', 'weak', 'keys'] as const) {
        const objects = alive.filter((object) => object.kind === kind).length
        const counted = census.shapes.find(({ name }) => name === NAMES[kind])
        expect(counted).toEqual(
          objects === 0 ? undefined : { name: NAMES[kind], objects, bytes: objects * BYTES[kind] },
        )
      }
      const order = census.shapes.map((shape) => shape.bytes)
      expect(order).toEqual([...order].sort((a, b) => b - a))
    })
  })

  it.each([
    ['', undefined],
    [', and shortest without ephemerons', ['node', 'strong', 'weak'] as const],
  ])(`a path to a root leads from slot to slot%s (seed ${seed})`, (_, kinds) => {
    forRandomGraphs(
      configuration,
      (heap, { model, roots }, m, shapes) => {
        const at = distances(model, roots)
        model.forEach((_, k) => {
          const path = heap.pathTo((ref) => numberOf(m, shapes, ref) === k)
          if (at[k] === undefined) return expect(path).toBe(null)
          if (kinds !== undefined) expect(path).toHaveLength(at[k])
          const [first, ...steps] = path as string[]
          let here = roots[Number(/^table\[(\d)\]$/.exec(first)?.[1])]
          for (const step of steps) {
            const [, by, name, ref, slot, element] = /^(value in )?(\w+)@(\d+)(?:\.(\w+)|\[(\d+)\])$/.exec(step) ?? []
            const holder = numberOf(m, shapes, Number(ref) as Ref)
            const { kind, slots } = model[holder]
            expect(name).toBe(NAMES[kind])
            // The value of an ephemeron is kept by its key.
            const keeper = by === undefined ? holder : slots[Number(element) - 1]
            expect(keeper).toBe(here)
            expect(at[holder]).toBeDefined()
            here = slots[slot === undefined ? Number(element) : NODE_SLOTS.indexOf(slot as 'left')] as number
          }
          expect(here).toBe(k)
        })
      },
      kinds,
    )
  })

  it('root areas are called what the program calls them, and by their number otherwise', () => {
    withHeap(configuration, {}, (heap) => {
      const { node } = shapesOf(heap)
      heap.run((m) => {
        const named = m.roots.stack('value', 4, { name: 'operands' })
        const unnamed = m.roots.table('ref', 4, {})
        const path = (): unknown => heap.pathTo(node)
        expect(path()).toBe(null)
        unnamed.set(3, m.alloc(node))
        expect(path()).toEqual([`root area ${unnamed.index}[3]`])
        m.rootsI32[2 * (named.base + 1)] = unnamed.get(3) as Ref
        m.rootsI32[2 * (named.base + 1) + 1] = Tag.Ref
        unnamed.free()
        expect(path()).toBe(null)
        named.top = 2
        expect(path()).toEqual(['operands[1]'])
        named.free()
        expect(path()).toBe(null)
        const again = m.roots.stack('ref', 4)
        again.top = 1
        again.set(0, m.alloc(node))
        expect(path()).toEqual([`root area ${again.index}[0]`])
      })
    })
  })

  it('a path to the object of a handle is one without that handle', () => {
    withHeap(configuration, {}, (heap) => {
      const { node } = shapesOf(heap)
      heap.run((m) => {
        m.scoped((scope) => {
          const object = scope.new(node)
          const weak = heap.weak(object)
          expect(heap.pathTo(object)).toBe(null)
          expect(heap.pathTo(weak)).toEqual(['scopes[0]'])
          const holder = scope.new(node, { right: object })
          expect(heap.pathTo(object)).toEqual(['scopes[1]', `Node@${holder.ref}.right`])
          expect(heap.pathTo(weak)).toEqual(['scopes[0]'])
          using global = heap.global(object)
          expect(heap.pathTo(object)).toHaveLength(1)
          expect(heap.pathTo(global.handle)).toEqual(['scopes[0]'])
          holder.right = null
          global.release()
          expect(heap.pathTo(object)).toBe(null)
          weak.release()
          expect(failure(() => heap.pathTo(weak))).toEqual({
            code: 'ERR_HANDLE_DEAD',
            message: 'this weak handle was released, and refers to nothing: make another',
          })
        })
        const lost = m.scoped((scope) => heap.weak(scope.new(node)))
        expect(heap.pathTo(lost)).toBe(null)
        expect(heap.census().objects).toBe(0)
      })
    })
  })

  it('classes and slots are called what the program says, in paths and in a census, too', () => {
    withHeap(configuration, {}, (heap) => {
      const { node, strong } = shapesOf(heap)
      heap.run((m) => {
        const table = m.roots.table('ref', 3, { name: 'table' })
        for (let i = 0; i < 3; i++) table.set(i, i === 1 ? m.allocArray(strong, 4) : m.alloc(node))
        const [first, array, last] = [0, 1, 2].map((i) => table.get(i) as Ref)
        m.setRef(first, node.at.left, array)
        m.setValueRef(array, strong.elementsAt + 2, last)
        table.set(1, 0)
        table.set(2, 0)
        const labels = {
          className: (ref: Ref, with_: Mutator) => (ref === first && with_ === m ? 'Point' : undefined),
          slotName: (ref: Ref, slot: string | number, with_: Mutator) =>
            with_ === m && (ref === first ? slot === 'left' : slot === 2) ? `the ${slot}` : undefined,
        }
        expect(heap.pathTo((ref) => ref === last, labels)).toEqual([
          'table[0]',
          `Point@${first}.the left`,
          `Strong@${array}.the 2`,
        ])
        const { className } = labels
        expect(heap.census({ className })).toEqual({
          objects: 3,
          bytes: 32 + 32 + 40,
          shapes: [
            { name: 'Strong', objects: 1, bytes: 40 },
            { name: 'Node', objects: 1, bytes: 32 },
            { name: 'Point', objects: 1, bytes: 32 },
          ],
        })
        expect(heap.census({ className: () => 'all' }).shapes).toEqual([{ name: 'all', objects: 3, bytes: 104 }])
        expect(failure(() => heap.census({ className: () => 5 as never }))).toEqual({
          code: 'ERR_BAD_VALUE',
          message: 'className of heap.census returns a string or undefined; got 5',
        })
        // From JavaScript null is nothing, too.
        expect(heap.census({ className: () => null as never }).shapes).toHaveLength(2)
      })
    })
  })

  it('a path leads round objects that are excluded', () => {
    withHeap(configuration, {}, (heap) => {
      const { node } = shapesOf(heap)
      heap.run((m) => {
        const table = m.roots.table('ref', 3, { name: 'table' })
        for (let i = 0; i < 3; i++) table.set(i, m.alloc(node))
        const [first, second, third] = [0, 1, 2].map((i) => table.get(i) as Ref)
        m.setRef(first, node.at.left, third)
        m.setRef(second, node.at.right, third)
        table.set(2, 0)
        const isThird = (ref: Ref): boolean => ref === third
        expect(heap.pathTo(isThird)).toEqual(['table[0]', `Node@${first}.left`])
        const path = heap.pathTo(isThird, { without: (ref, with_) => ref === first && with_ === m })
        expect(path).toEqual(['table[1]', `Node@${second}.right`])
        expect(heap.pathTo(isThird, { without: (ref) => ref !== third })).toBe(null)
        // What an excluded object keeps as a key, it does not lead to, whichever of key and array is found first.
        const { keys } = shapesOf(heap)
        for (const [keySlot, arraySlot] of [
          [0, 1],
          [1, 0],
        ]) {
          table.top = 0
          table.set(2, m.allocArray(keys, 2))
          table.set(keySlot, m.alloc(node))
          table.set(arraySlot, table.get(2))
          const value = m.allocArray(heap.defineArray('Value', 'u8'), 1)
          const array = table.get(2) as Ref
          const key = table.get(keySlot) as Ref
          m.setValueRef(array, keys.elementsAt, key)
          m.setValueRef(array, keys.elementsAt + 1, value)
          table.set(2, 0)
          expect(heap.pathTo((ref) => ref === value)).toEqual([`table[${keySlot}]`, `value in Keys@${array}[1]`])
          expect(heap.pathTo((ref) => ref === value, { without: (ref) => ref === key })).toBe(null)
        }
        // It may be what is looked for.
        table.top = 0
        table.set(0, m.alloc(node))
        const self = table.get(0) as Ref
        expect(heap.pathTo((ref) => ref === self, { without: (ref) => ref === self })).toEqual(['table[0]'])
      })
    })
  })

  it('a reference that leads to no object is told as damage', () => {
    const heap = Heap.create({ maxBytes: '1m', ...configuration.options })
    const { node } = shapesOf(heap)
    heap.run((m) => {
      const table = m.roots.table('ref', 1)
      table.set(0, m.alloc(node))
      const ref = table.get(0) as Ref
      const file = join(folder, 'damaged.heapsnapshot')
      for (const id of [0, 1, 60_000, -1]) {
        m.i32[ref] = id
        for (const look of [() => heap.census(), () => heap.pathTo(() => false), () => heap.writeSnapshot(file)]) {
          expect(failure(look)).toEqual({
            code: 'ERR_INVALID_HEAP',
            message: `the heap is damaged: a reference leads to ${ref}, where no object begins. heap.verify() says where it is`,
          })
        }
      }
      m.i32[ref] = node.id
      m.rootsI32[table.base] = 2 ** 31 - 2
      expect(failure(() => heap.census()).code).toBe('ERR_INVALID_HEAP')
      m.rootsI32[table.base] = 0
      expect(existsSync(file)).toBe(false)
      expect(heap.census().objects).toBe(0)
    })
    heap.close()
  })

  it('what is guarded is not alive for that; what is due, is', () => {
    withHeap(configuration, {}, (heap) => {
      const { node } = shapesOf(heap)
      const guardian = heap.guardian()
      heap.run((m) => {
        guardian.guardRef(m.alloc(node))
        expect(heap.census().objects).toBe(0)
        heap.collectSync()
        expect(heap.pathTo(node)).toEqual(configuration.collects ? ['due[0]'] : null)
        guardian.release()
        const files = heap.guardian({ name: 'files' })
        files.guardRef(m.alloc(node))
        heap.collectSync()
        expect(heap.pathTo(node)).toEqual(configuration.collects ? ['files.due[0]'] : null)
        const names = snapshotOf(heap).map(({ name }) => name)
        expect(names).toEqual(expect.arrayContaining(['files.guarded', 'files.due']))
        expect(failure(() => heap.guardian({ title: 'files' } as never)).message).toBe(
          "a guardian has no option 'title'; the only one is 'name'",
        )
      })
    })
  })

  it.runIf(configuration.concurrent)(
    'what is due is handed over before an inspection or after it, and known then',
    async () => {
      const binding = loadNative().exports as unknown as NativeBinding
      for (const checked of [false, true]) {
        const heap = Heap.create({ maxBytes: '16m', checked, ...configuration.options })
        const { node } = shapesOf(heap)
        const guardian = heap.guardian()
        const { control } = heap._core.views
        const stack = heap.run((m) => {
          m.roots.table('ref', 1).set(0, m.alloc(node))
          const held = m.roots.stack('ref', 1)
          held.top = 1
          held.set(0, m.alloc(node))
          guardian.guardRef(held.get(0) as Ref)
          return held
        })
        await heap.collect() // so that a checked heap finds its objects anew in the middle of the next one
        stack.top = 0
        binding.configureInjection('delay:reclaim=100ms,delay:prepare=200ms', 1)
        const collected = heap.collect()
        // On a busy machine all may be over before this thread comes to see it.
        while (control[Word.Phase] !== Phase.Reclaim && guardian.due === 0) await new Promise(setImmediate)
        heap.pathTo((ref, m) => {
          const before = guardian.due
          for (const end = Date.now() + 200; Date.now() < end;);
          expect(guardian.due).toBe(before)
          return m.i32[ref + node.at.number] === 0
        })
        while (guardian.due === 0) await new Promise(setImmediate)
        const seen: number[] = []
        heap.pathTo((ref, m) => seen.push(m.i32[ref + node.at.number]) < 0)
        heap.writeSnapshot(join(folder, 'due.heapsnapshot'), {
          className: (ref, m) => void seen.push(m.i32[ref + node.at.number]),
        })
        expect(seen).toEqual([0, 0, 0, 0])
        await collected
        binding.configureInjection('', 1)
        heap.close()
      }
    },
  )

  it('shapes of the same size stand in a census by their names', () => {
    withHeap(configuration, {}, (heap) => {
      const shapes = ['C', 'A', 'B'].map((name) => heap.defineShape(name, {}))
      heap.run((m) => {
        const table = m.roots.table('ref', 4)
        shapes.forEach((shape, i) => table.set(i, m.alloc(shape)))
        expect(heap.census().shapes.map(({ name }) => name)).toEqual(['A', 'B', 'C'])
      })
    })
  })

  it('a value that is no reference leads nowhere, also where its key is reached late', () => {
    withHeap(configuration, {}, (heap) => {
      const { node, keys } = shapesOf(heap)
      heap.run((m) => {
        const table = m.roots.table('ref', 3)
        table.set(0, m.allocArray(keys, 2))
        table.set(1, m.alloc(node))
        table.set(2, m.alloc(node))
        m.setRef(table.get(1) as Ref, node.at.left, table.get(2))
        const unreached = m.alloc(node)
        m.setValueRef(table.get(0) as Ref, keys.elementsAt, m.getRef(table.get(1) as Ref, node.at.left))
        m.setValueInt(table.get(0) as Ref, keys.elementsAt + 1, Number(unreached))
        table.set(2, 0)
        expect(heap.census().objects).toBe(3)
      })
    })
  })

  it('no safepoint comes while the program is asked about objects, and afterwards all is as before', () => {
    withHeap(configuration, {}, (heap) => {
      const { node, strong } = shapesOf(heap)
      heap.run((m) => {
        const table = m.roots.table('ref', 1)
        table.set(0, m.alloc(node))
        const forbidden: [string, () => unknown][] = [
          ['a poll', () => m.poll()],
          ['a collection', () => heap.collectSync()],
          ['m.parked', () => m.parked(() => 0)],
          ['a root area', () => m.roots.table('ref', 1)],
          ['m.reserve', () => m.reserve(64)],
          ['an allocation', () => m.allocArray(strong, 100_000)],
          [
            'an allocation',
            // Though there would be room for it.
            () => m.alloc(node),
          ],
        ]
        for (const [what, action] of forbidden) {
          const text = `${what} in a function that an inspection calls (heap.census, heap.pathTo, heap.writeSnapshot): it may read the heap, but not allocate, poll or collect, for the other threads stand still until it returns`
          const expected = { code: 'ERR_NO_SAFEPOINT', message: text }
          expect(failure(() => heap.pathTo(() => action() === 0))).toEqual(expected)
          const file = join(folder, 'none.heapsnapshot')
          expect(failure(() => heap.writeSnapshot(file, { className: () => void action() }))).toEqual(expected)
          expect(failure(() => heap.writeSnapshot(file, { text: () => void action() }))).toEqual(expected)
        }
        m.reserve(32)
        expect(failure(() => heap.pathTo(() => m.alloc(node) === 0)).code).toBe('ERR_NO_SAFEPOINT')
        const nested = heap.pathTo(() => heap.verify().ok && heap.run(() => heap.census()).objects === 1)
        expect(nested).toEqual([`root area ${table.index}[0]`])
        m.poll()
        heap.collectSync()
        expect(heap.census().objects).toBe(1)
      })
    })
  })

  it('a collection that is asked for meanwhile is refused', async () => {
    const heap = Heap.create({ maxBytes: '1m', ...configuration.options })
    const { node } = shapesOf(heap)
    const asked: Promise<void>[] = []
    heap.run((m) => {
      m.roots.table('ref', 1).set(0, m.alloc(node))
      heap.pathTo(() => asked.push(heap.collect()) < 0)
    })
    await expect(asked[0]).rejects.toThrow(/a collection in a function that an inspection calls/)
    await heap.collect()
    heap.close()
  })

  it('an error, or a vm timeout, in what the program answers ends the inspection and nothing else', () => {
    withHeap(configuration, {}, (heap) => {
      const { node } = shapesOf(heap)
      const file = join(folder, 'kept.heapsnapshot')
      writeFileSync(file, 'before')
      const fill = (m: Mutator): void => {
        for (let i = 0; i < 30_000; i++) m.alloc(node)
        m.poll()
      }
      const table = heap.run((m) => {
        const roots = m.roots.table('ref', 1)
        roots.set(0, m.alloc(node))
        const oops = (): never => {
          throw new Error('oops')
        }
        expect(() => heap.pathTo(oops)).toThrow('oops')
        expect(() => heap.writeSnapshot(file, { text: oops })).toThrow('oops')
        fill(m)
        return roots
      })
      const stuck = (): never => {
        for (;;);
      }
      const cutOff = (work: () => unknown): void =>
        expect(() => runInContext('work()', createContext({ work }), { timeout: 50 })).toThrow(/timed out/)
      cutOff(() => heap.pathTo(stuck))
      heap.run((m) => {
        cutOff(() => heap.writeSnapshot(join(folder, 'cut-off.heapsnapshot'), { text: stuck }))
        fill(m)
        expect(heap.pathTo(node)).toEqual([`root area ${table.index}[0]`])
      })
      expect(readFileSync(file, 'utf8')).toBe('before')
      expect(readdirSync(folder).filter((name) => name.startsWith('kept'))).toEqual(['kept.heapsnapshot'])
      heap.writeSnapshot(pathToFileURL(file))
      expect(readSnapshot(file).map(({ name }) => name)).toEqual(['(roots)', `root area ${table.index}`, 'Node'])
    })
  })

  it('a checked heap knows its objects in them, wherever they went before', async () => {
    const heap = Heap.create({ maxBytes: '4m', checked: true, ...configuration.options })
    const { node } = shapesOf(heap)
    heap.run((m) => m.roots.table('ref', 1, { name: 'table' }).set(0, m.alloc(node)))
    const numberIs = (number: number) => (ref: Ref, m: Mutator) => m.i32[ref + node.at.number] === number
    for (let round = 0; round < 3; round++) {
      await heap.collect()
      expect(heap.pathTo(numberIs(0))).toEqual(['table[0]'])
      const collected = heap.collect()
      expect(heap.run(() => heap.pathTo(numberIs(0)))).toEqual(['table[0]'])
      await collected
      expect(heap.pathTo(numberIs(1))).toBe(null)
    }
    heap.close()
  })

  it('bad arguments are told by what they are', () => {
    withHeap(configuration, {}, (heap) => {
      using other = Heap.create({ maxBytes: '1m', ...configuration.options })
      const { node } = shapesOf(heap)
      const foreign = other.defineShape('Foreign', {})
      const target = (value: unknown) => failure(() => heap.pathTo(value as never))
      const rule = 'heap.pathTo takes a handle, a weak handle, a shape of this heap or a function; got '
      expect(target(async () => true)).toMatchObject({ code: 'ERR_ASYNC_RUN' })
      expect(target(12)).toEqual({
        code: 'ERR_BAD_VALUE',
        message: `${rule}12: a Ref may be another after a safepoint; compare in a function`,
      })
      expect(target(null)).toEqual({ code: 'ERR_BAD_VALUE', message: `${rule}null` })
      expect(target(foreign)).toEqual({
        code: 'ERR_BAD_VALUE',
        message: `${rule}the shape 'Foreign', which is not one of those`,
      })
      const global = heap.run((m) => m.scoped((s) => heap.global(s.new(node))))
      expect(target(global)).toEqual({
        code: 'ERR_BAD_VALUE',
        message: `${rule}a Global: give its handle, global.handle`,
      })
      const [handle, weak] = other.run((m) => m.scoped((s) => [s.new(foreign), other.weak(s.new(foreign))] as const))
      expect(target(handle).code).toBe('ERR_FOREIGN_HANDLE')
      expect(target(weak).code).toBe('ERR_FOREIGN_HANDLE')
      const dead = heap.run((m) => m.scoped((s) => s.new(node)))
      expect(target(dead).code).toBe('ERR_HANDLE_DEAD')

      const file = join(folder, 'bad.heapsnapshot')
      const options = (value: unknown) => failure(() => heap.writeSnapshot(file, value as never))
      expect(options(null)).toEqual({
        code: 'ERR_OPTION',
        message: 'heap.writeSnapshot takes an object of options; got null',
      })
      expect(options({ classname: () => '' })).toEqual({
        code: 'ERR_OPTION',
        message: "unknown option 'classname' of heap.writeSnapshot: did you mean 'className'?",
      })
      expect(options({ fish: () => '' })).toEqual({
        code: 'ERR_OPTION',
        message: "unknown option 'fish' of heap.writeSnapshot: its options are className, slotName, text",
      })
      heap.writeSnapshot(join(folder, 'undefined.heapsnapshot'), { text: undefined })
      expect(options({ text: 'all' })).toEqual({
        code: 'ERR_OPTION',
        message: 'option text of heap.writeSnapshot is a function; got "all"',
      })
      expect(failure(() => heap.writeSnapshot(undefined as never))).toEqual({
        code: 'ERR_BAD_VALUE',
        message: 'heap.writeSnapshot takes the name of a file, or a file: URL; got undefined',
      })
      expect(existsSync(file)).toBe(false)
      heap.run((m) => {
        const area = (value: unknown) => failure(() => m.roots.stack('ref', 1, value as never))
        expect(area('globals')).toEqual({
          code: 'ERR_OPTION',
          message: 'options of a root area are an object like { name: \'globals\' }; got "globals"',
        })
        expect(area({ title: 'globals' })).toEqual({
          code: 'ERR_OPTION',
          message: "a root area has no option 'title'; the only one is 'name'",
        })
        expect(area({ name: '' }).message).toBe('the name of a root area is a string that is not empty; got ""')
        expect(area({ name: 7 }).message).toBe('the name of a root area is a string that is not empty; got 7')
        m.roots.table('ref', 1, { name: undefined }).free()
      })
      heap.close()
      for (const action of [() => heap.census(), () => heap.pathTo(node), () => heap.writeSnapshot(file)]) {
        expect(failure(action).code).toBe('ERR_HEAP_CLOSED')
      }
      expect(existsSync(file)).toBe(false)
    })
  })
})
