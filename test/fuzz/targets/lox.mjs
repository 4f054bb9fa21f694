// Lox programs: whatever the text, the answer is one of three outcomes with messages in their form, never an exception of
// JavaScript; another collector gives the same; and the heap is whole afterwards. A program that goes on for long is
// stopped from outside, in the middle of whatever it does: its heap must still close.
import vm from 'node:vm'
import { Lox } from '../../../dist/examples/lox/lox.js'
import { Heap } from '../../../dist/index.js'
import { BufferedOutput } from '../../../dist/examples/lox/runtime/output.js'
import { demand } from '../check.mjs'

const MOST_MS = 300
const MOST_OUTPUT = 1 << 16

const SYNTAX = /^(?:\[line \d+\] Error(?: at end| at '[^]*?')?: [^\n]+\n)+$/
const RUNTIME = /^(?:Stack overflow\.|Out of memory\.|[^\n]+(?:\n\[line \d+\] in (?:script|[A-Za-z_]\w*\(\)))+)\n$/

class TooMuch extends Error {}

/** Runs `fn` for at most so long; undefined if it was stopped. */
function bounded(fn) {
  globalThis.boundedCall = fn
  try {
    return vm.runInThisContext('boundedCall()', { timeout: MOST_MS })
  } catch (error) {
    if (error?.code === 'ERR_SCRIPT_EXECUTION_TIMEOUT' || error instanceof TooMuch) return undefined
    throw error
  }
}

/** What the program did; undefined if it was stopped. */
function run(source, heap) {
  let output = ''
  let errors = ''
  const written = new BufferedOutput((bytes) => {
    if (output.length > MOST_OUTPUT) throw new TooMuch()
    output += Buffer.from(bytes).toString('latin1')
  })
  const lox = new Lox({
    heap: { maxRootBytes: '1m', ...heap },
    output: written,
    error: (text) => (errors += text),
  })
  const outcome = bounded(() => {
    const outcome = lox.run(source)
    written.flush()
    return outcome
  })
  // Where run is JavaScript, a stop from outside leaves it unfinished, and nothing can end it: such a heap is lost.
  if (outcome === undefined && lox.heap.capabilities.collector !== 'concurrent') return undefined
  lox.heap.collectSync()
  lox.heap.assertValid()
  lox.close()
  return outcome === undefined ? undefined : { outcome, output, errors }
}

function check(source, { outcome, output, errors }) {
  const lines = source.split('\n').length
  for (const [, line] of errors.matchAll(/^\[line (\d+)\]/gm)) {
    demand(Number(line) >= 1 && Number(line) <= lines, `line ${line} of ${lines}: ${errors}`)
  }
  if (outcome === 'ok') demand(errors === '', `messages without an error: ${errors}`)
  else if (outcome === 'syntax error') {
    demand(output === '', 'a program with syntax errors has run')
    demand(SYNTAX.test(errors), `form of a syntax error: ${JSON.stringify(errors)}`)
  } else {
    demand(outcome === 'runtime error', `outcome ${outcome}`)
    demand(RUNTIME.test(errors), `form of a run-time error: ${JSON.stringify(errors)}`)
  }
}

const concurrent = runsConcurrently()
/** Whether the concurrent collector runs here. */
function runsConcurrently() {
  try {
    Heap.create({ collector: 'concurrent', maxBytes: '1m' }).close()
    return true
  } catch {
    return false
  }
}

/** `none` frees nothing, so it has room for what the others free. */
function heapOf(collector) {
  if (collector === 'none') return { collector, maxBytes: '8m' }
  return { collector: concurrent ? collector : 'stop-the-world', maxBytes: '1m' }
}

/** What depends on the heap and the stack, not on the program alone. */
const depends = ({ errors }) => /Out of memory|Stack overflow/.test(errors)

export const lox = {
  name: 'lox',
  seeds: [
    'class A { init(x) { this.x = x; } get() { return this.x; } }\nclass B < A { get() { return super.get() + 1; } }\nprint B(2).get();\n',
    'fun f(n) { if (n < 2) return n; return f(n - 1) + f(n - 2); }\nprint f(10);\n',
    'var a = nil; { var a = "x" + "y"; fun g() { a = a + "!"; return a; } print g(); }\nprint a;\n',
    'for (var i = 0; i < 3; i = i + 1) { print i; while (false) {} }\nprint 1 / 0 == 2 or !nil and "s" >= 3;\n',
    'print undefined_name;\n',
    'fun loop() { loop(); } loop();\n',
    'while (true) {}\n',
    'var s = "a"; while (true) s = s + s;\n',
    'print "unterminated\n',
    '// only a comment',
    '',
    '\u0000\u00ff\n@#$',
    'return 1;\nbreak;\nthis;\nsuper.x;\nclass A < A {}\n',
    'var f = clock; print f; print clock() > 0; f(1);\n',
  ],
  words: [
    ...['and', 'class', 'else', 'false', 'for', 'fun', 'if', 'nil', 'or', 'print', 'return', 'super', 'this', 'true'],
    ...['var', 'while', 'init', 'clock', 'x', 'A', '"s"', '1', '0.5', '(', ')', '{', '}', ';', ',', '.', '-', '+', '/'],
    ...['*', '!', '!=', '=', '==', '<', '<=', '>', '>=', '//', '\n', ' ', 'print x;\n', 'var x = 1;\n', 'x = x + 1;'],
    ...['fun f(a, b) { return a; }', 'class A { m() { return this; } }', 'f()', 'A().m()', 'super.m()', '[', '%', '&'],
    ...['constructor', '__proto__', 'toString', 'prototype', 'arguments', 'eval', 'await', 'yield', 'let', 'new'],
    ...[
      '('.repeat(80),
      '{'.repeat(80),
      '!'.repeat(80),
      'f('.repeat(60),
      '1+'.repeat(100),
      '"'.repeat(3),
      '`',
      '${x}',
      '\\',
    ],
  ],
  run(source) {
    Lox.isIncomplete(source)
    // Which collectors run a program is told by its length, so that a replay does the same.
    const [once, again] = [
      ['stop-the-world', 'concurrent'],
      ['none', undefined],
      ['concurrent', 'none'],
      ['stop-the-world', undefined],
    ][source.length % 4]
    const first = run(source, heapOf(once))
    if (first === undefined) return
    check(source, first)
    if (again === undefined || depends(first) || source.includes('clock')) return
    const second = run(source, heapOf(again))
    if (second === undefined || depends(second)) return
    demand(JSON.stringify(second) === JSON.stringify(first), `another collector: ${JSON.stringify([first, second])}`)
  },
}
