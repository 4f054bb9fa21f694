// A heap held in the middle of a compaction, for as long as a test needs: right after the flip, the collector waits at a
// gate, and no page has been built but by whoever touches it first.
import { Heap, type HeapOptions, type Mutator, type Ref } from 'glissade'
import { step } from 'glissade/testing'

/** Arrays that survive, and their lengths: six pages each, never on page boundaries. */
export const ARRAYS = 64
const LENGTH = 3000
const ARRAY_HEADER_WORDS = 2

/** What element `j` of array `i` is, unless a test writes it: printable bytes throughout, so that text is text. */
const pattern = new TextEncoder().encode('the quick brown fox jumps over the lazy dog; ')
export function expected(i: number): Float64Array<ArrayBuffer> {
  const bytes = new Uint8Array(LENGTH * 8)
  for (let at = 0; at < bytes.length; at++) bytes[at] = pattern[(at * 7 + i + ((at >> 9) & 31)) % pattern.length]
  return new Float64Array(bytes.buffer)
}

export class Halfway {
  readonly heap: Heap
  readonly #base: number

  constructor(options: HeapOptions = {}) {
    const heap = Heap.create({ maxBytes: '8m', collector: 'concurrent', stepping: true, ...options })
    this.heap = heap
    const numbers = heap.defineArray('Numbers', 'f64')
    this.#base = heap.run((m) => {
      const table = m.roots.table('ref', ARRAYS)
      for (let i = 0; i < ARRAYS; i++) {
        // What dies in between makes everything slide, and not by whole pages.
        m.allocArray(numbers, 100 + (i % 7))
        table.set(i, m.allocArray(numbers, LENGTH))
        this.view(m, i, table.base).set(expected(i))
      }
      return table.base
    })
    for (let gates = 0; step(heap) !== 'compact'; gates++) {
      if (gates > 10_000) throw new Error('the heap was never flipped')
    }
  }

  /** Array `i` as it lies in the heap now. */
  view(m: Mutator, i: number, base = this.#base): Float64Array {
    const start = ((m.rootsI32[base + i] as Ref) + ARRAY_HEADER_WORDS) >>> 1
    return m.f64.subarray(start, start + LENGTH)
  }
  ref(m: Mutator, i: number): Ref {
    return m.rootsI32[this.#base + i] as Ref
  }
  get faults(): number {
    return this.heap.stats().barrierFaults
  }
  /** Lets the collector finish. */
  finish(): void {
    while (step(this.heap) !== 'idle');
  }
}

export function bytesOf({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength)
}
