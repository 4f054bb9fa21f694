// Free pages of a region of large objects, as intervals in address order, coalesced. Words, not bytes.

export interface Interval {
  start: number
  end: number
}

export class FreePages {
  #free: Interval[]
  readonly #fromTop: boolean
  constructor(start: number, end: number, fromTop: boolean) {
    this.#free = [{ start, end }]
    this.#fromTop = fromTop
  }
  /** First fit, from the bottom or from the top. −1: no interval is long enough. `floor`: nothing below it. */
  take(words: number, floor: number): number {
    const count = this.#free.length
    for (let k = 0; k < count; k++) {
      const i = this.#fromTop ? count - 1 - k : k
      const interval = this.#free[i]
      const start = Math.max(interval.start, floor)
      if (interval.end - start < words) continue
      if (this.#fromTop) {
        interval.end -= words
        if (interval.end === interval.start) this.#free.splice(i, 1)
        return interval.end
      }
      interval.start += words
      if (interval.end === interval.start) this.#free.splice(i, 1)
      return interval.start - words
    }
    return -1
  }
  /** All that a sweep has freed at once: one by one, each would look for its place among all others. */
  give(freed: readonly Interval[]): void {
    if (freed.length === 0) return
    const all = [...this.#free, ...freed].sort((a, b) => a.start - b.start)
    this.#free = []
    let last: Interval | undefined
    for (const { start, end } of all) {
      if (last?.end === start) last.end = end
      else this.#free.push((last = { start, end }))
    }
  }
  intervals(): readonly Interval[] {
    return this.#free
  }
}
