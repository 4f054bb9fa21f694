// Seeded pseudo-random numbers for tests that replay: the same seed gives the same program on every machine.

import { HeapError, show } from '../heap/errors.js'

/** A 32-bit xorshift generator with a mixing output. */
export class Random {
  #state: number
  constructor(
    /** Any number; its lowest 32 bits count. */
    readonly seed: number,
  ) {
    this.#state = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) | 1
  }
  /** The next 32 bits, unsigned. */
  next(): number {
    let x = this.#state
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    this.#state = x
    return Math.imul(x, 0x9e3779b1) >>> 0
  }
  /** A whole number in [0, end). */
  below(end: number): number {
    return Math.floor((this.next() / 2 ** 32) * end)
  }
  /** True with the given probability. */
  chance(probability: number): boolean {
    return this.next() / 2 ** 32 < probability
  }
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]
  }
}

/** The seed in an environment variable (default GLISSADE_SEED), or one from the clock. Print it: it replays the run. */
export function seedFromEnvironment(variable = 'GLISSADE_SEED'): number {
  const given = process.env[variable]
  if (given === undefined || given === '') return Date.now() >>> 0
  if (/^\d+$/.test(given)) return Number(given) >>> 0
  throw new HeapError(
    'ERR_OPTION',
    `the environment variable ${variable} is a seed, a whole number; got ${show(given)}`,
  )
}
