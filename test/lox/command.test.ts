// `lox` as a command: exit codes, channels, options, the REPL.

import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it, onTestFinished } from 'vitest'

const folder = mkdtempSync(join(tmpdir(), 'lox-'))
afterAll(() => rmSync(folder, { recursive: true }))

function lox(args: readonly string[], input = ''): { code: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['dist/bin/lox.cjs', ...args], {
    input,
    encoding: 'latin1',
  })
  return { code: status, out: stdout, err: stderr }
}

const hasScript = spawnSync('script', ['-qec', 'true', '/dev/null']).status === 0

let files = 0
function file(source: string): string {
  const path = join(folder, `program${files++}.lox`)
  writeFileSync(path, source, 'latin1')
  return path
}

describe('exit codes and channels', () => {
  it('0: prints on standard output and nothing on standard error', () => {
    expect(lox([file('print "hello";')])).toEqual({ code: 0, out: 'hello\n', err: '' })
  })
  it('0: prints all of it, however much it is', () => {
    const lines = Array.from({ length: 30_000 }, (_, i) => `line ${i}\n`)
    const program = 'for (var i = 0; i < 30000; i = i + 1) { print "line " + text(i); }'
    // Lox has no text of a number: digit by digit.
    const digits = Array.from({ length: 10 }, (_, d) => `if (d == ${d}) return "${d}";`).join(' ')
    const text = `fun digit(d) { ${digits} } fun text(n) { var t = ""; var p = 1; while (p * 10 <= n) p = p * 10;
while (p >= 1) { var d = 0; while (n >= p) { n = n - p; d = d + 1; } t = t + digit(d); p = p / 10; } return t; }`
    const { code, out, err } = lox([file(`${text} ${program}`)])
    expect({ code, err, length: out.length }).toEqual({ code: 0, err: '', length: lines.join('').length })
    expect(out === lines.join('')).toBe(true)
  })
  it('65: syntax errors', () => {
    expect(lox([file('print 1;\nprint ;')])).toEqual({
      code: 65,
      out: '',
      err: "[line 2] Error at ';': Expect expression.\n",
    })
  })
  it('70: run-time errors, after what was printed before', () => {
    expect(lox([file('print 1;\nnil();')])).toEqual({
      code: 70,
      out: '1\n',
      err: 'Can only call functions and classes.\n[line 2] in script\n',
    })
  })
  it('70: out of memory, with the heap intact', () => {
    const program = 'var s = "x"; while (true) s = s + s;'
    expect(lox(['--heap', '4m', file(program)])).toEqual({ code: 70, out: '', err: 'Out of memory.\n' })
  })
  it('64: bad usage', () => {
    expect(lox(['--nonsense']).code).toBe(64)
    expect(lox(['--heap']).err).toMatch(/^--heap takes a value/)
    expect(lox(['--heap', 'much', file('')]).err).toMatch(/^lox: option --heap/)
    expect(lox(['a.lox', 'b.lox']).code).toBe(64)
  })
  it('74: files that cannot be read', () => {
    expect(lox(['no-such-file.lox'])).toEqual({ code: 74, out: '', err: 'Could not open file "no-such-file.lox".\n' })
    expect(lox([folder])).toEqual({ code: 74, out: '', err: `Could not read file "${folder}".\n` })
  })
  it.runIf(existsSync('/dev/full'))('74: output that cannot be written', () => {
    const full = openSync('/dev/full', 'w')
    for (const source of ['print "short";', 'while (true) print "long";']) {
      const { status, stderr } = spawnSync(process.execPath, ['dist/bin/lox.cjs', file(source)], {
        stdio: ['ignore', full, 'pipe'],
        encoding: 'latin1',
      })
      expect({ status, stderr }).toEqual({ status: 74, stderr: 'Could not write to standard output (ENOSPC).\n' })
    }
    const messages = spawnSync(process.execPath, ['dist/bin/lox.cjs', file('nil();')], {
      stdio: ['ignore', 'ignore', full],
    })
    expect(messages.status).toBe(70)
    closeSync(full)
  })
  it.each([
    ['standard error', 70],
    ['standard output', 0],
  ])('without a reader of %s: %d', async (channel, code) => {
    const program = file('for (var i = 0; i < 100000; i = i + 1) print i; nil();')
    const child = spawn(process.execPath, ['dist/bin/lox.cjs', program])
    const [gone, other] = channel === 'standard error' ? [child.stderr, child.stdout] : [child.stdout, child.stderr]
    gone.destroy()
    other.resume()
    expect(await once(child, 'exit')).toEqual([code, null])
  })
})

describe('options', () => {
  const program = file('var s = ""; for (var i = 0; i < 1000; i = i + 1) s = s + "y"; print s == s + "";')
  it.each(['stop-the-world', 'none', 'auto'])('--collector %s', (name) => {
    expect(lox(['--collector', name, program])).toEqual({ code: 0, out: 'true\n', err: '' })
  })
  it('--gc-stress and --checked change nothing that a program sees', () => {
    expect(lox(['--gc-stress', program])).toEqual({ code: 0, out: 'true\n', err: '' })
    expect(lox(['--checked', program])).toEqual({ code: 0, out: 'true\n', err: '' })
  })
  it('--stats=json writes one JSON object on standard error', () => {
    const { out, err } = lox(['--stats=json', program])
    expect(out).toBe('true\n')
    expect(JSON.parse(err)).toMatchObject({ maxBytes: 256 * 2 ** 20 })
  })
  it('--stats writes a table', () => {
    expect(lox(['--stats', program]).err).toMatch(/collections +\d+ {2}collections completed/)
  })
  it('--gc-log writes a line for each collection', () => {
    const many = file('fun f() {} for (var i = 0; i < 300000; i = i + 1) { fun g() { return i; } }')
    const begin = performance.now()
    const { err } = lox(['--gc-log', '--heap', '1m', '--collector', 'stop-the-world', many])
    const seconds = (performance.now() - begin) / 1000
    const logged = err.trimEnd().split('\n')
    for (const [i, line] of logged.entries()) {
      const [, at, number] =
        /^\[gc (\d+\.\d{3}) s\] (\d+): [\d.]+ MiB live, [\d.]+ MiB allocated, \d+ pages placed$/.exec(line) ?? []
      expect(Number(number), line).toBe(i + 1)
      expect(Number(at), line).toBeLessThan(seconds)
    }
    expect(logged.length).toBeGreaterThan(3)
  })
  it('--show-code writes the generated JavaScript', () => {
    expect(lox(['--show-code', file('fun f(a) { return a; }')]).err).toContain('= function f1_f(sp) {')
  })
  it('--snapshot writes what is alive, as the program calls it', () => {
    const snapshot = join(folder, 'one.heapsnapshot')
    const program = file(`class Cell { init(v) { this.v = v; this.next = nil; } }
      fun counter() { var n = 0; fun step() { n = n + 1; return n; } return step; }
      var c = Cell("kept"); c.next = Cell(c); var step = counter(); Cell("lost");`)
    expect(lox(['--snapshot', snapshot, program])).toEqual({ code: 0, out: '', err: '' })
    const { nodes, strings } = JSON.parse(readFileSync(snapshot, 'utf8')) as { nodes: number[]; strings: string[] }
    const names = nodes.filter((_, k) => k % 7 === 1).map((name) => strings[name])
    const counts = Object.fromEntries(names.map((name) => [name, names.filter((other) => other === name).length]))
    expect(counts).toMatchObject({ Cell: 2, 'class Cell': 1, 'fun init': 1, 'fun counter': 1, 'fun step': 1, kept: 1 })
    expect(counts).toMatchObject({ stack: 1, 'globals and constants': 1, 'native clock': 1 })
    expect(strings).toEqual(expect.arrayContaining(['v', 'next']))
    // At the end of memory it says who has it.
    const hungry = file(
      'class Hog {} fun eat() { var h = Hog(); h.more = nil; while (true) { var n = Hog(); n.more = h; h = n; } } eat();',
    )
    expect(lox(['--heap', '1m', '--snapshot', snapshot, hungry]).err).toBe('Out of memory.\n')
    const after = JSON.parse(readFileSync(snapshot, 'utf8')) as { snapshot: { node_count: number }; strings: string[] }
    expect(after.snapshot.node_count).toBeGreaterThan(10_000)
    expect(after.strings).toContain('Hog')
    const nowhere = join(folder, 'missing', 'one.heapsnapshot')
    const err = `Could not write file "${nowhere}" (ENOENT).\n`
    expect(lox(['--snapshot', nowhere, program])).toEqual({ code: 74, out: '', err })
  })
  it('--help', () => {
    expect(lox(['--help']).out).toMatch(/^Usage: lox/)
  })
})

describe('the REPL', () => {
  it('keeps globals, goes on after errors, joins lines', () => {
    const { code, out, err } = lox(
      [],
      'var a = 1;\nprint missing;\nfun f() {\n  return a + 1;\n}\nprint f();\nprint ;\nprint "end";\n',
    )
    expect(out).toBe('2\nend\n')
    expect(err).toBe("Undefined variable 'missing'.\n[line 1] in script\n[line 1] Error at ';': Expect expression.\n")
    expect(code).toBe(0)
  })
  it('lets a function be redefined under code that calls it', () => {
    const text =
      'fun f() { return "old"; }\nfun g() { return f(); }\nprint g();\nfun f() { return "new"; }\nprint g();\n'
    expect(lox([], text).out).toBe('old\nnew\n')
  })
  it('reads bytes, as it does from a file', () => {
    expect(lox([], 'print "\xff\xe4\xc3\xa4";\n').out).toBe('\xff\xe4\xc3\xa4\n')
  })
  it('goes on after an empty line inside a block of piped text', () => {
    const text = 'fun f() {\n  var a = 1; // {\n\n\n\n  return "}\n{" ;\n}\nprint f();\n'
    expect(lox([], text)).toEqual({ code: 0, out: '}\n{\n', err: '' })
  })
  it('goes on after an error in piped text at the next line', () => {
    expect(lox([], 'print (1;\n}\nprint 2;\n').out).toBe('2\n')
  })
  it('reads a long function as fast as a file', () => {
    const text = `fun f(a) {\n${'  a = -a;\n'.repeat(6000)}  return a;\n}\nprint f(7);\n`
    const begin = performance.now()
    expect(lox([], text).out).toBe('7\n')
    const took = performance.now() - begin
    expect(took).toBeLessThan(4000)
  })
  it.runIf(hasScript)('at a terminal: two empty lines end an input, and ^C a program that runs', async () => {
    const command = `${process.execPath} dist/bin/lox.cjs`
    const child = spawn('script', ['-qec', command, '/dev/null'])
    onTestFinished(() => void child.kill())
    let screen = ''
    const shows = async (text: string): Promise<void> => {
      while (!screen.includes(text)) await once(child.stdout, 'data')
    }
    child.stdout.on('data', (bytes: Buffer) => (screen += bytes.toString()))
    await shows('> ')
    child.stdin.write('fun f() {\n\n  return "over" + "all"; }\nprint f();\n')
    await shows('overall')
    child.stdin.write('fun g() {\n\n\n')
    await shows("Expect '}'")
    child.stdin.write('print "in " + "loop"; while (true) {}\n')
    await shows('in loop')
    child.stdin.write('\x03')
    const [code] = (await once(child, 'exit')) as [number]
    expect(code).toBe(128 + constants.signals.SIGINT)
  })
})
