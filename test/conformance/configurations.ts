// Every collector configuration that this machine can run, for the suite that must hold over all of them.
//
// The concurrent ones are in as soon as userfaultfd works here. Where it does not, the test output says so, and
// GLISSADE_REQUIRE_CONCURRENT=1 makes that a failure.

import { Heap, HeapError, type HeapOptions } from 'glissade'
import { describe, expect, it } from 'vitest'

export interface Configuration {
  readonly name: string
  readonly options: HeapOptions
  /** Whether collections free anything. */
  readonly collects: boolean
  readonly concurrent: boolean
}

const all: readonly Configuration[] = [
  { name: 'stop-the-world', options: { collector: 'stop-the-world' }, collects: true, concurrent: false },
  { name: 'none', options: { collector: 'none' }, collects: false, concurrent: false },
  { name: 'concurrent', options: { collector: 'concurrent' }, collects: true, concurrent: true },
  {
    name: 'concurrent, faults by thread',
    options: { collector: 'concurrent', faults: 'thread' },
    collects: true,
    concurrent: true,
  },
  {
    name: 'concurrent, relocation by copy',
    options: { collector: 'concurrent', relocation: 'copy' },
    collects: true,
    concurrent: true,
  },
  {
    name: 'concurrent, protected',
    options: { collector: 'concurrent', protect: true },
    collects: true,
    concurrent: true,
  },
]

const obstacle = whyNotConcurrent()
/** Why the concurrent collector cannot run here; undefined where it can. */
function whyNotConcurrent(): string | undefined {
  try {
    Heap.create({ collector: 'concurrent', maxBytes: '1m' }).close()
    return undefined
  } catch (error) {
    if (!(error instanceof HeapError) || error.code !== 'ERR_USERFAULTFD_UNAVAILABLE') throw error
    return error.message
  }
}

export const configurations = all.filter((c) => !c.concurrent || obstacle === undefined)
export const collecting = configurations.filter((c) => c.collects)
/** Empty where it cannot run: give it to `overAll`, which says so. */
export const concurrent = configurations.filter((c) => c.concurrent)

/** The suite over every configuration; says what is left out, and why. */
export function overAll(what: string, suite: (configuration: Configuration) => void, chosen = configurations): void {
  describe.each(chosen)(`${what} ($name)`, suite)
  it.skipIf(obstacle === undefined)(`${what}: the concurrent collector is NOT tested here: ${obstacle}`, () => {
    expect(process.env['GLISSADE_REQUIRE_CONCURRENT']).not.toBe('1')
  })
}

/** A heap for one test; closed, and valid, when `use` returns. */
export function withHeap<T>(configuration: Configuration, options: HeapOptions, use: (heap: Heap) => T): T {
  const heap = Heap.create({ maxBytes: '16m', ...options, ...configuration.options })
  try {
    const result = use(heap)
    if (!heap.closed) heap.assertValid()
    return result
  } finally {
    heap.close()
  }
}

/** The code of the HeapError that `action` throws, and its message. */
export function failure(action: () => unknown): { code: string; message: string } {
  try {
    action()
  } catch (error) {
    expect(error).toBeInstanceOf(HeapError)
    const { code, message } = error as HeapError
    return { code, message }
  }
  throw new Error('nothing was thrown')
}

/** How often `work` enters run: there it waits for a pause under way, in which roots are not to be changed. */
export function runsIn(heap: Heap, work: () => void): number {
  const { collector } = heap._core
  const { run } = collector
  let runs = 0
  collector.run = (mutator, fn) => {
    runs++
    return run.call(collector, mutator, fn) as ReturnType<typeof fn>
  }
  try {
    work()
  } finally {
    Reflect.deleteProperty(collector, 'run')
  }
  return runs
}
