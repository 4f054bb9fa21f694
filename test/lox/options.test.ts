// What the command line of `lox` asks of the heap, and how its statistics are written.
import { Heap } from 'glissade'
import { expect, it } from 'vitest'
import { parseOptions } from '../../dist/examples/lox/options.js'
import { describeCollection, describeStatistics } from '../../dist/examples/lox/statistics.js'

it.each<[string[], object]>([
  [[], {}],
  [['--heap', '64m'], { heap: { maxBytes: '64m' } }],
  [['--heap=64m'], { heap: { maxBytes: '64m' } }],
  [['--collector', 'none'], { heap: { collector: 'none' } }],
  [['--checked'], { heap: { checked: true } }],
  [['--gc-stress'], { heap: { stress: { everySite: true } } }],
  [['--checked', '--gc-stress'], { heap: { checked: true, stress: { everySite: true } } }],
  [['--stats'], { stats: 'text' }],
  [['--stats=json'], { stats: 'json' }],
  [['--gc-log'], { gcLog: true }],
  [['--show-code'], { showCode: true }],
  [['--snapshot', 'a.heapsnapshot'], { snapshot: 'a.heapsnapshot' }],
  [['--help'], { help: true }],
  [['a.lox'], { file: 'a.lox' }],
  [['-'], { file: '-' }],
])('%j', (args, expected) => {
  const nothing = { file: null, heap: {}, stats: 'none', gcLog: false, showCode: false, snapshot: null, help: false }
  expect(parseOptions(args)).toEqual({ ...nothing, ...expected })
})

it('statistics are in MiB, and count every page that came to its place', () => {
  using heap = Heap.create({ maxBytes: '1m', collector: 'none' })
  const pages = { moved: 1, copied: 20, zeroFilled: 300, kept: 4000 }
  const stats = { ...heap.stats(), collections: 7, bytesLive: 2.5 * 2 ** 20, bytesAllocated: 2 ** 30, pages }
  expect(describeCollection(stats, 1.5)).toBe('[gc 1.500 s] 7: 2.5 MiB live, 1024.0 MiB allocated, 4021 pages placed\n')
  const table = describeStatistics(stats)
  expect(table).toMatch(/^collector +none +\n/)
  expect(table).toMatch(/^bytesLive +2\.5 MiB {2}\w/m)
  expect(table).toMatch(/^pages\.kept +4000 {2}\w/m)
  expect(table).toMatch(/^pauses\.flip +- {2}\w/m)
})
