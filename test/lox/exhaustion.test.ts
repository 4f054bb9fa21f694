// Where memory or room for a program ends: a message in Lox's words, and an interpreter that goes on.

import { expect, it } from 'vitest'
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
