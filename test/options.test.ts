// Every wrong option has its own sentence.
import { spawnSync } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { Heap, OPTIONS, type Capabilities, type HeapOptions } from 'glissade'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { concurrent, failure } from './conformance/configurations.js'

/** What test/fixtures/opens.mjs prints of one heap. */
interface Opened {
  readonly capabilities?: Capabilities
  readonly intact?: boolean
  readonly code?: string
  readonly message?: string
}

const refused = (options: unknown): string => {
  const { code, message } = failure(() => Heap.create(options as HeapOptions))
  expect(code).toBe('ERR_OPTION')
  return message
}

describe('options', () => {
  it.each<[unknown, string | RegExp]>([
    [{ maxBytess: 1 }, "unknown option 'maxBytess': did you mean 'maxBytes'?"],
    [{ maxbytes: 1 }, "unknown option 'maxbytes': did you mean 'maxBytes'?"],
    [{ colector: 'none' }, "unknown option 'colector': did you mean 'collector'?"],
    [
      { stress: { everysafepoint: true } },
      "unknown option 'stress.everysafepoint': did you mean 'stress.everySafepoint'?",
    ],
    [{ fish: 1 }, /^unknown option 'fish': known options: maxBytes, collector, /],
    [5, 'Heap.create takes an object of options; got 5'],
    [null, 'Heap.create takes an object of options; got null'],
    [[], 'Heap.create takes an object of options; got an array of 0'],
    [{ stress: 3 }, 'option stress takes an object of options; got 3'],
    [{ collector: 'conurrent' }, /'none'; got "conurrent": did you mean 'concurrent'\?$/],
    [{ collector: 7 }, "option collector is one of 'auto', 'concurrent', 'stop-the-world', 'none'; got 7"],
    [{ relocation: 'mvoe' }, /did you mean 'move'/],
    [{ faults: 'SIGBUS' }, /did you mean 'sigbus'/],
    [{ checked: 1 }, 'option checked is true or false; got 1'],
    [{ collectorThreads: 1.5 }, 'option collectorThreads is a whole number; got 1.5'],
    [{ collectorThreads: -1 }, 'option collectorThreads lies between 0 and 16; got -1'],
    [{ growth: '2' }, 'option growth is a number; got "2"'],
    [{ growth: NaN }, 'option growth is a number; got NaN'],
    [{ growth: 1 }, 'option growth lies between 1.25 and 100; got 1'],
    [{ growth: Infinity }, 'option growth lies between 1.25 and 100; got Infinity'],
    [{ stress: { everyAllocations: -1 } }, 'option stress.everyAllocations lies between 0 and 2147483647; got -1'],
    [
      { collector: 'stop-the-world', relocation: 'move' },
      "option relocation 'move' is something that the concurrent collector does, and collector is 'stop-the-world': leave out one of them",
    ],
    [{ collector: 'none', protect: true }, /^option protect: true .* collector is 'none'/],
  ])('refuses %j', (options, sentence) => {
    if (typeof sentence === 'string') expect(refused(options)).toBe(sentence)
    else expect(refused(options)).toMatch(sentence)
  })

  it.each<[unknown, string]>([
    [0, "option maxBytes is 0; a heap needs room: give bytes or text like '64m'"],
    ['0m', "option maxBytes is 0; a heap needs room: give bytes or text like '64m'"],
    [-5, 'option maxBytes is negative (-5); a size is a positive number of bytes'],
    ['-64m', 'option maxBytes is negative (-67108864); a size is a positive number of bytes'],
    [NaN, "option maxBytes is NaN; a size is a number of bytes or text like '64m'"],
    [Infinity, 'option maxBytes is Infinity; a size is a finite number of bytes'],
    ['64x', 'option maxBytes: "64x" is not a size; write bytes, or a number with k, m or g, like \'64m\''],
    ['', 'option maxBytes: "" is not a size; write bytes, or a number with k, m or g, like \'64m\''],
    ['64mm', 'option maxBytes: "64mm" is not a size; write bytes, or a number with k, m or g, like \'64m\''],
    [1.5, 'option maxBytes is not a whole number of bytes (1.5)'],
    [true, "option maxBytes is a size in bytes or text like '64m'; got true"],
    [{}, "option maxBytes is a size in bytes or text like '64m'; got an object"],
    [1000, 'option maxBytes is at least 1m; got 1000'],
    ['5g', 'option maxBytes is at most 4g; got "5g"'],
  ])('refuses maxBytes %j', (maxBytes, sentence) => {
    expect(refused({ maxBytes })).toBe(sentence)
  })

  it('refuses sizes and numbers that are one too small or one too large, and takes the others', () => {
    const size = (bytes: number): string =>
      bytes % 2 ** 30 === 0 ? `${bytes / 2 ** 30}g` : bytes % 2 ** 20 === 0 ? `${bytes / 2 ** 20}m` : `${bytes / 1024}k`
    const limits = Object.entries({ ...OPTIONS, ...OPTIONS.stress.members }).flatMap(([name, spec]) =>
      'min' in spec ? [{ name, inStress: name in OPTIONS.stress.members, ...spec }] : [],
    )
    // Those that the documentation has.
    expect(Object.fromEntries(limits.map(({ name, min, max }) => [name, [min, max]]))).toEqual({
      maxBytes: [2 ** 20, 4 * 2 ** 30],
      maxRootBytes: [64 * 1024, 2 ** 30],
      growth: [1.25, 100],
      collectorThreads: [0, 16],
      verify: [0, 4],
      everyAllocations: [0, 2 ** 31 - 1],
      everyBytes: [0, 2 ** 31 - 1],
      sitePeriod: [0, 2 ** 31 - 1],
    })
    for (const { name, kind, min, max, inStress } of limits) {
      const as = (given: number): HeapOptions => (inStress ? { stress: { [name]: given } } : { [name]: given })
      const called = inStress ? `stress.${name}` : name
      for (const bad of [min - 1, max + 1]) {
        const rule =
          kind !== 'size'
            ? `lies between ${min} and ${max}`
            : bad < min
              ? `is at least ${size(min)}`
              : `is at most ${size(max)}`
        expect(refused(as(bad))).toBe(`option ${called} ${rule}; got ${bad}`)
      }
      for (const good of [min, max]) {
        using heap = Heap.create({ maxBytes: '1m', collector: 'none', ...as(good) })
        const parsed: Record<string, unknown> = { ...heap.options, ...heap.options.stress }
        expect(parsed[name]).toBe(good)
      }
    }
  })

  it.each<[number | string, number]>([
    ['64m', 64 * 2 ** 20],
    ['1g', 2 ** 30],
    ['1.5g', 1.5 * 2 ** 30],
    ['2048k', 2 ** 21],
    ['64M', 64 * 2 ** 20],
    ['64MiB', 64 * 2 ** 20],
    [' 3000000 ', 3_000_000],
    [2 ** 20, 2 ** 20],
    [undefined as never, OPTIONS.maxBytes.default],
  ])('takes maxBytes %j', (maxBytes, bytes) => {
    using heap = Heap.create({ maxBytes, collector: 'none' })
    expect(heap.options.maxBytes).toBe(bytes)
  })

  it('makes heaps of the longest size, on address space alone', () => {
    using heap = Heap.create({ maxBytes: '4g', collector: 'stop-the-world' })
    const bytes = heap.defineArray('Bytes', 'u8')
    const node = heap.defineShape('Node', { key: 'u8' })
    heap.run((m) => {
      m.scoped((scope) => {
        const array = scope.newArray(bytes, 100_000)
        const object = scope.new(node, { key: 200 })
        array.set(99_999, 7)
        heap.collectSync()
        expect([array.get(99_999), object.key]).toEqual([7, 200])
      })
    })
    heap.assertValid()
  })

  it('refuses what this machine cannot do, with the reason, and never for auto', () => {
    // A machine without native code, whatever this one can do.
    const open = (...options: HeapOptions[]): Opened[] => {
      const { status, stdout, stderr } = spawnSync(
        process.execPath,
        ['test/fixtures/opens.mjs', JSON.stringify(options)],
        { encoding: 'utf8', env: { ...process.env, GLISSADE_NATIVE: 'none' } },
      )
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
      return JSON.parse(stdout) as Opened[]
    }
    const refused = open(
      { collector: 'concurrent' },
      { collector: 'concurrent', faults: 'thread' },
      { relocation: 'move' },
      { collector: 'concurrent', relocation: 'move' },
    )
    for (const { code, message } of refused) {
      expect(code).toBe('ERR_USERFAULTFD_UNAVAILABLE')
      expect(message).toMatch(
        /cannot be had here: .*GLISSADE_NATIVE=none switches native code off\. Unset GLISSADE_NATIVE$/,
      )
    }
    expect(refused.map(({ message }) => /^(\w+ '\w+')/.exec(message as string)?.[1])).toEqual([
      "collector 'concurrent'",
      "collector 'concurrent'",
      "relocation 'move'",
      "collector 'concurrent'",
    ])
    for (const { code, capabilities, intact } of open(
      {},
      { collector: 'auto', relocation: 'copy', faults: 'thread' },
    )) {
      expect(code).toBeUndefined()
      expect(intact).toBe(true)
      expect(capabilities?.collector).toBe('stop-the-world')
      expect(capabilities?.reasons.join()).toMatch(/GLISSADE_NATIVE=none/)
      expect(capabilities?.remedies).toEqual(['unset GLISSADE_NATIVE'])
    }
  })

  it('gives what this machine can do, and says why', () => {
    using heap = Heap.create({ maxBytes: '1m' })
    expect(heap.capabilities.collector).toBe(concurrent.length > 0 ? 'concurrent' : 'stop-the-world')
    expect(heap.capabilities.reasons.length).toBeGreaterThan(0)
  })
})

describe.skipIf(concurrent.length === 0)('collectorThreads', () => {
  it('are so many threads of the heap, until it is closed; 0 is one for each processor, 4 at most', () => {
    const numbers = [1, 2, 5, 0]
    const fixture = new URL('fixtures/counts-threads.mjs', import.meta.url)
    const { stdout, stderr } = spawnSync(process.execPath, [fixture.pathname, JSON.stringify(numbers)], {
      encoding: 'utf8',
    })
    expect(stderr).toBe('')
    const wanted = numbers.map((n) => [n === 0 ? Math.min(availableParallelism(), 4) : n, 0])
    expect(JSON.parse(stdout)).toEqual(wanted)
  })

  it.skipIf(availableParallelism() === 1)(
    'are fewer where they cost more than they bring, unless a number is asked for',
    () => {
      const dismissed = (collectorThreads: number, collections: number): number => {
        const fixture = fileURLToPath(new URL('fixtures/collects-on-a-busy-machine.mjs', import.meta.url))
        const args = [fixture, String(collectorThreads), String(collections)]
        const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
        expect(stderr).toBe('')
        return Number(stdout)
      }
      expect(dismissed(0, 1000)).toBe(1)
      expect(dismissed(2, 10)).toBe(0)
    },
  )
})

describe('shape definitions', () => {
  const heap = Heap.create({ maxBytes: '1m', collector: 'none' })
  it.each<[string, () => unknown, RegExp, string]>([
    ['an empty name', () => heap.defineShape('', {}), /a string that is not empty; got ""/, 'ERR_BAD_SHAPE'],
    ['a name that is no string', () => heap.defineShape(5 as never, {}), /got 5/, 'ERR_BAD_SHAPE'],
    [
      'slots that are no object',
      () => heap.defineShape('A', [] as never),
      /like \{ next: 'ref' \}; got an array/,
      'ERR_BAD_SHAPE',
    ],
    [
      'an unknown kind',
      () => heap.defineShape('A', { x: 'vale' as never }),
      /slot 'x' of shape 'A': unknown slot kind "vale", did you mean 'value'\?; kinds are value, f64/,
      'ERR_BAD_SHAPE',
    ],
    [
      'an unknown element kind',
      () => heap.defineArray('A', 'string' as never),
      /array shape 'A': unknown slot kind "string"/,
      'ERR_BAD_SHAPE',
    ],
    [
      'a slot name that is no identifier',
      () => heap.defineShape('A', { 'a b': 'ref' }),
      /"a b" is not an identifier/,
      'ERR_BAD_SHAPE',
    ],
    [
      'too many slots',
      () =>
        heap.defineShape('A', Object.fromEntries(Array.from({ length: 4100 }, (_, i) => [`s${i}`, 'f64' as const]))),
      /32808 bytes long.*at most 32760/,
      'ERR_BAD_SHAPE',
    ],
  ])('refuses %s', (_what, define, sentence, code) => {
    const thrown = failure(define)
    expect(thrown.message).toMatch(sentence)
    expect(thrown.code).toBe(code)
  })

  it('gives the same shape for the same definition and refuses another under its name', () => {
    using own = Heap.create({ maxBytes: '1m', collector: 'none' })
    const shape = own.defineShape('Same', { a: 'ref', b: 'f64' })
    expect(own.defineShape('Same', { a: 'ref', b: 'f64' })).toBe(shape)
    expect(failure(() => own.defineShape('Same', { a: 'ref', b: 'value' }))).toEqual({
      code: 'ERR_SHAPE_CONFLICT',
      message:
        "shape 'Same' is already defined as { a: ref, b: f64 }; got { a: ref, b: value }. A shape never changes: use another name",
    })
    expect(failure(() => own.defineShape('Same', { b: 'f64', a: 'ref' })).code).toBe('ERR_SHAPE_CONFLICT')
    expect(failure(() => own.defineArray('Same', 'ref')).code).toBe('ERR_SHAPE_CONFLICT')
    const array = own.defineArray('Array', 'ref')
    expect(own.defineArray('Array', 'ref')).toBe(array)
    expect(failure(() => own.defineArray('Array', 'u8')).message).toMatch(
      /already defined as array of ref; got array of u8/,
    )
  })
})
