// Where the objects of a checked heap begin, and where some began before a collection: a bit per granule each.
//
// Allocation adds; a collection forgets all of them and adds those that it left, in the order in which it finds them. Being cut off
// at any place (by the end of the stack, by a vm timeout) leaves at most starts that forgetting finds again. For one thread.

import { LARGE_BYTES } from './layout.js'

/** Granules covered by one entry of the "touched" table: forgetting costs what was known, not the heap's length. */
const CHUNK_GRANULES = 1 << 13

export class ObjectStarts {
  /** An object begins here now. */
  readonly #now: Int32Array
  /** One began here before some collection, and none does now. */
  readonly #past: Int32Array
  readonly #touched: Uint8Array
  /** The words of the object that was looked at last. */
  #cachedStart = 0
  #cachedEnd = 0

  constructor(granules: number) {
    this.#now = new Int32Array(Math.ceil(granules / 32))
    this.#past = new Int32Array(Math.ceil(granules / 32))
    this.#touched = new Uint8Array(Math.ceil(granules / CHUNK_GRANULES))
  }

  has(ref: number): boolean {
    return isSet(this.#now, ref)
  }
  /** Whether one began there before a collection. */
  had(ref: number): boolean {
    return isSet(this.#past, ref)
  }

  add(ref: number): void {
    const granule = ref >>> 1
    this.#now[granule >>> 5] |= 1 << (granule & 31)
    this.#past[granule >>> 5] &= ~(1 << (granule & 31))
    this.#touched[Math.floor(granule / CHUNK_GRANULES)] = 1
  }

  /**
   * A new object of so many granules. Dead large objects are freed before the flip of their cycle, and until that they are known
   * here: where one of them began, in the midst of a new one, none does any more.
   */
  addNew(ref: number, granules: number): void {
    if (granules * 8 >= LARGE_BYTES) {
      this.#cachedStart = this.#cachedEnd = 0
      const first = ref >>> 1
      const last = first + granules - 1
      for (let w = first >>> 5; w <= last >>> 5; w++) {
        const from = w === first >>> 5 ? -1 << (first & 31) : -1
        const to = w === last >>> 5 ? -1 >>> (31 - (last & 31)) : -1
        const begins = this.#now[w] & from & to
        this.#past[w] |= begins
        this.#now[w] &= ~begins
      }
    }
    this.add(ref)
  }

  /** Every known start becomes a past one; a collection adds again what it left. */
  forget(): void {
    const words = CHUNK_GRANULES / 32
    this.#cachedStart = this.#cachedEnd = 0
    for (let chunk = 0; chunk < this.#touched.length; chunk++) {
      if (this.#touched[chunk] === 0) continue
      for (let w = chunk * words; w < (chunk + 1) * words; w++) this.#past[w] |= this.#now[w]
      this.#now.fill(0, chunk * words, (chunk + 1) * words)
      this.#touched[chunk] = 0 // last: whoever is cut off here begins again
    }
  }

  /** The object that covers a word of the heap, where `wordsOf` says how long one is; −1: none. */
  covering(word: number, wordsOf: (ref: number) => number): number {
    if (word >= this.#cachedStart && word < this.#cachedEnd) return this.#cachedStart
    const start = lastSet(this.#now, word)
    const end = start < 0 ? -1 : start + wordsOf(start)
    if (word >= end) return -1
    this.#cachedStart = start
    this.#cachedEnd = end
    return start
  }

  /** The last that began before a collection at or below a word, if none begins there or between the two now; −1: none. */
  pastBefore(word: number): number {
    const past = lastSet(this.#past, word)
    return past > lastSet(this.#now, word) ? past : -1
  }
}

function isSet(table: Int32Array, ref: number): boolean {
  const granule = ref >>> 1
  return (table[granule >>> 5] & (1 << (granule & 31))) !== 0
}

/** The last at or below a word; −1: none. */
function lastSet(table: Int32Array, word: number): number {
  const granule = word >>> 1
  let w = granule >>> 5
  let bits = table[w] & (-1 >>> (31 - (granule & 31)))
  while (bits === 0) {
    if (--w < 0) return -1
    bits = table[w]
  }
  return ((w << 5) + (31 - Math.clz32(bits))) * 2
}
