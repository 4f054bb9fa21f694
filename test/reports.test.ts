// What a failing assertion, a logger or JSON makes of a heap and of what belongs to it: something short, and soon.
import assert from 'node:assert/strict'
import { inspect } from 'node:util'
import { processError } from '@vitest/utils/error'
import { Heap, type HeapOptions } from 'glissade'
import { describe, expect, it } from 'vitest'

/** Everything of a heap that a program holds. */
function withAll(options: HeapOptions, use: (all: { readonly [name: string]: object }, heap: Heap) => void): void {
  using heap = Heap.create({ maxBytes: '4m', ...options })
  const node = heap.defineShape('Node', { next: 'ref', key: 'f64' })
  heap.run((m) => {
    using scope = m.scope()
    const handle = scope.new(node, { key: 1 })
    const [stack, table] = [m.roots.stack('ref', 3), m.roots.table('value', 3)]
    const [global, weak, guardian] = [heap.global(handle), heap.weak(handle), heap.guardian()]
    use({ heap, m, scope, handle, stack, table, global, weak, guardian }, heap)
  })
}

describe.each<HeapOptions>([
  { collector: 'stop-the-world' },
  { collector: 'stop-the-world', checked: true },
  { collector: 'stop-the-world', stress: { everySafepoint: true } },
])('reports of %j', (options) => {
  it('an assertion that fails says so, whatever of a heap it compares', () => {
    withAll(options, (all) => {
      for (const [name, object] of Object.entries(all)) {
        for (const assertion of [
          () => expect(object).toBe(null),
          () => expect(object).toEqual({ closed: true, top: 3 }),
          () => expect(object).toBe(all['heap'] === object ? all['m'] : all['heap']),
          () => assert.deepEqual(object, { top: 3 }),
        ]) {
          let error: unknown
          try {
            assertion()
          } catch (thrown) {
            error = thrown
          }
          // As the runner does it in its own process, before it prints.
          const { name: type, message, actual } = processError(error)
          expect(type, name).toBe('AssertionError')
          expect((message as string).length, name).toBeLessThan(4000)
          expect(JSON.stringify(actual).length, name).toBeLessThan(4000)
        }
      }
    })
  })

  it('JSON and util.inspect come to no view of the heap', () => {
    withAll(options, (all) => {
      const { global, ...others } = all
      for (const [name, object] of Object.entries(others)) {
        expect(JSON.stringify(object).length, name).toBeLessThan(1000)
        expect(inspect(object, { customInspect: false, depth: 10 }).length, name).toBeLessThan(4000)
      }
      expect(inspect(global, { customInspect: false, depth: 10 }).length).toBeLessThan(4000)
    })
  })

  it('a handle is shown to who asks as chai does, with two arguments', () => {
    withAll(options, ({ handle, heap }) => {
      const show = Symbol.for('nodejs.util.inspect.custom')
      const ask = (object: object): unknown =>
        (object as { [show]: (depth: number, options: object) => unknown })[show](2, { depth: 2, truncate: 40 })
      expect(ask(handle)).toBe('Node { next: null, key: 1 }')
      expect(ask(heap)).toMatch(/^Heap \{ collector: 'stop-the-world'/)
    })
  })
})
