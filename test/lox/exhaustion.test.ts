// Where memory or room for a program ends: a message in Lox's words, and an interpreter that goes on.

import { Heap, layout } from 'glissade'
import { describe, expect, it } from 'vitest'
import { LimitError } from '../../dist/examples/lox/runtime/errors.js'
import { Machine } from '../../dist/examples/lox/runtime/machine.js'
import { BufferedOutput } from '../../dist/examples/lox/runtime/output.js'
import { createStrings } from '../../dist/examples/lox/runtime/strings.js'
import { open } from './expectations.js'

const times = (count: number, text: (i: number) => string): string =>
  Array.from({ length: count }, (_, i) => text(i)).join('')

it('a class for whose methods there is no memory was not declared', () => {
  using session = open()
  const { lox } = session
  lox.run(`class A { ${times(100, (i) => `m${i}() { return "A"; }`)} } class Node {}
    var list = nil; fun fill() { while (true) { var n = Node(); n.next = list; list = n; } }
    fun pop(count) { for (var i = 0; i < count and list != nil; i = i + 1) list = list.next; }`)
  const seen = new Set<string>()
  for (let k = 0; k < 60; k += 2) {
    lox.run('fill();')
    session.errors = ''
    lox.run(`pop(${k});`)
    lox.run(`class B${k} < A { ${times(100, (i) => `m${i}() { return super.m${i}(); }`)} }`)
    const memory = session.errors
    lox.run('pop(2000);')
    session.errors = session.output = ''
    lox.run(`print B${k}().m99();`)
    expect(session.output + session.errors).toBe(
      memory === '' ? 'A\n' : `Undefined variable 'B${k}'.\n[line 1] in script\n`,
    )
    seen.add(memory)
  }
  expect([...seen].sort()).toEqual(['', 'Out of memory.\n'])
})

describe('out of memory', () => {
  it('while code is generated is no syntax error', () => {
    using session = open()
    session.lox.run('class N {} var l = nil; while (true) { var n = N(); n.next = l; l = n; }')
    session.errors = ''
    expect(session.lox.run(`"${'long '.repeat(100_000)}";`)).toBe('runtime error')
    expect(session.errors).toBe('Out of memory.\n')
  })
  it('is what a string longer than any array ends in', () => {
    inMachine('1m', (machine) => {
      const strings = createStrings(machine)
      const { words, m, base } = machine
      const cell = strings.constant('half of it')
      const length = words[2 * cell] + 1
      const before = m.i32[length]
      m.i32[length] = (layout.MAX_ARRAY_LENGTH + 1) << 1
      expect(() => strings.concatenate(cell, cell, base, base + 1)).toThrow(LimitError)
      m.i32[length] = before
    })
  })
})

describe('a program that is too large', () => {
  const TOO_LARGE = 'Program too large.\n'
  /** Leaves no shape to the program. */
  const exhaustShapes = (heap: Heap): void => {
    for (let i = 0; ; i++) {
      try {
        heap.defineShape(`other ${i}`, {})
      } catch {
        return
      }
    }
  }

  it('has more functions or layouts than a heap has shapes: known before it runs, or when it comes to it', () => {
    using session = open()
    const { lox } = session
    lox.run('class Bag {} var bag = Bag(); fun f() { return "f"; }')
    exhaustShapes(lox.heap)
    expect(lox.run('print 1; fun g() {}')).toBe('syntax error')
    expect(lox.run('print 2; bag.field = 1; print 3;')).toBe('runtime error')
    expect(session.errors).toBe(TOO_LARGE.repeat(2))
    // What is there goes on.
    expect(lox.run('print f();')).toBe('ok')
    expect(session.output).toBe('2\nf\n')
  })
  it('has more than 65 536 global variables', () => {
    using session = open()
    const run = (batch: number): string => session.lox.run(times(250, (i) => `var v${batch}_${i};`))
    for (let batch = 0; batch < 262; batch++) expect(run(batch)).toBe('ok')
    expect(run(262)).toBe('syntax error')
    expect(session.errors).toBe(TOO_LARGE)
  })
  it('has constants for which there are no roots', () => {
    using session = open({ heap: { maxBytes: '1m', maxRootBytes: '256k', collector: 'stop-the-world' } })
    let batch = 0
    while (session.lox.run(times(250, (i) => `"${batch}.${i}";`)) === 'ok') batch++
    expect(session.errors).toBe(TOO_LARGE)
    expect(session.lox.run('print "0.0";')).toBe('ok')
  })
  it('is not one of many small texts', () => {
    using session = open()
    const shapes = (): number => session.lox.heap.run((m) => m.control[layout.Word.ShapeCount])
    session.lox.run('print 0;')
    const before = shapes()
    for (let i = 0; i < 10; i++) session.lox.run(`print ${i};`)
    expect(shapes()).toBe(before)
  })
})

describe('cells', () => {
  it('are as many as there is memory for: a heap has few root areas', () => {
    inMachine('4m', (machine) => {
      for (let i = 0; i < 300_000; i++) machine.newCell()
    })
  })
  it('take the last of it in small tables', () => {
    inMachine('1m', (machine) => {
      let cells = 0
      expect(() => {
        for (;;) cells += machine.newCell() > 0 ? 1 : 0
      }).toThrow(expect.objectContaining({ code: 'ERR_ROOTS_EXHAUSTED' }))
      expect(cells).toBeGreaterThan(110_000)
    })
  })
})

/** Runs `work` with a machine that nothing has run on. */
function inMachine(maxRootBytes: string, work: (machine: Machine) => void): void {
  using heap = Heap.create({ maxBytes: '1m', maxRootBytes, collector: 'stop-the-world' })
  heap.run((m) => work(new Machine(heap, m, new BufferedOutput(() => {}))))
}
