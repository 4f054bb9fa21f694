// Processes and threads that end without manners: no close, exit in the middle, uncaught errors, cut-off scripts.
import { spawnSync } from 'node:child_process'
import { createContext, runInContext } from 'node:vm'
import { Heap } from 'glissade'
import { describe, expect, it } from 'vitest'
import { configurations } from './conformance/configurations.js'

const entry = new URL('../dist/index.js', import.meta.url).href

describe.each(configurations)('a process ($name)', ({ options, collects, concurrent }) => {
  /** Runs a program with `heap`, `node` and `fill(m)`, which keeps a list of ten thousand nodes. */
  function run(program: string): { status: number | null; signal: string | null; out: string; error: string } {
    const source = `
      import { Heap } from ${JSON.stringify(entry)}
      const heap = Heap.create({ maxBytes: '32m', ...${JSON.stringify(options)} })
      const node = heap.defineShape('Node', { next: 'ref' })
      function fill(m) {
        const table = m.roots.table('ref', 1)
        for (let i = 0; i < 10000; i++) {
          const ref = m.alloc(node)
          m.setRef(ref, node.at.next, table.get(0))
          table.set(0, ref)
        }
      }
      ${program}`
    const child = spawnSync(process.execPath, ['--input-type=module', '-e', source], {
      encoding: 'utf8',
      timeout: 120_000,
    })
    return { status: child.status, signal: child.signal, out: child.stdout, error: child.stderr }
  }

  it('may end without closing its heap', () => {
    const ended = run(`heap.run(fill); heap.collectSync(); heap.run(fill); console.log('end')`)
    expect(ended).toMatchObject({ status: 0, signal: null, out: 'end\n' })
  })

  it('may exit in the middle of a collection, and inside run', () => {
    const middle = run(`heap.run(fill); void heap.collect(); setImmediate(() => process.exit(7))`)
    expect(middle).toMatchObject({ status: 7, signal: null })
    const inside = run(`heap.run((m) => { fill(m); void heap.collect(); process.exit(8) })`)
    expect(inside).toMatchObject({ status: 8, signal: null })
  })

  it('dies of an error thrown inside run as of any other', () => {
    const died = run(`heap.run((m) => { fill(m); throw new Error('mine') })`)
    expect(died).toMatchObject({ status: 1, signal: null })
    expect(died.error).toMatch(/Error: mine/)
  })

  it('makes and closes a hundred heaps', () => {
    const ended = run(`
      for (let i = 0; i < 100; i++) {
        const heap = Heap.create({ maxBytes: '8m', ...${JSON.stringify(options)} })
        const node = heap.defineShape('Node', { next: 'ref' })
        heap.run((m) => { const s = m.scope(); for (let k = 0; k < 1000; k++) s.new(node) })
        if (i % 10 === 0) heap.collectSync()
        heap.close()
      }
      console.log('end')`)
    expect(ended).toMatchObject({ status: 0, signal: null, out: 'end\n' })
  })

  // A portable heap has no native frame around run, and nothing in JavaScript survives a cut-off.
  it.runIf(concurrent && collects)('leaves run when a vm timeout cuts it off', () => {
    const heap = Heap.create({ maxBytes: '16m', ...options })
    const node = heap.defineShape('Node', { next: 'ref' })
    const spin = (): void =>
      heap.run((m) => {
        const scope = m.scope()
        scope.new(node)
        for (;;) m.alloc(node)
      })
    expect(() => runInContext('spin()', createContext({ spin }), { timeout: 100 })).toThrow(/timed out/)
    heap.collectSync()
    heap.run((m) => m.scoped((s) => expect(s.new(node).next).toBe(null)))
    heap.assertValid()
    heap.close()
  })
})
