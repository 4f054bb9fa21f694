// Every store of a reference that Lox makes marks its card, the generated ones and those of the runtime: between the trace
// and the remark of a cycle verification finds one that does not.

import { step } from 'glissade/testing'
import { describe, expect, it } from 'vitest'
import { Lox } from '../../dist/examples/lox/lox.js'
import { BufferedOutput } from '../../dist/examples/lox/runtime/output.js'
import { availableCollectors } from './collectors.js'

const ROUNDS = 8
const times = (count: number, text: (i: number) => string): string =>
  Array.from({ length: count }, (_, i) => text(i)).join(' ')

/**
 * What is there before the cycle, and what is stored into it in each of the moments that the cycle rests. Every name is
 * stored to once: what an earlier rest has stored is nothing that the cycle could miss.
 */
const STORES: readonly (readonly [what: string, before: string, store: (round: number) => string])[] = [
  ['a global', times(ROUNDS, (k) => `var g${k} = nil;`), (k) => `g${k} = Thing();`],
  ['a new global', '', (k) => `var fresh${k} = Thing();`],
  ['a field that is there', times(ROUNDS, (k) => `var o${k} = Thing(); o${k}.f = nil;`), (k) => `o${k}.f = Thing();`],
  ['a new field', times(ROUNDS, (k) => `var o${k} = Thing();`), (k) => `o${k}.f = Thing();`],
  [
    'a field, at a place that has seen its object',
    `fun store(o, v) { o.f = v; } ${times(ROUNDS, (k) => `var o${k} = Thing(); store(o${k}, 1); store(o${k}, nil);`)}`,
    (k) => `store(o${k}, Thing());`,
  ],
  [
    'a field, by a method',
    `class Holder { init() { this.f = nil; } put(v) { this.f = v; } } ${times(ROUNDS, (k) => `var o${k} = Holder(); o${k}.put(nil);`)}`,
    (k) => `o${k}.put(Thing());`,
  ],
  [
    'a field beside the object',
    times(ROUNDS, (k) => `var o${k} = Bare(); set(o${k}, nil);`),
    (k) => `set(o${k}, Thing());`,
  ],
  ['the first field beside the object', times(ROUNDS, (k) => `var o${k} = Bare();`), (k) => `set(o${k}, 1);`],
  [
    'a captured variable, by the closure',
    times(ROUNDS, (k) => `var put${k}; { var v = nil; fun inner(x) { v = x; } put${k} = inner; }`),
    (k) => `put${k}(Thing());`,
  ],
  [
    'a captured variable, by the function that declares it',
    'fun outer(x) { var v = nil; fun inner() { return v; } v = x; return inner; }',
    (k) => `var keep${k} = outer(Thing());`,
  ],
  [
    'a function that refers to itself',
    'fun outer() { fun inner() { return inner; } inner = inner; return inner; }',
    (k) => `var keep${k} = outer();`,
  ],
  [
    'a class and its methods',
    '',
    (k) => `class C${k} < Thing { a() { return super.name; } b() { return this; } } var c${k} = C${k}();`,
  ],
  ['a bound method', times(ROUNDS, (k) => `var b${k} = nil;`) + ' var o = Thing();', (k) => `b${k} = o.name;`],
  [
    'a string',
    times(ROUNDS, (k) => `var o${k} = Thing(); var s${k} = "a";`),
    (k) => `o${k}.f = s${k} + "b"; s${k} = s${k} + "c";`,
  ],
  ['a constant of the text', '', (k) => `"constant ${k}";`],
]

describe.runIf(availableCollectors.includes('concurrent'))('while a cycle is between trace and remark', () => {
  it.each(STORES)('%s is stored with its card', (_what, before, store) => {
    let output = ''
    let errors = ''
    const lox = new Lox({
      // The second trace of verification looks at roots, too, whose cards nobody can check from outside.
      heap: { maxBytes: '4m', maxRootBytes: '1m', collector: 'concurrent', stepping: true, verify: 2 },
      output: new BufferedOutput((bytes) => (output += Buffer.from(bytes).toString('latin1'))),
      error: (text) => (errors += text),
    })
    const run = (text: string): void => expect(lox.run(text), errors).toBe('ok')
    try {
      // What a text before says of a class has its place in the object: the field of a Bare has not.
      run('class Thing { name() { return "thing"; } } class Bare {}')
      run(`fun set(o, v) { o.beside = v; } ${before}`)
      // What is made from here on lies in other cards.
      run('for (var i = 0; i < 100; i = i + 1) Thing();')
      let round = 0
      for (; step(lox.heap) === 'mark'; round++) {
        run(store(round))
        // What the stack still held would be marked by way of it.
        run('')
        expect(lox.heap.verify().violations).toEqual([])
      }
      expect(round).toBeGreaterThan(2)
      expect(round).toBeLessThanOrEqual(ROUNDS)
      lox.heap.collectSync()
      lox.heap.assertValid()
      expect(output).toBe('')
    } finally {
      lox.close()
    }
  })
})
