// Live-word bits and block offsets of the moving space, and forwarding by them: new address = block offset + popcount.
//
// One bit per granule, set for every granule of every live object, so that the bit of an object's first granule is also
// its mark. Blocks are 512 bytes: 64 granules, two words of bits. After `computeOffsets`, the destination of a live
// granule is its block's offset plus the number of live granules before it in the block: the objects keep their order
// and slide together. The same arithmetic as native/core, in the plainest form.

const BLOCK_GRANULES = 64

export class LiveMap {
  readonly #bits: Int32Array
  /** Destination, in granules from the base, of the first live granule of each block. */
  readonly #offsets: Int32Array
  readonly #baseWord: number
  #destination = 0

  /** For the words `[start, end)` of the heap buffer. */
  constructor(start: number, end: number) {
    const blocks = Math.ceil((end - start) / 2 / BLOCK_GRANULES)
    this.#bits = new Int32Array(blocks * 2)
    this.#offsets = new Int32Array(blocks)
    this.#baseWord = start
  }

  #granule(ref: number): number {
    return (ref - this.#baseWord) >>> 1
  }

  isLive(ref: number): boolean {
    const g = this.#granule(ref)
    return (this.#bits[g >>> 5] & (1 << (g & 31))) !== 0
  }

  /** Sets the bits of a whole object. */
  setLive(ref: number, granules: number): void {
    const first = this.#granule(ref)
    const last = first + granules - 1
    const bits = this.#bits
    const w0 = first >>> 5
    const w1 = last >>> 5
    const low = -1 << (first & 31)
    const high = -1 >>> (31 - (last & 31))
    if (w0 === w1) {
      bits[w0] |= low & high
      return
    }
    bits[w0] |= low
    for (let w = w0 + 1; w < w1; w++) bits[w] = -1
    bits[w1] |= high
  }

  /** Exclusive scan over the blocks of `[start, end)`. Returns live granules. */
  computeOffsets(start: number, end: number): number {
    let live = 0
    const first = this.#granule(start) >>> 6
    const last = Math.ceil(this.#granule(end) / BLOCK_GRANULES)
    for (let block = first; block < last; block++) {
      this.#offsets[block] = live
      live += popcount(this.#bits[block * 2]) + popcount(this.#bits[block * 2 + 1])
    }
    return live
  }

  /** The word that the first live object is forwarded to. */
  slideTo(destination: number): void {
    this.#destination = destination
  }

  /** The address after compaction of the live object at `ref`. */
  forward(ref: number): number {
    const g = this.#granule(ref)
    const w = g >>> 5
    let before = popcount(this.#bits[w] & ((1 << (g & 31)) - 1))
    if (w & 1) before += popcount(this.#bits[w - 1])
    return this.#destination + (this.#offsets[g >>> 6] + before) * 2
  }

  /** Calls back with each maximal run `[start, end)` of live words between two word addresses, ascending. */
  forEachRun(start: number, end: number, visit: (start: number, end: number) => void): void {
    const last = this.#granule(end)
    let g = this.#granule(start)
    while (g < last) {
      g = this.#next(g, last, 0)
      if (g >= last) return
      const stop = this.#next(g, last, -1)
      visit(this.#baseWord + g * 2, this.#baseWord + stop * 2)
      g = stop
    }
  }

  /** First granule at or after `g` whose bit differs from `skip` (0: the first live one, −1: the first dead one). */
  #next(g: number, last: number, skip: 0 | -1): number {
    while (g < last) {
      const word = (this.#bits[g >>> 5] ^ skip) & (-1 << (g & 31))
      if (word !== 0) return Math.min((g & ~31) + (31 - Math.clz32(word & -word)), last)
      g = (g & ~31) + 32
    }
    return last
  }

  clear(start: number, end: number): void {
    this.#bits.fill(0, (this.#granule(start) >>> 6) * 2, Math.ceil(this.#granule(end) / BLOCK_GRANULES) * 2)
  }
}

function popcount(x: number): number {
  x -= (x >>> 1) & 0x55555555
  x = (x & 0x33333333) + ((x >>> 2) & 0x33333333)
  return Math.imul((x + (x >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24
}
