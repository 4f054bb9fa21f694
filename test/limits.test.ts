// What the process or the system has no more of: which limit it is, and what to do about it.
import { spawnSync } from 'node:child_process'
import { constants } from 'node:os'
import { Heap } from 'glissade'
import { describe, expect, it } from 'vitest'
import { anyOf, refusalOf } from '../dist/gc/refusals.js'
import { parseOptions } from '../dist/heap/options.js'
import { configurations, failure } from './conformance/configurations.js'

const entry = new URL('../dist/index.js', import.meta.url).href
const concurrent = configurations.some((c) => c.concurrent)
const small = { maxBytes: '1m', maxRootBytes: '64k', collector: 'concurrent', collectorThreads: 1 } as const

describe('without address space', () => {
  it.each(['stop-the-world', 'concurrent'].filter((collector) => concurrent || collector !== 'concurrent'))(
    'a %s heap says what to do',
    (collector) => {
      const program = `
        const { Heap } = await import('${entry}')
        try {
          Heap.create({ collector: '${collector}', maxBytes: '2g' })
        } catch ({ code, message }) {
          console.log(code + ' ' + message)
        }`
      const run = spawnSync(
        'bash',
        ['-c', 'ulimit -v 2000000 && exec "$0" --max-old-space-size=100 --input-type=module -', process.execPath],
        { input: program, encoding: 'utf8' },
      )
      expect(run.stderr).toBe('')
      expect(run.stdout.trim()).toMatch(
        /^ERR_ADDRESS_SPACE could not reserve the address space for maxBytes = 2g, .* raise ulimit -v(, or use coll.*)?$/,
      )
    },
  )
})

describe.runIf(concurrent)('a system that refuses a concurrent heap', () => {
  it("has a stop-the-world heap for collector 'auto', which says why", () => {
    const program = `
      const { Heap } = await import('${entry}')
      const opened = [{}, { maxBytes: '1m' }, { relocation: 'move' }, { protect: true }].map((options) => {
        try {
          return Heap.create(options).capabilities
        } catch ({ code, message }) {
          return { code, message }
        }
      })
      console.log(JSON.stringify(opened))`
    const run = spawnSync(
      'bash',
      ['-c', 'ulimit -v 4000000 && exec "$0" --max-old-space-size=100 --input-type=module -', process.execPath],
      { input: program, encoding: 'utf8' },
    )
    expect(run.stderr).toBe('')
    const [plain, small, move, protect] = JSON.parse(run.stdout) as Record<string, unknown>[]
    for (const capabilities of [plain, small]) {
      expect(capabilities).toMatchObject({ collector: 'stop-the-world', sharing: false, relocation: 'copy' })
      expect(capabilities['reasons']).toContainEqual(expect.stringMatching(/could not reserve the address space/))
      expect(capabilities['remedies']).toEqual(['close other heaps, or raise ulimit -v'])
    }
    // What the portable collector does not do is refused, not left out.
    for (const refused of [move, protect]) expect(refused['code']).toBe('ERR_ADDRESS_SPACE')
    expect(protect['message']).toMatch(/: leave out protect: true, close other heaps, or raise ulimit -v$/)
  })

  it('is told from others, with what helps', () => {
    const options = parseOptions({})
    const refused = (message: string, errno: number): string[] => {
      const refusal = refusalOf(Object.assign(new Error(message), { code: 'ERR_NATIVE_HEAP', errno }), options)
      return [refusal?.reason ?? '', anyOf(refusal?.remedies ?? [])]
    }
    const { EAGAIN, EMFILE, EPERM } = constants.errno
    expect(refused('starting the collector thread: Resource temporarily unavailable', EAGAIN)).toEqual([
      expect.stringMatching(/^the system has no thread for the concurrent collector/),
      'close other heaps, or raise ulimit -u (in a container: its limit on processes)',
    ])
    expect(refused('opening a userfaultfd: Too many open files', EMFILE)[1]).toMatch(/ulimit -n/)
    expect(refused('opening a userfaultfd: Not allowed', EPERM)).toEqual(['opening a userfaultfd: Not allowed', ''])
    expect(refusalOf(new TypeError('no'), options)).toBe(undefined)
  })
})

describe.runIf(concurrent)('many concurrent heaps', () => {
  it('are 256 with faults by signal, and more with faults by thread', () => {
    const heaps: Heap[] = []
    try {
      const full = failure(() => {
        while (heaps.length < 300) heaps.push(Heap.create(small))
      })
      expect(heaps.length).toBe(256)
      expect(full.code).toBe('ERR_NATIVE_HEAP')
      using another = Heap.create({ ...small, collector: 'auto' })
      expect(another.capabilities).toMatchObject({
        collector: 'stop-the-world',
        remedies: ["close one, or create this one with faults: 'thread'"],
      })
      expect(full.message).toMatch(
        /^a process has at most 256 concurrent heaps with faults 'sigbus': close one, create/,
      )
      heaps.push(Heap.create({ ...small, faults: 'thread' }))
      heaps.shift()?.close()
      heaps.push(Heap.create(small))
    } finally {
      for (const heap of heaps) heap.close()
    }
  })

  it('are 64 with protect, each of which is watched', () => {
    const heaps: Heap[] = []
    const protect = { ...small, protect: true }
    try {
      const full = failure(() => {
        while (heaps.length < 70) heaps.push(Heap.create(protect))
      })
      expect(heaps.length).toBe(64)
      expect(full).toEqual({
        code: 'ERR_NATIVE_HEAP',
        message: 'a process has at most 64 heaps with protect: true: close one, or leave out protect: true',
      })
      heaps.shift()?.close()
      heaps.push(Heap.create(protect), Heap.create(small))
    } finally {
      for (const heap of heaps) heap.close()
    }
  })
})
