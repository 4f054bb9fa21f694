import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'

// The demos as a user runs them; the word index on small input of every awkward kind.
const folder = mkdtempSync(join(tmpdir(), 'glissade-demo-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function file(name: string, content: string | Uint8Array): string {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}
function demo(...args: string[]) {
  const run = spawnSync(process.execPath, ['dist/examples/word-index/main.js', ...args], {
    encoding: 'utf8',
    env: { ...process.env, NO_COLOR: '1' },
  })
  return { status: run.status, out: run.stdout, err: run.stderr }
}

const awkward = [
  file('empty.txt', ''),
  file('no-words.txt', '\n\n ... \n'),
  file('no-newline.txt', 'one two one'),
  file('carriage.txt', 'alpha beta\r\ngamma\r\n'),
  file('beyond-ascii.txt', 'naïve Ωmega 日本語 naïve\n'),
  file(
    'not-utf8.bin',
    Uint8Array.from({ length: 4096 }, (_, i) => (i * 37) & 255),
  ),
  file('one-long-line.txt', 'word '.repeat(20_000)),
  file('one-long-word.txt', 'w'.repeat(100_000)),
]

describe.each(['auto', 'stop-the-world', 'none'])('the word index over awkward files, collector %s', (collector) => {
  it('equals the one made from Maps', () => {
    const { status, out, err } = demo(
      '--json',
      '--rounds',
      '6',
      '--window',
      '30000',
      '--collector',
      collector,
      ...awkward,
    )
    expect(err).toBe('')
    expect(JSON.parse(out)).toMatchObject({ matches: true })
    expect(status).toBe(0)
  })
})

it('objects are collected, not only made: much more goes through a small heap than fits', () => {
  const text = file('text.txt', Array.from({ length: 20_000 }, (_, i) => `word${i % 997} line ${i}\n`).join(''))
  const { status, out } = demo('--json', '--heap', '16m', '--rounds', '12', '--window', '60000', text)
  expect(status).toBe(0)
  const stats = JSON.parse(out) as { matches: boolean; collections: number }
  expect(stats.matches).toBe(true)
  expect(stats.collections).toBeGreaterThan(0)
})

describe.each(['auto', 'stop-the-world', 'none'])('the page that a person sees, collector %s', (collector) => {
  it('names every figure and every stall', () => {
    const text = file('page.txt', Array.from({ length: 20_000 }, (_, i) => `word${i % 997} line ${i}\n`).join(''))
    // What is not collected has to fit.
    const load = collector === 'none' ? ['--rounds', '2'] : ['--heap', '16m', '--rounds', '12', '--window', '60000']
    const { status, out, err } = demo('--collector', collector, ...load, text)
    expect({ status, err }).toEqual({ status: 0, err: '' })
    expect(out).toMatch(/✓ the same [\d,]+ words at the same [\d,]+ places/)
    expect(out).not.toMatch(/undefined|NaN|null/)
    const used = /^ {2}heap .*, collector (\S+) /m.exec(out)?.[1] as string
    if (collector !== 'auto') expect(used).toBe(collector)
    expect(Number(/^ {2}collections +(\d+)$/m.exec(out)?.[1]) > 0).toBe(used !== 'none')
    const stalls: Record<string, string[]> = {
      concurrent: ['remark', 'time to safepoint'],
      'stop-the-world': ['stop the world'],
      none: [],
    }
    for (const stall of stalls[used]) expect(out).toMatch(new RegExp(`^ {2}${stall} +[1-9]\\d*( +[\\d.,]+){4}$`, 'm'))
  })
})

it('a window that does not fit is told as such', () => {
  const text = file('large.txt', Array.from({ length: 60_000 }, (_, i) => `word${i} line${i}\n`).join(''))
  const { status, err } = demo('--heap', '2m', text)
  expect(status).toBe(1)
  expect(err).toMatch(/ERR_HEAP_EXHAUSTED[^]*--heap/)
})

describe('wrong use exits 2 with a sentence', () => {
  it.each([
    [['--rouns', '3'], /--rouns/],
    [['--rounds', 'x'], /--rounds takes a whole number from 1; got 'x'/],
    [['--heap', '64x'], /'?64x'?/],
    [['--collector', 'concurent'], /concurrent/],
    [['no-such-file.txt'], /no file 'no-such-file.txt'/],
  ])('%j', (args, sentence) => {
    const { status, out, err } = demo(...args)
    expect(err).toMatch(sentence)
    expect({ status, out }).toEqual({ status: 2, out: '' })
  })
})

describe('the bank in Lox', () => {
  const bank = (...args: string[]) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, ['dist/examples/lox/demo/main.js', ...args], {
      encoding: 'utf8',
    })
    return { status, out: stdout, err: stderr }
  }

  it('sends more through its heap than fits, loses no money, and says what that cost', () => {
    const { status, out, err } = bank('2')
    expect({ status, err }).toEqual({ status: 0, err: '' })
    expect(out).toContain('The books balance.')
    const figure = (name: string): number => Number(new RegExp(`^${name} +([\\d.]+)`, 'm').exec(out)?.[1])
    expect(figure('allocated')).toBeGreaterThan(64)
    expect(figure('collections')).toBeGreaterThan(0)
    // Moved where userfaultfd serves, else copied: by the kernel, or by the portable collector.
    expect(figure('pages moved') + figure('pages copied')).toBeGreaterThan(0)
    expect(figure('page faults')).toBeGreaterThanOrEqual(0)
    expect(figure('longest stall')).toBeGreaterThan(0)
  })

  it('takes a number of days only', () => {
    const { status, out, err } = bank('many')
    expect(err).toMatch(/'many'[^]*usage/)
    expect({ status, out }).toEqual({ status: 2, out: '' })
  })
})
