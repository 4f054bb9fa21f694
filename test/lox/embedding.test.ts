// Lox as a library: what its callbacks find, what they may do, and what is left when something goes wrong.

import { Heap, HeapError, type Mutator } from 'glissade'
import { describe, expect, it, vi } from 'vitest'
import { BufferedOutput } from '../../dist/examples/lox/runtime/output.js'
import { open } from './expectations.js'

/** Whether this thread is a mutator that is not parked, so that collections wait for it. */
function isRunning(m: Mutator): boolean {
  try {
    m.poll()
    return true
  } catch (error) {
    expect(error).toMatchObject({ code: 'ERR_NOT_RUNNING' })
    return false
  }
}

const times = (count: number, text: (i: number) => string): string =>
  Array.from({ length: count }, (_, i) => text(i)).join('')
const BUSY = 'for (var i = 0; i < 100000; i = i + 1) { fun g() { return i; } "a" + "b"; }'

describe('safepoints', () => {
  it('no constant is on its way to a cell while a table of cells is made', () => {
    using session = open()
    const { lox } = session
    const { roots } = lox.heap.run((m) => m)
    const makeTable = roots.table.bind(roots)
    const tables = vi.spyOn(roots, 'table').mockImplementation((...args) => {
      lox.heap.collectSync()
      return makeTable(...args)
    })
    let text = 0
    for (; tables.mock.calls.length < 3; text++) {
      // Garbage in front of the constants: a collection moves them.
      lox.run('for (var i = 0; i < 100; i = i + 1) { "a" + "b"; }')
      const outcome = lox.run(`fun f${text}() { ${times(100, (i) => `print "constant ${text}.${i}";`)} }`)
      expect(outcome, session.errors).toBe('ok')
      lox.heap.assertValid()
    }
    for (let i = 0; i < text; i++) lox.run(`f${i}();`)
    expect(session.errors).toBe('')
    expect(session.output).toBe(times(text, (k) => times(100, (i) => `constant ${k}.${i}\n`)))
  })

  it('collections are reported once each, and the callback may collect', () => {
    let reports = 0
    const seen: number[] = []
    const session = open({
      onCollection: () => {
        const { heap } = session.lox
        seen.push(heap.stats().collections)
        // Whatever was allocated when this is called would be gone, or elsewhere.
        if (++reports % 5 === 0) heap.collectSync()
      },
    })
    using _ = session
    session.lox.run(`class A { init(v) { this.v = v; } get() { return this.v; } }
      var all = "";
      for (var i = 0; i < 100000; i = i + 1) { var v = i; fun g() { v = v + 1; return v; }
        var a = A(g); var b = a.get; a.w = "x" + "y"; if (b()() != i + 1 or a.w != "xy") print "wrong"; }`)
    expect(session.errors + session.output).toBe('')
    expect(reports).toBeGreaterThan(10)
    expect(new Set(seen).size).toBe(reports)
    session.lox.heap.assertValid()
  })

  it('no callback holds up a collection', () => {
    const running = new Set<string>()
    const called = new Set<string>()
    const note = (what: string): void => {
      called.add(what)
      if (isRunning(mutator)) running.add(what)
    }
    const session = open({
      output: new BufferedOutput(() => note('output')),
      onText: () => note('onText'),
      onCollection: () => note('onCollection'),
    })
    using _ = session
    const mutator = session.lox.heap.run((m) => m)
    session.lox.run(`${BUSY} for (var i = 0; i < 20000; i = i + 1) print i;`)
    expect([...called].sort()).toEqual(['onCollection', 'onText', 'output'])
    expect([...running]).toEqual([])
  })

  it('a string may move while it is written', () => {
    let flushes = 0
    const output = new BufferedOutput((bytes) => {
      flushes++
      session.output += Buffer.from(bytes).toString('latin1')
      const { heap } = session.lox
      heap.collectSync()
      // Where the string was there is something else now.
      heap.run((m) => {
        for (let i = 0; i < 300; i++) m.newString(Junk, '*'.repeat(1000))
      })
    })
    const session = open({ output })
    using _ = session
    const Junk = session.lox.heap.defineArray('Junk', 'u8')
    session.lox.run(`var s = "0123456789"; for (var i = 0; i < 7; i = i + 1) s = s + s;
      for (var i = 0; i < 200; i = i + 1) { var garbage = s + s; print s + "!"; }`)
    output.flush()
    const line = '0123456789'.repeat(2 ** 7) + '!\n'
    expect(flushes).toBeGreaterThan(3)
    expect(session.output === line.repeat(200)).toBe(true)
    expect(session.errors).toBe('')
  })
})

describe('callbacks', () => {
  it.each(['output', 'onText', 'onCollection'])('%s cannot run another text meanwhile', (name) => {
    const errors: string[] = []
    const intrude = (): void => {
      try {
        session.lox.run('print "inside";')
      } catch (error) {
        errors.push((error as Error).message)
      }
    }
    const session = open(name === 'output' ? { output: new BufferedOutput(intrude, true) } : { [name]: intrude })
    using _ = session
    expect(session.lox.run(`${BUSY} print "done";`)).toBe('ok')
    expect(new Set(errors)).toEqual(new Set([expect.stringMatching(/^Lox\.run inside Lox\.run: /)]))
  })
  it('an error that one of them throws comes out of run, and the next run is as ever', () => {
    let broken = true
    const session = open({
      onText: () => {
        if (broken) throw new Error('no disk')
      },
    })
    using _ = session
    expect(() => session.lox.run('print 1;')).toThrow('no disk')
    broken = false
    expect(session.lox.run('print 2;')).toBe('ok')
    expect(session.output).toBe('2\n')
  })
})

it('an interpreter that cannot be made leaves no heap behind', () => {
  const create = vi.spyOn(Heap, 'create')
  expect(() => open({ heap: { maxRootBytes: '64k' } })).toThrow(HeapError)
  expect(create).toHaveBeenCalledOnce()
  const heap = create.mock.results[0].value as Heap
  expect(() => heap.run(() => {})).toThrow(expect.objectContaining({ code: 'ERR_HEAP_CLOSED' }))
})
