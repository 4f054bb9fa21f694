// Processes and threads that start in the middle of a compaction. A heap's memory is kept from children, so that a page is
// never shared with one; where it is all the same (undone by hand here), the kernel's EBUSY is real, and is dealt with.
import { execFile, fork, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { promisify } from 'node:util'
import { Worker } from 'node:worker_threads'
import { Heap, HeapError, type HeapOptions } from 'glissade'
import { describe, expect, it } from 'vitest'
import { loadNative } from '../../dist/gc/native-loader.js'
import type { NativeBinding, NativeError } from '../../dist/gc/native.js'
import { configurations } from '../conformance/configurations.js'
import { ARRAYS, expected, Halfway } from './halfway.js'
import { systemAddon } from './system-addon.js'

const here = configurations.some(({ concurrent }) => concurrent)
const addon = systemAddon()

interface System {
  shareWithChildren(buffer: ArrayBuffer): number
}

const starts: { readonly [name: string]: () => Promise<unknown> } = {
  spawn: async () => expect(await once(spawn('true'), 'exit')).toEqual([0, null]),
  spawnSync: async () => expect(spawnSync('true').status).toBe(0),
  execFile: () => promisify(execFile)('true'),
  fork: async () => expect(await once(fork('-e', ['0'], { execArgv: [] }), 'exit')).toEqual([0, null]),
  Worker: () => once(new Worker('0', { eval: true }), 'exit'),
}

describe.runIf(here)('in the middle of a compaction', () => {
  it.each(Object.entries(starts))('%s changes nothing', async (_name, start) => {
    const halfway = new Halfway({ relocation: 'move' })
    const check = (from: number, to: number): void =>
      halfway.heap.run((m) => {
        for (let i = from; i < to; i++) expect(Buffer.compare(bytes(halfway.view(m, i)), bytes(expected(i)))).toBe(0)
      })
    check(0, ARRAYS / 4)
    await start()
    check(ARRAYS / 4, ARRAYS / 2)
    halfway.finish()
    check(0, ARRAYS)
    halfway.heap.assertValid()
    expect(halfway.heap.stats().fallbacks).not.toHaveProperty('EBUSY')
    expect(halfway.heap.stats().pages.copied).toBe(0)
    halfway.heap.close()
  })

  it('children come and go while a strict heap compacts without pause', async () => {
    const binding = loadNative().exports as unknown as NativeBinding
    const list = new NumberHeap({ relocation: 'move', maxBytes: '16m' })
    binding.configureInjection('delay:compact=1ms', 0)
    try {
      let running = true
      const collecting = (async () => {
        while (running) {
          list.churn()
          await list.heap.collect()
        }
      })()
      for (let i = 0; i < 8; i++) await Promise.all([starts['spawn'](), starts['execFile']()])
      running = false
      await collecting
    } finally {
      binding.configureInjection('', 0)
    }
    expect(list.wrong).toBe(0)
    list.heap.assertValid()
    expect(list.heap.stats().fallbacks).not.toHaveProperty('EBUSY')
    expect(list.heap.stats().pages.moved).toBeGreaterThan(0)
    list.heap.close()
  })
})

function bytes({ buffer, byteOffset, byteLength }: Float64Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength)
}

/** Arrays of numbers, a page each: what lies below the garbage changes by nothing and is placed as it is. */
class NumberHeap {
  static readonly COUNT = 600
  readonly heap: Heap
  readonly #base: number
  readonly #page

  constructor(options: HeapOptions) {
    this.heap = Heap.create({ collector: 'concurrent', maxBytes: '8m', ...options })
    this.#page = this.heap.defineArray('Page', 'f64')
    this.#base = this.heap.run((m) => {
      const table = m.roots.table('ref', NumberHeap.COUNT)
      for (let i = 0; i < NumberHeap.COUNT; i++) {
        table.set(i, m.allocArray(this.#page, 511))
        const start = (m.rootsI32[table.base + i] + 2) >>> 1
        for (let j = 0; j < 511; j++) m.f64[start + j] = i * 1000 + j
      }
      return table.base
    })
    this.churn()
  }
  /** Garbage above the arrays, so that there is something to gain. */
  churn(): void {
    this.heap.run((m) => {
      for (let i = 0; i < 200; i++) m.allocArray(this.#page, 511)
    })
  }
  get wrong(): number {
    return this.heap.run((m) => {
      let wrong = 0
      for (let i = 0; i < NumberHeap.COUNT; i++) {
        const start = (m.rootsI32[this.#base + i] + 2) >>> 1
        for (let j = 0; j < 511; j++) if (m.f64[start + j] !== i * 1000 + j) wrong++
      }
      return wrong
    })
  }
}

describe.runIf(addon !== undefined)('pages that a child has shared', () => {
  const { shareWithChildren } = addon === undefined ? ({} as System) : (createRequire(addon)(addon) as System)

  /** The heap after a child that got its memory has come and gone: its pages stay shared until they are written. */
  function shared(relocation: 'move' | 'auto' | 'copy'): NumberHeap {
    const numbers = new NumberHeap({ relocation })
    const { heapBuffer } = numbers.heap._core.collector.memory
    expect(shareWithChildren(heapBuffer)).toBeGreaterThan(0)
    expect(spawnSync('true').status).toBe(0)
    return numbers
  }

  it("relocation 'auto' copies them, says so, and moves them again when they have been copied", () => {
    const numbers = shared('auto')
    numbers.heap.collectSync()
    const { fallbacks, pages, raw } = numbers.heap.stats()
    expect(pages.copied).toBeGreaterThan(NumberHeap.COUNT / 2)
    // The others were evacuated pages, which are worth no copy.
    expect(pages.copied).toBe(raw.counters['pagesBusy'])
    expect(fallbacks['EBUSY']).toBeGreaterThanOrEqual(pages.copied)
    expect(numbers.wrong).toBe(0)
    numbers.churn()
    numbers.heap.collectSync()
    expect(numbers.heap.stats().pages.copied).toBe(pages.copied)
    expect(numbers.wrong).toBe(0)
    numbers.heap.assertValid()
    numbers.heap.close()
  })

  it("relocation 'move' ends with the error, and a heap that is whole", () => {
    const numbers = shared('move')
    let error: unknown
    try {
      numbers.heap.collectSync()
    } catch (thrown) {
      error = thrown
    }
    expect(error).toBeInstanceOf(HeapError)
    const { code, message, cause } = error as HeapError & { readonly cause: NativeError }
    expect(code).toBe('ERR_RELOCATION')
    expect(message).toMatch(/page \d+ could not be moved.*shared with a forked process/)
    expect(cause).toMatchObject({ errno: 16, page: expect.any(Number) as number })
    expect(numbers.wrong).toBe(0)
    numbers.heap.assertValid()
    numbers.churn()
    numbers.heap.collectSync()
    expect(numbers.wrong).toBe(0)
    numbers.heap.close()
  })

  it("relocation 'copy' does not care", () => {
    const numbers = shared('copy')
    numbers.heap.collectSync()
    expect(numbers.heap.stats().fallbacks).not.toHaveProperty('EBUSY')
    expect(numbers.wrong).toBe(0)
    numbers.heap.assertValid()
    numbers.heap.close()
  })
})
