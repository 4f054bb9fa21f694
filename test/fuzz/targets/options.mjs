// Option objects of Heap.create, and tokens of Heap.attach, as JSON with stand-ins (check.mjs).
import { Heap, OPTIONS } from '../../../dist/index.js'
import { parseOptions } from '../../../dist/heap/options.js'
import { accept, demand, revive, SPECIAL_NAMES } from '../check.mjs'
import { mutateTree } from '../mutate.mjs'

const names = (table) =>
  Object.entries(table).flatMap(([name, spec]) => [name, ...(spec.members ? names(spec.members) : [])])
const choices = Object.values(OPTIONS).flatMap(({ choices = [] }) => choices)

const leaf = (random) =>
  random.pick([
    () => random.pick([...SPECIAL_NAMES, ...names(OPTIONS), ...choices]),
    () => random.pick(['1m', '4m', '64k', '0', '-1m', '5g', '', 'constructor', '__proto__', 'hasOwnProperty']),
    () => random.pick([0, 1, 2, -1, 1.5, 2 ** 20, 2 ** 31, 2 ** 32, 2 ** 53, 1e308]),
    () => random.pick([true, false, null, {}, [], [1, 2]]),
    () => ({ [random.pick(names(OPTIONS))]: random.pick([0, 1, true, 'auto', '2m']) }),
  ])()

/** A heap that was made is usable: it allocates, collects and finds itself whole. */
export function exercise(heap) {
  const Pair = heap.defineShape('Pair', { left: 'ref', right: 'value' })
  heap.run((m) => {
    const root = m.roots.table('ref', 1)
    for (let i = 0; i < 20; i++) {
      const pair = m.alloc(Pair)
      m.setRef(pair, Pair.at.left, root.get(0))
      m.setValueInt(pair, Pair.at.right, i)
      root.set(0, pair)
    }
    heap.collectSync()
    let length = 0
    for (let at = root.get(0); at !== 0; at = m.getRef(at, Pair.at.left)) length++
    demand(length === 20, `a list of 20 has ${length}`)
  })
  heap.assertValid()
}

export const options = {
  name: 'options',
  seeds: [
    '{}',
    '{"maxBytes":"4m","collector":"stop-the-world","stress":{"everySite":true}}',
    '{"maxBytes":"2m","collector":"concurrent","relocation":"copy","faults":"thread","collectorThreads":3,"verify":4}',
    '{"maxBytes":"1m","checked":true,"stepping":true,"maxRootBytes":"64k","stress":{"everyAllocations":3,"everyBytes":99}}',
    '{"collector":"none","maxBytes":1048576}',
    'null',
    '[]',
    '"@undefined"',
    '{"constructor":1}',
    '{"__proto__":{"maxBytes":1}}',
    '{"stress":null}',
  ],
  generate: (random, pool) => mutateTree(random, pool, leaf),
  run(input) {
    const given = revive(JSON.parse(input))
    const { value: parsed, refused } = accept(() => parseOptions(given), ['ERR_OPTION'])
    if (refused !== undefined) return
    demand(Object.keys(parsed).join() === Object.keys(OPTIONS).join(), 'an option is missing after parsing')
    // Larger heaps differ in nothing but the time that they take.
    if (parsed.maxBytes > 2 ** 25 || parsed.maxRootBytes > 2 ** 26) return
    const codes = ['ERR_USERFAULTFD_UNAVAILABLE', 'ERR_ADDRESS_SPACE', 'ERR_NATIVE_HEAP']
    const { value: heap } = accept(() => Heap.create(given), codes)
    if (heap === undefined) return
    try {
      exercise(heap)
    } finally {
      heap.close()
    }
  },
}

const open = runsConcurrently() ? Heap.create({ collector: 'concurrent', maxBytes: '1m' }) : null
open?.defineShape('Pair', { left: 'ref', right: 'value' })
open?.defineArray('Bytes', 'u8')

function runsConcurrently() {
  return (
    accept(() => Heap.create({ collector: 'concurrent', maxBytes: '1m' }).close(), ['ERR_USERFAULTFD_UNAVAILABLE'])
      .refused === undefined
  )
}

/** What another thread sends is data; it may be anything. What is opened by it is a heap, and knows its shapes. */
export const attach = {
  name: 'attach',
  seeds: [
    JSON.stringify(open?.share() ?? {}),
    'null',
    '{"kind":"glissade-heap"}',
    '{"kind":"glissade-heap","id":"@symbol"}',
    '"@proxy"',
  ],
  generate: (random, pool) => mutateTree(random, pool, leaf),
  run(input) {
    const codes = [
      'ERR_BAD_VALUE',
      'ERR_OPTION',
      'ERR_BAD_SHAPE',
      'ERR_SHAPE_CONFLICT',
      'ERR_HEAP_CLOSED',
      'ERR_NO_SHARING',
      // What is no heap of this process cannot be opened for want of native code, either.
      ...(open === null ? ['ERR_USERFAULTFD_UNAVAILABLE'] : []),
    ]
    const { value: heap } = accept(() => Heap.attach(revive(JSON.parse(input))), codes)
    heap?.close()
  },
}
