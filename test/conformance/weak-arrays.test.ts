// Weak arrays and ephemerons: what keeps an object, what does not, and what is read where one was lost.
import { Heap, Tag, type ArrayShape, type Mutator, type Ref } from 'glissade'
import { expect, it } from 'vitest'
import { failure, overAll, withHeap } from './configurations.js'

/** What element `i` refers to, 0 for nothing. */
function referent(m: Mutator, array: Ref, shape: ArrayShape, i: number): number {
  if (shape.kind === 'ref') return m.i32[array + shape.elementsAt + i]
  const word = array + 2 * (shape.elementsAt + i)
  return m.i32[word + 1] === Tag.Ref ? m.i32[word] : 0
}
function store(m: Mutator, array: Ref, shape: ArrayShape, i: number, to: Ref): void {
  if (shape.kind === 'ref') m.setElementRef(array, i, to)
  else m.setValueRef(array, shape.elementsAt + i, to)
}
const KINDS = ['ref', 'value'] as const
/** Of small arrays, and of large ones, which do not move. */
const LENGTHS = [1, 2, 9, 1000, 9001] as const

overAll('weak arrays', (configuration) => {
  it('hold their objects as long as anything else does, and are cleared by the next collection', () => {
    withHeap(configuration, {}, (heap) => {
      const node = heap.defineShape('Node', { key: 'i32' })
      const strong = heap.defineArray('Strong', 'ref')
      heap.run((m) => {
        const roots = m.roots.table('ref', 2)
        for (const kind of KINDS) {
          const weak = heap.defineArray(`Weak_${kind}`, kind, { weak: 'elements' })
          expect([weak.weak, strong.weak]).toEqual(['elements', null])
          for (const length of LENGTHS) {
            roots.set(0, m.allocArray(weak, length))
            roots.set(1, m.allocArray(strong, length))
            for (let i = 0; i < length; i++) {
              const ref = m.alloc(node)
              m.i32[ref + node.at.key] = i
              store(m, roots.get(0) as Ref, weak, i, ref)
              if (i % 3 === 1) m.setElementRef(roots.get(1) as Ref, i, ref)
            }
            for (let round = 0; round < 2; round++) {
              heap.collectSync()
              const array = roots.get(0) as Ref
              for (let i = 0; i < length; i++) {
                const ref = referent(m, array, weak, i)
                expect(ref !== 0, `element ${i} of ${length}`).toBe(i % 3 === 1 || !configuration.collects)
                if (ref !== 0) expect(m.i32[ref + node.at.key]).toBe(i)
                else if (kind === 'value') expect(m.i32[array + 2 * (weak.elementsAt + i) + 1]).toBe(Tag.Undefined)
              }
            }
          }
        }
      })
    })
  })

  it('keep the value of a key exactly as long as the key, also where only the value leads to it', () => {
    withHeap(configuration, {}, (heap) => {
      const node = heap.defineShape('Node', { key: 'i32', other: 'ref' })
      const strong = heap.defineArray('Strong', 'ref')
      heap.run((m) => {
        const roots = m.roots.table('ref', 3)
        const make = (key: number, other: Ref | 0): Ref => {
          roots.set(2, other)
          const ref = m.alloc(node)
          m.i32[ref + node.at.key] = key
          m.setRef(ref, node.at.other, roots.get(2))
          roots.set(2, 0)
          return ref
        }
        for (const kind of KINDS) {
          const pairs = heap.defineArray(`Pairs_${kind}`, kind, { weak: 'keys' })
          for (const length of LENGTHS) {
            roots.set(0, m.allocArray(pairs, length))
            roots.set(1, m.allocArray(strong, length))
            for (let i = 0; i + 1 < length; i += 2) {
              const key = make(i, 0)
              store(m, roots.get(0) as Ref, pairs, i, key)
              if (i % 6 === 0) m.setElementRef(roots.get(1) as Ref, i, key)
              const value = make(i + 1, key)
              store(m, roots.get(0) as Ref, pairs, i + 1, value)
            }
            if (length % 2 === 1) store(m, roots.get(0) as Ref, pairs, length - 1, make(-1, 0))
            heap.collectSync()
            heap.collectSync()
            const array = roots.get(0) as Ref
            for (let i = 0; i + 1 < length; i += 2) {
              const [key, value] = [referent(m, array, pairs, i), referent(m, array, pairs, i + 1)]
              expect([key !== 0, value !== 0]).toEqual(Array(2).fill(i % 6 === 0 || !configuration.collects))
              if (key === 0) continue
              expect([m.i32[key + node.at.key], m.i32[value + node.at.key]]).toEqual([i, i + 1])
              expect(m.getRef(value as Ref, node.at.other)).toBe(key)
            }
            // The last element of an odd number is a key that can have no value.
            if (length % 2 === 1) expect(referent(m, array, pairs, length - 1) === 0).toBe(configuration.collects)
          }
        }
      })
    })
  })

  it('follow ephemerons through each other, in chains longer than any stack', () => {
    withHeap(configuration, { maxBytes: '64m' }, (heap) => {
      const node = heap.defineShape('Node', { key: 'i32' })
      const pairs = heap.defineArray('Pairs', 'ref', { weak: 'keys' })
      const LENGTH = 50_000
      heap.run((m) => {
        const roots = m.roots.table('ref', 3)
        roots.set(0, m.allocArray(pairs, 2 * LENGTH))
        // From the far end: node LENGTH is the value of LENGTH − 1, that of LENGTH − 2, …
        roots.set(1, m.alloc(node))
        for (let i = 0; i < LENGTH; i++) {
          const key = m.alloc(node)
          m.i32[key + node.at.key] = i
          m.setElementRef(roots.get(0) as Ref, 2 * i, key)
          m.setElementRef(roots.get(0) as Ref, 2 * i + 1, roots.get(1))
          roots.set(1, key)
        }
        const left = (): number => {
          heap.collectSync()
          const array = roots.get(0) as Ref
          let count = 0
          let halves = 0
          for (let i = 0; i < LENGTH; i++) {
            const [key, value] = [m.getRef(array, 2 + 2 * i), m.getRef(array, 3 + 2 * i)]
            if ((key === 0) !== (value === 0)) halves++
            if (key !== 0) count++
          }
          expect(halves).toBe(0)
          return count
        }
        expect(left()).toBe(LENGTH)
        roots.set(1, m.getRef(roots.get(0) as Ref, 2 + 2 * 1000))
        expect(left()).toBe(configuration.collects ? 1001 : LENGTH)
        roots.set(1, 0)
        expect(left()).toBe(configuration.collects ? 0 : LENGTH)
      })
    })
  })

  it('keep values whose keys are numbers, and what is no reference where it is', () => {
    withHeap(configuration, {}, (heap) => {
      const node = heap.defineShape('Node', { key: 'i32' })
      const values = heap.defineArray('WeakValues', 'value', { weak: 'elements' })
      const pairs = heap.defineArray('Pairs', 'value', { weak: 'keys' })
      heap.run((m) => {
        const scope = m.scope()
        const kept = scope.newArray(pairs, 4)
        const plain = scope.newArray(values, 4)
        m.scoped((inner) => {
          kept.set(0, 7)
          kept.set(1, inner.new(node, { key: 1 }))
          kept.set(2, 'x'.length === 1)
          kept.set(3, inner.new(node, { key: 2 }))
          for (let i = 0; i < 3; i++) plain.set(i, [1.5, null, undefined][i])
          plain.set(3, inner.new(node))
        })
        heap.collectSync()
        m.scoped(() => {
          expect([kept.get(0), kept.get(2)]).toEqual([7, true])
          expect([1, 3].map((i) => (kept.get(i) as { key?: number }).key)).toEqual([1, 2])
          expect([0, 1, 2].map((i) => plain.get(i))).toEqual([1.5, null, undefined])
          expect(plain.get(3) === undefined).toBe(configuration.collects)
        })
      })
    })
  })

  it('give objects that live on when they are taken in time', () => {
    withHeap(configuration, {}, (heap) => {
      const node = heap.defineShape('Node', { key: 'i32' })
      const weak = heap.defineArray('Weak', 'ref', { weak: 'elements' })
      heap.run((m) => {
        const scope = m.scope()
        const array = scope.newArray(weak, 1)
        m.scoped((inner) => array.set(0, inner.new(node, { key: 5 })))
        const taken = array.get(0)?.as(node)
        heap.collectSync()
        heap.collectSync()
        expect(taken?.key).toBe(5)
        expect(array.get(0)?.is(taken)).toBe(true)
      })
    })
  })

  it('do not hide what is wrong in them from verification', () => {
    const heap = Heap.create({ maxBytes: '4m', ...configuration.options })
    const node = heap.defineShape('Node', { next: 'ref' })
    const pairs = heap.defineArray('Pairs', 'ref', { weak: 'keys' })
    heap.run((m) => {
      const roots = m.roots.table('ref', 2)
      roots.set(0, m.allocArray(pairs, 4))
      roots.set(1, m.alloc(node))
      const found = (i: number): string => {
        m.i32[(roots.get(0) as Ref) + pairs.elementsAt + i] = 3
        const { violations } = heap.verify()
        m.i32[(roots.get(0) as Ref) + pairs.elementsAt + i] = 0
        return violations.map(({ what, path }) => `${what} ${path.join(' ')}`).join()
      }
      expect(found(0)).toMatch(/the Ref 3 is odd.*Pairs@\d+\[0\]/)
      expect(found(1)).toMatch(/the Ref 3 is odd.*Pairs@\d+\[1\]/)
      // Behind an ephemeron, on both sides of its key.
      for (const order of [0, 1]) {
        m.setElementRef(roots.get(0) as Ref, 2, roots.get(1))
        const value = m.alloc(node)
        m.setElementRef(roots.get(0) as Ref, 3, value)
        if (order === 1) {
          const array = roots.get(0)
          roots.set(0, roots.get(1))
          roots.set(1, array)
        }
        m.i32[value + node.at.next] = 5
        const { violations, objects } = heap.verify()
        expect(objects).toBe(3)
        expect(violations.map(({ what, path }) => `${what} ${path.at(-1)}`).join()).toMatch(
          /^the Ref 5 is odd.*\.next$/,
        )
        m.i32[value + node.at.next] = 0
      }
    })
    heap.close()
  })
})

it('weak arrays are of references, known by their weakness, and refused with a rule', () => {
  const heap = Heap.create({ maxBytes: '1m', collector: 'stop-the-world' })
  const weak = heap.defineArray('A', 'ref', { weak: 'elements' })
  expect(heap.defineArray('A', 'ref', { weak: 'elements' })).toBe(weak)
  expect(heap.defineArray('B', 'ref', {})).toBe(heap.defineArray('B', 'ref', { weak: undefined }))
  const define = (...given: unknown[]) => failure(() => heap.defineArray(...(given as ['A', 'ref'])))
  expect(define('A', 'ref')).toEqual({
    code: 'ERR_SHAPE_CONFLICT',
    message: expect.stringMatching(
      /^shape 'A' is already defined as array of ref with weak elements; got array of ref\./,
    ) as string,
  })
  expect(define('A', 'ref', { weak: 'keys' }).code).toBe('ERR_SHAPE_CONFLICT')
  expect(define('C', 'ref', { weak: 'all' }).message).toBe("array shape 'C': weak is 'elements' or 'keys'; got \"all\"")
  expect(define('C', 'ref', { weak: 'toString' }).code).toBe('ERR_OPTION')
  expect(define('C', 'f64', { weak: 'keys' }).message).toMatch(
    /only arrays of 'ref' and 'value' can be weak; this one is of 'f64'/,
  )
  expect(define('C', 'ref', { week: 'keys' }).message).toMatch(/unknown option 'week'; the only one is 'weak'/)
  expect(define('C', 'ref', 'weak').message).toMatch(/options are an object like \{ weak: 'elements' \}; got "weak"/)
  expect(define('C', 'ref', null).code).toBe('ERR_OPTION')
  // @ts-expect-error numbers are not weak
  void (() => heap.defineArray('D', 'i32', { weak: 'keys' }))
  heap.close()
})
