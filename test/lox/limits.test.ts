// Lox's limits are those of its bytecode: what fits is accepted, one more is an error in the right words.

import { describe, expect, it } from 'vitest'
import { runLox } from './expectations.js'

const heap = { collector: 'stop-the-world' } as const
const count = (n: number, text: (i: number) => string): string => Array.from({ length: n }, (_, i) => text(i)).join('')
const run = (source: string): string => {
  const { outcome, output, errors } = runLox(source, heap)
  return outcome === 'ok' ? output : errors.split('\n')[0]
}

describe('constants', () => {
  it('256 fit into a function', () => {
    expect(run(`fun f() { ${count(255, (i) => `${i};`)} print "last"; } f();`)).toBe('last\n')
  })
  it('257 are an error at the last one', () => {
    expect(run(`fun f() {\n${count(256, (i) => `${i};`)}\n"oops";\n}`)).toBe(
      `[line 3] Error at '"oops"': Too many constants in one chunk.`,
    )
  })
  it('equal ones are not shared', () => {
    expect(run(`fun f() {\n${count(256, () => '1;')}\n1;\n}`)).toBe(
      "[line 3] Error at '1': Too many constants in one chunk.",
    )
  })
  it('names of globals and properties count, locals do not', () => {
    expect(run(`var g = 1; fun f(a) { ${count(128, () => 'a.p; g;')}\ng;\n}`)).toBe(
      "[line 2] Error at 'g': Too many constants in one chunk.",
    )
    expect(run(`fun f(a) { ${count(1000, () => 'a;')} return a; } print f(1);`)).toBe('1\n')
  })
})

describe('variables', () => {
  it('255 locals fit beside slot 0', () => {
    expect(run(`fun f() { ${count(255, (i) => `var v${i};`)} print v254; } f();`)).toBe('nil\n')
  })
  it('256 locals are an error at the last one', () => {
    expect(run(`fun f() {\n${count(255, (i) => `var v${i};`)}\nvar oops;\n}`)).toBe(
      "[line 3] Error at 'oops': Too many local variables in function.",
    )
  })
  it('256 captured variables fit, 257 are an error at the last one', () => {
    const program = (last: string): string => `
fun f() { ${count(128, (i) => `var a${i};`)}
  fun g() { ${count(128, (i) => `var b${i};`)} var oops;
    fun h() { ${count(128, (i) => `a${i};`)} ${count(128, (i) => `b${i};`)}
${last}
      print "fits";
    }
    h();
  }
  g();
}
f();`
    expect(run(program(''))).toBe('fits\n')
    expect(run(program('oops;'))).toBe("[line 5] Error at 'oops': Too many closure variables in function.")
  })
})

describe('arguments and parameters', () => {
  const names = (n: number): string => count(n, (i) => `${i > 0 ? ', ' : ''}p${i}`)
  const ones = (n: number): string => count(n, (i) => `${i > 0 ? ', ' : ''}nil`)
  it('255 of each fit', () => {
    expect(run(`fun f(${names(255)}) { return p254; } print f(${ones(255)});`)).toBe('nil\n')
  })
  it('256 of either are an error', () => {
    expect(run(`fun f(${names(256)}) {}`)).toBe(`[line 1] Error at 'p255': Can't have more than 255 parameters.`)
    expect(run(`nil(${ones(256)});`)).toBe(`[line 1] Error at 'nil': Can't have more than 255 arguments.`)
  })
})

describe('jumps', () => {
  /** Statements of `bytes` bytes of bytecode: `nil;` is two. */
  const code = (bytes: number): string => 'nil;'.repeat(bytes / 2)
  it('a loop body of 65 535 bytes fits, a longer one does not', () => {
    // Condition, its jump and pop, the body, and the jump back: 1 + 3 + 1 + body + 3.
    expect(run(`while (false) {${code(65526)}} print "fits";`)).toBe('fits\n')
    expect(run(`while (false) {${code(65530)}\n}`)).toBe("[line 2] Error at '}': Loop body too large.")
  })
  it('a branch of 65 535 bytes fits, a longer one does not', () => {
    expect(run(`if (false) {${code(65530)}} print "fits";`)).toBe('fits\n')
    expect(run(`if (false) {${code(65534)}\n}`)).toBe("[line 2] Error at '}': Too much code to jump over.")
  })
})

describe('size', () => {
  it('a long function is split and still does what it says', () => {
    const step = 'a = a + n; if (a > b) b = a; { var c = a; b = c; }'
    expect(run(`fun f(a, b, n) { ${step.repeat(1000)} return a + b; } print f(0, 0, 1);`)).toBe('2000\n')
  })
  it('so is a long loop, a long method and a long script', () => {
    const step = 'a = a + n; if (a > b) { b = a; } else { b = b + n; }'
    const program = `var total = 0; fun one() { return 1; }
class A { m(a, b, n) { for (var i = 0; i < 3; i = i + n) { ${step.repeat(900)} } total = total + a; return b; } }
{ var a = 0; var b = 0; var n = one(); ${step.repeat(900)} print a; fun f() { return a; } print f(); }
print A().m(0, 0, 1); print total;`
    expect(run(program)).toBe('900\n900\n2700\n2700\n')
  })
  it('a piece of a split function returns from the whole', () => {
    const step = 'a = a + n; if (a > limit) return a;'
    const program = `fun f(a, n, limit) { ${step.repeat(800)} return "end"; } print f(0, 1, 500); print f(0, 1, 5000);`
    expect(run(program)).toBe('501\nend\n')
  })
  it('a string of a million lines is a string', () => {
    const program = `var s = "${'line\n'.repeat(1e6)}"; print s == s + "" and true;\nprint nil + 1;`
    const { output, errors } = runLox(program, { ...heap, maxBytes: '64m' })
    expect(output).toBe('true\n')
    expect(errors).toContain('[line 1000002] in script')
  })
  it('an empty text is a program', () => {
    expect(run('')).toBe('')
  })
  it('a zero byte ends the text', () => {
    expect(run('print 1;\0 this is not Lox')).toBe('1\n')
  })
  it('bytes that are not UTF-8 go through unchanged', () => {
    expect(run('print "\xff\xfe\x80";')).toBe('\xff\xfe\x80\n')
  })
  it('a sum of ten thousand terms is compiled', () => {
    expect(run(`fun f(x) { return ${'x + '.repeat(9999)}x; } print f(1);`)).toBe('10000\n')
  })
  it('nesting without end is a syntax error', () => {
    expect(run('('.repeat(100000))).toMatch(/^\[line 1\] Error at '\(': Code nests too deeply\.$/)
  })
})

describe('nesting', () => {
  const nest = (n: number, before: string, inner: string, after = ''): string =>
    before.repeat(n) + inner + after.repeat(n)
  it.each<[string, (n: number) => string]>([
    ['parentheses', (n) => `print ${nest(n, '(', '1', ')')};`],
    ['negations', (n) => `print ${nest(n, '!', 'true')};`],
    ['conditions', (n) => `print ${nest(n, 'nil or ', 'true')};`],
    ['right operands', (n) => `fun f(b) { print ${nest(n, 'b - (', '1', ')')}; } f(1);`],
    ['right operands that are numbers', (n) => `{ var b = 1; print ${nest(n, 'b - (', '1', ')')}; }`],
    ['ifs', (n) => `fun f(b) { ${nest(n, 'if (b) ', 'print 1;')} } f(1);`],
    ['blocks of ifs', (n) => `fun f(b) { ${nest(n, 'if (b) {', 'print 1;', '}')} } f(1);`],
    ['loops', (n) => `fun f(b) { ${nest(n, 'for (;;) ', 'return 1;')} } f(1);`],
    ['functions', (n) => `${nest(n, 'fun f() {', 'print 1;', '}')} f();`],
    ['classes', (n) => `${nest(n, 'class A { m() {', 'print 1;', '} }')} A().m();`],
  ])('%s run at 290, and at 5000 are an error where they stand', (_what, program) => {
    expect(runLox(program(290), heap)).toMatchObject({ outcome: 'ok', errors: '' })
    const { outcome, errors } = runLox(`\n\n${program(5000)}`, heap)
    expect({ outcome, errors }).toEqual({
      outcome: 'syntax error',
      errors: expect.stringMatching(/^\[line 3\] Error at '[^']*': Code nests too deeply\.\n$/) as string,
    })
  })
  it('numbers in one another take no more of the stack than the value stack knows of', () => {
    let sum = '1'
    for (let i = 60; i >= 1; i--) sum = `1 + x / ${i} * (${sum})`
    const program = `fun f(n) { var x = -n; if (n > 1000000) return ${sum};
return f(n + 1) + 1; }
{ var x = -1; print ${sum}; }
f(0);`
    const { output, errors } = runLox(program, heap)
    expect(output).toBe('0.367879\n')
    expect(errors).toMatch(/^Stack overflow\.\n(\[line [12]\] in f\(\)\n){500,}\[line 4\] in script\n$/)
  })
})
