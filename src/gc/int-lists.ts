// Lists of 32-bit integers as long as a heap has slots: outside V8's heap, where the program has set how much may be, and past
// the lengths at which its arrays and maps end (2²⁷ elements, 2²⁴ keys). A collection must not fail for either.

const FIRST = 1 << 8

function longer(list: Int32Array): Int32Array {
  const grown = new Int32Array(list.length * 2)
  grown.set(list)
  return grown
}

/** A list that grows at its end. */
export class IntList {
  #items: Int32Array = new Int32Array(FIRST)
  #length = 0
  get length(): number {
    return this.#length
  }
  push(item: number): void {
    if (this.#length === this.#items.length) this.#items = longer(this.#items)
    this.#items[this.#length++] = item
  }
  at(index: number): number {
    return this.#items[index]
  }
  clear(): void {
    this.#length = 0
    if (this.#items.length > FIRST) this.#items = new Int32Array(FIRST)
  }
}

/** Pairs of integers by a key other than 0. A hash table of keys, each with a list linked through the pairs. */
export class PairsByKey {
  /** The key of each place in the table; 0: free. */
  #keys: Int32Array = new Int32Array(FIRST)
  /** The last pair of each key there, index + 1; 0: none. */
  #last: Int32Array = new Int32Array(FIRST)
  #keyCount = 0
  #pairCount = 0
  #first: Int32Array = new Int32Array(FIRST)
  #second: Int32Array = new Int32Array(FIRST)
  /** The pair of the same key before each, index + 1. */
  #before: Int32Array = new Int32Array(FIRST)

  add(key: number, first: number, second: number): void {
    if (this.#pairCount === this.#first.length) {
      this.#first = longer(this.#first)
      this.#second = longer(this.#second)
      this.#before = longer(this.#before)
    }
    const place = this.#placeOf(key)
    const pair = this.#pairCount++
    this.#first[pair] = first
    this.#second[pair] = second
    this.#before[pair] = this.#last[place]
    this.#last[place] = pair + 1
    if (this.#keys[place] !== 0) return
    this.#keys[place] = key
    if (++this.#keyCount > this.#keys.length / 2) this.#rehash()
  }
  /** Calls back with the pairs of `key`, the last one first. */
  each(key: number, visit: (first: number, second: number) => void): void {
    if (this.#pairCount !== 0) this.#visit(this.#last[this.#placeOf(key)], visit)
  }
  /** The same; they are no longer here then. */
  take(key: number, visit: (first: number, second: number) => void): void {
    if (this.#pairCount === 0) return
    const place = this.#placeOf(key)
    const pair = this.#last[place]
    this.#last[place] = 0
    this.#visit(pair, visit)
  }
  #visit(pair: number, visit: (first: number, second: number) => void): void {
    for (; pair !== 0; pair = this.#before[pair - 1]) visit(this.#first[pair - 1], this.#second[pair - 1])
  }
  clear(): void {
    if (this.#pairCount === 0) return
    this.#keys = new Int32Array(FIRST)
    this.#last = new Int32Array(FIRST)
    this.#first = new Int32Array(FIRST)
    this.#second = new Int32Array(FIRST)
    this.#before = new Int32Array(FIRST)
    this.#keyCount = 0
    this.#pairCount = 0 // last: whoever is cut off here begins again
  }

  /** Where `key` is, or would be. */
  #placeOf(key: number): number {
    const keys = this.#keys
    const mask = keys.length - 1
    // Addresses come in regular steps, which the multiplication (by 2³² over the golden ratio) spreads over all places.
    const hash = Math.imul(key, 0x9e3779b1)
    let place = (hash ^ (hash >>> 15)) & mask
    while (keys[place] !== 0 && keys[place] !== key) place = (place + 1) & mask
    return place
  }
  #rehash(): void {
    const keys = this.#keys
    const last = this.#last
    this.#keys = new Int32Array(keys.length * 2)
    this.#last = new Int32Array(keys.length * 2)
    for (let i = 0; i < keys.length; i++) {
      if (keys[i] === 0) continue
      const place = this.#placeOf(keys[i])
      this.#keys[place] = keys[i]
      this.#last[place] = last[i]
    }
  }
}
