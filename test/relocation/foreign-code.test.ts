// Code that is not JIT-compiled JavaScript meets pages that have not arrived: V8's and Node's C++, threads of the pool,
// the inspector; and the kernel, which does not wait for them.
import { createHash, pbkdf2, randomFill, scrypt, webcrypto } from 'node:crypto'
import { closeSync, mkdtempSync, openSync, readFileSync, readSync, rmSync, write, writeSync } from 'node:fs'
import { Session, type Runtime } from 'node:inspector'
import { createServer, connect, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect, isDeepStrictEqual, promisify } from 'node:util'
import { deflate, deflateSync } from 'node:zlib'
import { afterAll, describe, expect, it } from 'vitest'
import { configurations } from '../conformance/configurations.js'
import { ARRAYS, bytesOf, expected, Halfway } from './halfway.js'

const here = configurations.some(({ concurrent }) => concurrent)

/** What is done to a view of the heap and to a plain array alike; both must come to the same. */
type Operation = (view: Float64Array<ArrayBuffer>) => unknown

/** Bytes, not numbers: what is no number has many forms, and a difference of thousands of elements is not to be printed. */
const sameBytes = (a: Float64Array, b: Float64Array): boolean => buffer(a).equals(buffer(b))
const buffer = (view: Float64Array): Buffer => Buffer.from(view.buffer, view.byteOffset, view.byteLength)

const operations: { readonly [name: string]: Operation } = {
  'TypedArray sort': (view) => void view.sort(),
  'TypedArray sort by comparing': (view) => void view.sort((a, b) => b - a),
  'TypedArray set, to the heap': (view) => view.set(new Float64Array(2500).fill(1.5), 200),
  'TypedArray set, within the heap': (view) => view.set(view.subarray(0, 1400), 1500),
  'TypedArray fill': (view) => void view.fill(7, 10, 2900),
  'TypedArray copyWithin': (view) => void view.copyWithin(5, 1000),
  'TypedArray reverse': (view) => void view.reverse(),
  'TypedArray indexOf': (view) => view.indexOf(-1),
  'TypedArray lastIndexOf': (view) => view.lastIndexOf(-1),
  'TypedArray includes': (view) => view.includes(Number.NaN),
  'TypedArray slice': (view) => view.slice(3),
  'TypedArray join': (view) => view.join(),
  'a typed array from it': (view) => new Float32Array(view),
  'its iterator': (view) => [...view],
  'JSON.stringify': (view) => JSON.stringify(view),
  'util.inspect': (view) => inspect(view, { maxArrayLength: Infinity }),
  'TextDecoder utf-8': (view) => new TextDecoder().decode(bytesOf(view)),
  'TextDecoder utf-16': (view) => new TextDecoder('utf-16le').decode(bytesOf(view)),
  'TextEncoder encodeInto': (view) => new TextEncoder().encodeInto('zähe Füchse '.repeat(1500), bytesOf(view)),
  'Buffer toString utf8': (view) => buffer(view).toString(),
  'Buffer toString base64': (view) => buffer(view).toString('base64'),
  'Buffer toString hex': (view) => buffer(view).toString('hex'),
  'Buffer write': (view) => buffer(view).write('0123456789'.repeat(2400), 'latin1'),
  'Buffer swap64': (view) => void buffer(view).swap64(),
  'Buffer indexOf': (view) => buffer(view).indexOf('no such text'),
  'Buffer equals': (view) => buffer(view).equals(buffer(view)),
  'createHash update': (view) => createHash('sha256').update(view).digest('hex'),
  deflateSync: (view) => deflateSync(view).toString('hex'),
}

/** The same for what Node hands to threads of its pool, which touch the view while this thread is elsewhere. */
const pooled: { readonly [name: string]: (view: Float64Array) => Promise<unknown> } = {
  'zlib deflate': (view) => promisify(deflate)(view),
  'crypto pbkdf2': (view) => promisify(pbkdf2)(view, view, 2, 64, 'sha256'),
  'crypto scrypt': (view) => promisify(scrypt)(view, view, 64),
  'crypto subtle digest': (view) => webcrypto.subtle.digest('SHA-256', view as Float64Array<ArrayBuffer>),
}

describe.runIf(here).each(['sigbus', 'thread'] as const)('in the middle of a compaction (faults: %s)', (faults) => {
  const halfway = here ? new Halfway({ faults }) : (undefined as unknown as Halfway)
  const written = new Map<number, Float64Array>()
  let next = 0
  const folder = mkdtempSync(join(tmpdir(), 'glissade-foreign-'))
  const file = join(folder, 'file')

  afterAll(() => {
    rmSync(folder, { recursive: true })
    if (!here) return
    // Whatever the operations wrote is there when the compaction is over.
    halfway.finish()
    halfway.heap.run((m) => {
      for (let i = 0; i < ARRAYS; i++)
        expect(sameBytes(halfway.view(m, i), written.get(i) ?? expected(i)), `array ${i}`).toBe(true)
    })
    halfway.heap.assertValid()
    halfway.heap.close()
  })

  it.each(Object.entries(operations))('%s', (_name, operation) => {
    const i = next++
    const plain = expected(i)
    const wanted = operation(plain)
    written.set(i, plain)
    const before = halfway.faults
    halfway.heap.run((m) => {
      const view = halfway.view(m, i) as Float64Array<ArrayBuffer>
      expect(isDeepStrictEqual(operation(view), wanted)).toBe(true)
    })
    // At least five whole pages of the array were not there.
    expect(halfway.faults - before).toBeGreaterThanOrEqual(5)
    halfway.heap.run((m) => expect(sameBytes(halfway.view(m, i), plain)).toBe(true))
  })

  it.each(Object.entries(pooled))('%s, on a thread of the pool', async (_name, operation) => {
    const i = next++
    const wanted = await operation(expected(i))
    const before = halfway.faults
    // Heap views leave `run` in tests only: nothing moves as long as the collector waits at its gate.
    const view = halfway.heap.run((m) => halfway.view(m, i))
    expect(isDeepStrictEqual(await operation(view), wanted)).toBe(true)
    expect(halfway.faults - before).toBeGreaterThanOrEqual(5)
  })

  it('crypto randomFill: a thread of the pool writes', async () => {
    const i = next++
    const view = halfway.heap.run((m) => halfway.view(m, i))
    const before = halfway.faults
    await promisify(randomFill)(view as NodeJS.ArrayBufferView)
    expect(halfway.faults - before).toBeGreaterThanOrEqual(5)
    written.set(i, view.slice())
    expect(buffer(view).equals(buffer(expected(i)))).toBe(false)
  })

  it('structuredClone, which takes the whole buffer behind a view', () => {
    const own = new Halfway({ faults })
    own.heap.run((m) => {
      const before = own.faults
      const clone = structuredClone(own.view(m, 5)) as Float64Array
      expect(sameBytes(clone, expected(5))).toBe(true)
      expect(own.faults - before).toBeGreaterThan(ARRAYS * 5)
    })
    own.finish()
    own.heap.assertValid()
    own.heap.close()
  })

  it('the inspector evaluates over a view', () => {
    const i = next++
    const global = globalThis as { __glissadeView?: Float64Array }
    const session = new Session()
    session.connect()
    try {
      const before = halfway.faults
      const found = halfway.heap.run((m) => {
        global.__glissadeView = halfway.view(m, i)
        let result: unknown
        const expression = '__glissadeView'
        session.post('Runtime.evaluate', { expression, generatePreview: true }, (_error, evaluated) => {
          const wanted = { objectId: evaluated.result.objectId as string, ownProperties: true }
          session.post(
            'Runtime.getProperties',
            wanted,
            (_failed, { result: properties }: Runtime.GetPropertiesReturnType) => {
              result = properties.filter(({ name }) => /^\d+$/.test(name)).map(({ value }) => value?.value as number)
            },
          )
        })
        return result
      })
      expect(isDeepStrictEqual(found, [...expected(i)])).toBe(true)
      expect(halfway.faults - before).toBeGreaterThanOrEqual(5)
    } finally {
      session.disconnect()
      delete global.__glissadeView
    }
  })

  describe('a system call answers EFAULT for a page that has not arrived', () => {
    const refused = { code: 'EFAULT' }
    it('fs.writeSync and fs.readSync', () => {
      const i = next++
      const descriptor = openSync(file, 'w+')
      writeSync(descriptor, 'x'.repeat(30_000), 0)
      halfway.heap.run((m) => {
        const untouched = halfway.view(m, i).subarray(600)
        expect(() => writeSync(descriptor, untouched)).toThrow(expect.objectContaining(refused))
        expect(() => readSync(descriptor, untouched, 0, untouched.byteLength, 0)).toThrow(
          expect.objectContaining(refused),
        )
      })
      closeSync(descriptor)
    })
    it('fs.write, on a thread of the pool', async () => {
      const i = next++
      const descriptor = openSync(file, 'w')
      const untouched = halfway.heap.run((m) => halfway.view(m, i).subarray(600))
      await expect(promisify(write)(descriptor, untouched)).rejects.toMatchObject(refused)
      closeSync(descriptor)
    })
    it('a socket', async () => {
      const i = next++
      const server = createServer((connection) => connection.resume().on('error', () => {})).listen(0, '127.0.0.1')
      await new Promise((resolve) => server.once('listening', resolve))
      const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
      const failed = new Promise((resolve) => socket.once('error', resolve))
      const untouched = halfway.heap.run((m) => bytesOf(halfway.view(m, i).subarray(600)))
      socket.write(untouched)
      expect(await failed).toMatchObject(refused)
      server.close()
    })
    it('and copies it out as if nothing were', () => {
      const i = next++
      const descriptor = openSync(file, 'w+')
      halfway.heap.run((m) => {
        const bytes = m.copyOut(halfway.ref(m, i))
        expect(writeSync(descriptor, bytes)).toBe(bytes.length)
        m.copyIn(halfway.ref(m, i + 1), bytes)
      })
      closeSync(descriptor)
      expect(readFileSync(file).equals(buffer(expected(i)))).toBe(true)
      written.set(i + 1, expected(i))
    })
  })
})
