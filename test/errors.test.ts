// Errors that come whatever they are of: a value that fights back, frozen prototypes, a damaged object, a transferred buffer.
import { spawnSync } from 'node:child_process'
import { inspect } from 'node:util'
import { Heap, HeapError } from 'glissade'
import { describe, expect, it } from 'vitest'
import { loadNative } from '../dist/gc/native-loader.js'
import { show } from '../dist/heap/errors.js'
import { failure } from './conformance/configurations.js'

const entry = new URL('../dist/index.js', import.meta.url).href

describe('a received value', () => {
  const throwing = Object.defineProperty({}, 'constructor', {
    get: () => {
      throw new Error('mine')
    },
  })
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  const named = { constructor: { name: Symbol('name') } }

  it('is shown shortly, and throws nothing of its own', () => {
    const values: [unknown, string][] = [
      ['x'.repeat(100), `"${'x'.repeat(57)}…"`],
      [10n ** 500n, `1${'0'.repeat(56)}…`],
      [Symbol('x'.repeat(100)), `Symbol(${'x'.repeat(50)}…`],
      [Object.defineProperty(() => 0, 'name', { value: 'f'.repeat(1000) }), `function ${'f'.repeat(48)}…`],
      [new { ['C'.repeat(500)]: class {} }['C'.repeat(500)](), `a ${'C'.repeat(55)}…`],
      [throwing, 'an object'],
      [named, 'an object'],
      [proxy, 'an object'],
      [new Map(), 'a Map'],
      [[1, 2], 'an array of 2'],
      [null, 'null'],
      [7n, '7n'],
      [0.5, '0.5'],
    ]
    for (const [value, shown] of values) expect(show(value)).toBe(shown)
  })
})

it('is a HeapError with its code also where the prototypes of JavaScript are frozen', () => {
  const program = `
    import { Heap } from ${JSON.stringify(entry)}
    for (const { prototype } of [Error, Object, Function, Array]) Object.freeze(prototype)
    try {
      Heap.create({ maxBytes: 0 })
    } catch (error) {
      console.log(error.name, error.code, String(error).slice(0, 30))
    }`
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' })
  expect(stdout).toBe('HeapError ERR_OPTION HeapError: option maxBytes is \n')
  const error = new HeapError('ERR_BOUNDS', 'much')
  expect([error.name, error.stack?.split('\n')[0]]).toEqual(['HeapError', 'HeapError: much'])
})

describe('a shape', () => {
  it('is defined by what its slots are at one look', () => {
    using heap = Heap.create({ maxBytes: '1m', collector: 'none' })
    let looks = 0
    const slots = {
      get a(): 'f64' {
        return (looks++ === 0 ? 'ref' : 'f64') as 'f64'
      },
    }
    const shape = heap.defineShape('Once', slots)
    expect([looks, shape.slots.a, shape.at.a]).toEqual([1, 'ref', 2])
  })

  it('takes nothing for slots but an object that has them', () => {
    using heap = Heap.create({ maxBytes: '1m', collector: 'none' })
    for (const slots of [new Map([['a', 'ref']]), new Set(['a']), new Date(0), [], 'a', null]) {
      expect(failure(() => heap.defineShape('None', slots as never))).toMatchObject({
        code: 'ERR_BAD_SHAPE',
        message: expect.stringMatching(/^shape 'None': slots are an object like \{ next: 'ref' \}; got /),
      })
    }
    expect(failure(() => heap.defineShape('None', { é: 'ref' })).message).toMatch(/identifier of ASCII letters/)
    expect(heap.defineShape('Bare', Object.assign(Object.create(null), { a: 'ref' }) as { a: 'ref' }).at.a).toBe(2)
  })
})

it('a damaged object is shown with its damage', () => {
  for (const checked of [false, true]) {
    using heap = Heap.create({ maxBytes: '1m', collector: 'stop-the-world', checked })
    const node = heap.defineShape('Node', { v: 'value', n: 'i32' })
    heap.run((m) => {
      const handle = m.scope().new(node, { n: 7 })
      const { i32 } = heap._core.views
      const word = handle.ref + 2 * node.at.v + 1
      i32[word] = 0x7ffd0123
      expect(inspect(handle)).toMatch(/^Node \{\s+v: <a value slot has the tag 0x7ffd0123.*>,\s+n: 7\s+\}$/)
      i32[word] = 0
      const ref = handle.ref
      i32[ref] = 60_000
      if (checked) expect(inspect(handle)).toMatch(/^\[Node, <.*header at \d+ was overwritten/)
      i32[ref] = node.id
    })
  }
})

it('a heap’s options and capabilities are as they are', () => {
  using heap = Heap.create({ maxBytes: '1m' })
  for (const fixed of [heap.options, heap.options.stress, heap.capabilities, heap.capabilities.reasons]) {
    expect(Object.isFrozen(fixed)).toBe(true)
  }
})

it('bytes whose buffer was transferred away are refused, also where there are none to copy', () => {
  using heap = Heap.create({ maxBytes: '1m', collector: 'none' })
  const bytes = heap.defineArray('Bytes', 'u8')
  heap.run((m) => {
    const empty = m.allocArray(bytes, 0)
    const gone = new Uint8Array(8)
    structuredClone(gone.buffer, { transfer: [gone.buffer] })
    for (const copy of [() => m.copyOut(empty, gone), () => m.copyIn(empty, gone)]) {
      expect(failure(copy)).toMatchObject({
        code: 'ERR_BAD_VALUE',
        message: expect.stringMatching(/the buffer of this one was transferred away$/),
      })
    }
    expect(m.copyOut(empty, new Uint8Array(0)).length).toBe(0)
    m.copyIn(empty, new Uint8Array(0))
  })
})

it.runIf(loadNative().exports)('the handler of faults is put back only while there is a heap that has faults', () => {
  const program = `
    import { readFileSync } from 'node:fs'
    import { loadNative } from ${JSON.stringify(new URL('../dist/gc/native-loader.js', import.meta.url).href)}
    const caught = () => /SigCgt:\\s*(\\w+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]
    const before = caught()
    loadNative().exports.reinstallHandler()
    console.log(caught() === before)`
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' })
  expect(stdout).toBe('true\n')
})
