// Lists of integers, and pairs by key, of the portable collector: beside an array and a Map.
import { expect, it } from 'vitest'
import { IntList, PairsByKey } from '../dist/gc/int-lists.js'
import { Random } from '../dist/testing/random.js'

it('a list of integers grows, and is empty once cleared', () => {
  const list = new IntList()
  for (let round = 0; round < 2; round++) {
    for (let i = 0; i < 10_000; i++) list.push(-i)
    expect([list.length, list.at(1), list.at(9999)]).toEqual([10_000, -1, -9999])
    list.clear()
    expect(list.length).toBe(0)
  }
})

it('pairs are found by their key, once', () => {
  const random = new Random(7)
  const byKey = new PairsByKey()
  for (let round = 0; round < 4; round++) {
    const model = new Map<number, string[]>()
    const taken = (key: number): string[] => {
      const found: string[] = []
      byKey.take(key, (first, second) => found.push(`${first} ${second}`))
      return found.sort()
    }
    for (let act = 0; act < 40_000; act++) {
      const key = 2 * (1 + random.below(2 ** (4 + 4 * round)))
      if (random.below(4) === 0) {
        expect(taken(key)).toEqual((model.get(key) ?? []).sort())
        model.delete(key)
      } else {
        const pair = [random.below(1000), act]
        byKey.add(key, pair[0], pair[1])
        model.set(key, [...(model.get(key) ?? []), pair.join(' ')])
      }
    }
    for (const [key, pairs] of model) if (round % 2 === 0) expect(taken(key)).toEqual(pairs.sort())
    byKey.clear()
    for (const key of model.keys()) expect(taken(key)).toEqual([])
  }
})

it('there may be more keys than a Map has', { timeout: 60_000 }, () => {
  const byKey = new PairsByKey()
  const KEYS = 2 ** 24 + 2
  for (let key = 1; key <= KEYS; key++) byKey.add(2 * key, key, 0)
  let sum = 0
  for (const key of [1, 2 ** 24 + 1, KEYS]) byKey.take(2 * key, (first) => (sum += first))
  expect(sum).toBe(1 + 2 ** 24 + 1 + KEYS)
})
