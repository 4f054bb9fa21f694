// What the process or the system has no more of: which limit it is, and what to do about it.
import { spawnSync } from 'node:child_process'
import { Heap } from 'glissade'
import { describe, expect, it } from 'vitest'
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
        /^ERR_ADDRESS_SPACE could not reserve the address space for maxBytes = 2g, .* or raise ulimit -v$/,
      )
    },
  )
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
      expect(full.message).toMatch(/^a process has at most 256 concurrent heaps with faults 'sigbus': close one, or/)
      heaps.push(Heap.create({ ...small, faults: 'thread' }))
      heaps.shift()?.close()
      heaps.push(Heap.create(small))
    } finally {
      for (const heap of heaps) heap.close()
    }
  })
})
