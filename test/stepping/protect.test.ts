// The page-protect mode: a stale Ref ends the process with a report, and a program without one lives through hundreds of
// collections that each move every object. The mistakes are in test/fixtures/protect.mjs, each in a process of its own.
import type { HeapOptions } from 'glissade'
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { configurations } from '../conformance/configurations.js'

const fixture = fileURLToPath(new URL('../fixtures/protect.mjs', import.meta.url))
const concurrent = configurations.some((c) => c.concurrent)

function run(what: string, options: HeapOptions): { out: string; err: string; signal: string | null } {
  const { stdout, stderr, signal } = spawnSync(process.execPath, [fixture, what, JSON.stringify(options)], {
    encoding: 'utf8',
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
  })
  return { out: stdout, err: stderr, signal }
}

describe.runIf(concurrent)('protect', () => {
  const modes: [string, HeapOptions][] = [
    ['moving', { relocation: 'move', verify: 4 }],
    ['copying', { relocation: 'copy', verify: 4 }],
    ['faults by thread', { faults: 'thread', collectorThreads: 2 }],
  ]
  it.each(modes)('a program without a mistake goes on, and all its objects move (%s)', (_name, options) => {
    const { out, err, signal } = run('none', options)
    expect({ err, signal }).toEqual({ err: '', signal: null })
    expect(out).toBe('correct so far: 300 collections, 15000 nodes\nsurvived\n')
  })

  const mistakes: [string, HeapOptions, RegExp][] = [
    ['read', {}, /Collection 301 freed the page; 301 collections are complete/],
    ['read', { relocation: 'copy' }, /Collection 301 freed the page/],
    ['read', { faults: 'thread' }, /Collection 301 freed the page/],
    ['write', {}, /Collection 301 freed the page/],
    ['barrier', {}, /Collection 301 freed the page/],
    ['stored', {}, /Collection 301 freed the page/],
    ['older', {}, /Collection 301 freed the page; 303 collections are complete/],
    [
      'compacting',
      { stepping: true },
      /Collection 301, which is under way, freed the page; 300 collections are complete/,
    ],
    ['large', {}, /nothing is there/],
  ]
  it.each(mistakes)('the mistake %s, with %o, is reported', (what, options, report) => {
    const { out, err, signal } = run(what, options)
    expect(out).toMatch(/^correct so far/)
    expect(out).not.toMatch(/survived/)
    expect(signal).toBe('SIGABRT')
    expect(err).toMatch(
      /^glissade: stale reference: word \d+ of m\.i32 \(page \d+ of the moving space, address 0x[0-9a-f]+\) was touched/,
    )
    expect(err).toMatch(report)
    expect(err).toMatch(/Or a reference to it was stored without the write barrier/)
  })

  it('a checked heap throws before the page is touched', () => {
    const { out, err, signal } = run('read', { checked: true })
    expect({ err, signal }).toEqual({ err: '', signal: null })
    expect(out).toMatch(/ERR_STALE_REF\nsurvived/)
  })
})
