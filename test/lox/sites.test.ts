// The cache behind the inline caches, which all sites of one name share.

import { expect, it } from 'vitest'
import { LookupCache } from '../../dist/examples/lox/runtime/sites.js'

it.each([
  ['fields', 1],
  ['methods, whose keys have the number of arguments in their low byte', 256],
])('the names of %s share few entries of it', (_what, step) => {
  const cache = new LookupCache()
  const names = Array.from({ length: 100 }, (_, id) => id * step + 1)
  for (const name of names) cache.enter(7, name, name)
  const kept = names.filter((name) => cache.find(7, name) === name)
  expect(kept.length).toBeGreaterThan(80)
  expect(names.every((name) => [name, -1].includes(cache.find(7, name)))).toBe(true)
})
