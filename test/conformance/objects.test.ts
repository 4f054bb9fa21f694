// Objects, arrays and values keep what was stored in them, through collections that move them.
import { type Handle, Tag, Tagged, type Ref, type SlotKind, layout } from 'glissade'
import { Random } from 'glissade/testing'
import { expect, it } from 'vitest'
import { failure, overAll, withHeap } from './configurations.js'

overAll('objects', (configuration) => {
  it('lays slots out by decreasing size, in declaration order within a size', () => {
    withHeap(configuration, {}, (heap) => {
      const shape = heap.defineShape('All', {
        a: 'u8',
        b: 'u16',
        c: 'ref',
        d: 'value',
        e: 'i32',
        f: 'f64',
        g: 'u32',
        h: 'u8',
      })
      expect({ ...shape.at }).toEqual({ d: 1, f: 2, c: 6, e: 7, g: 8, b: 18, a: 38, h: 39 })
      expect(shape.granules).toBe(5)
    })
  })

  it('zeroes new objects and writes only their shape into the header', () => {
    withHeap(configuration, {}, (heap) => {
      const shape = heap.defineShape('Three', { a: 'ref', b: 'f64', c: 'value' })
      heap.run((m) => {
        for (let i = 0; i < 20_000; i++) {
          const ref = m.alloc(shape)
          if (m.i32[ref] !== shape.id) throw new Error(`header ${m.i32[ref]} at ${ref}`)
          for (let word = 1; word < shape.granules * 2; word++) {
            if (m.i32[ref + word] !== 0) throw new Error(`word ${word} of object ${i} is not zero`)
          }
          // Dirty it, so that recycled memory would show.
          m.f64[(ref >>> 1) + shape.at.b] = 1.5
          m.setValueInt(ref, shape.at.c, -1)
        }
      })
    })
  })

  it('keeps every kind of slot through collections', () => {
    withHeap(configuration, {}, (heap) => {
      const shape = heap.defineShape('Kinds', {
        r: 'ref',
        v: 'value',
        f: 'f64',
        i: 'i32',
        u: 'u32',
        s: 'u16',
        b: 'u8',
      })
      heap.run((m) => {
        const table = m.roots.table('ref', 4)
        const fill = (): void => {
          table.set(0, m.alloc(shape))
          const other = m.alloc(shape)
          const ref = table.get(0) as Ref
          m.i32[other + shape.at.i] = 77
          m.setRef(ref, shape.at.r, other)
          m.f64[(ref >>> 1) + shape.at.f] = Math.PI
          m.setValueRef(ref, shape.at.v, other)
          m.i32[ref + shape.at.i] = -123456
          m.u32[ref + shape.at.u] = 0xfedcba98
          m.u16[(ref << 1) + shape.at.s] = 0xbeef
          m.u8[ref * 4 + shape.at.b] = 0xa5
        }
        fill()
        for (let round = 0; round < 4; round++) {
          for (let k = 0; k < 1000; k++) m.alloc(shape)
          heap.collectSync()
          const ref = table.get(0) as Ref
          const other = m.getRef(ref, shape.at.r)
          expect(m.i32[other + shape.at.i]).toBe(77)
          expect(m.getValue(ref, shape.at.v)).toEqual(new Tagged(Tag.Ref, other))
          expect(m.f64[(ref >>> 1) + shape.at.f]).toBe(Math.PI)
          expect(m.i32[ref + shape.at.i]).toBe(-123456)
          expect(m.u32[ref + shape.at.u]).toBe(0xfedcba98)
          expect(m.u16[(ref << 1) + shape.at.s]).toBe(0xbeef)
          expect(m.u8[ref * 4 + shape.at.b]).toBe(0xa5)
        }
      })
    })
  })

  it('reads back every kind of value, NaNs canonical', () => {
    withHeap(configuration, {}, (heap) => {
      const shape = heap.defineShape('Box', { v: 'value', w: 'value' })
      heap.run((m) => {
        const table = m.roots.table('ref', 1)
        table.set(0, m.alloc(shape))
        const box = (): Ref => table.get(0) as Ref
        const at = shape.at.v
        const nans = [NaN, -NaN, Math.sqrt(-1), Math.log(-1), -(1 + Math.log(-1)), Math.acos(2)]
        for (const x of [0, -0, 1.5, -1e300, Infinity, -Infinity, 5e-324, ...nans]) {
          m.setValueNumber(box(), at, x)
          heap.collectSync()
          expect(m.getValue(box(), at)).toBe(x)
        }
        m.setValueNumber(box(), at, -(1 + Math.log(-1)))
        const word = 2 * ((box() >>> 1) + at)
        expect([m.u32[word + 1], m.u32[word]]).toEqual([0x7ff80000, 0])
        m.setValueInt(box(), at, -(2 ** 31))
        expect(m.getValue(box(), at)).toBe(-(2 ** 31))
        expect(m.i32[word + 1]).toBe(Tag.Int)
        m.setValueBool(box(), at, true)
        expect(m.getValue(box(), at)).toBe(true)
        m.setValueNil(box(), at)
        expect(m.getValue(box(), at)).toBe(null)
        m.setValueUndefined(box(), at)
        expect(m.getValue(box(), at)).toBe(undefined)
        for (const tag of [Tag.User0, Tag.User1, Tag.User2, Tag.User3]) {
          m.setValueTagged(box(), at, tag, -5)
          heap.collectSync()
          expect(m.getValue(box(), at)).toEqual(new Tagged(tag, -5))
        }
        m.setValueRef(box(), at, box())
        m.copyValue(box(), shape.at.w, (box() >>> 1) + at)
        heap.collectSync()
        expect(m.getValue(box(), shape.at.w)).toEqual(new Tagged(Tag.Ref, box()))
      })
    })
  })

  it('says what is no Ref at all', () => {
    withHeap(configuration, {}, (heap) => {
      heap.run((m) => {
        for (const bad of [undefined, null, 'x', 1.5, NaN, {}] as never[]) {
          for (const use of [() => m.readString(bad), () => m.identityHash(bad), () => m.copyOut(bad)]) {
            expect(failure(use)).toEqual({
              code: 'ERR_BAD_REF',
              message: expect.stringMatching(
                /^(readString|identityHash|copyOut): a Ref is a whole number; got /,
              ) as string,
            })
          }
        }
      })
    })
  })

  it('makes tagged words of the embedder’s tags and 32 bits only', () => {
    withHeap(configuration, {}, (heap) => {
      const shape = heap.defineShape('Box', { v: 'value' })
      for (const tag of [Tag.Nil, Tag.Int, Tag.User3 + 1, 0, NaN, 'x', undefined, Symbol('tag'), Tag.User0 + 0.5]) {
        expect(failure(() => new Tagged(tag as never, 0)).message).toMatch(
          /is not one of the embedder's tags, Tag.User0 to/,
        )
      }
      for (const payload of [2 ** 32, -(2 ** 31) - 1, 1.5, NaN, 'x', undefined]) {
        expect(failure(() => new Tagged(Tag.User0, payload as never)).code).toBe('ERR_BAD_VALUE')
      }
      heap.run((m) => {
        const box = m.alloc(shape)
        m.setValueTagged(box, shape.at.v, Tag.User0, 2 ** 32 - 1)
        expect(m.getValue(box, shape.at.v)).toEqual(new Tagged(Tag.User0, -1))
        // @ts-expect-error other tags have their own setters
        void (() => m.setValueTagged(box, shape.at.v, Tag.Nil, 0))
        m.i32[box + 2 * shape.at.v + 1] = Tag.User3 + 1
        expect(failure(() => m.getValue(box, shape.at.v))).toMatchObject({ code: 'ERR_INVALID_HEAP' })
        m.setValueNil(box, shape.at.v)
      })
    })
  })

  it('keeps arrays of every kind, of lengths around every boundary', () => {
    const kinds: SlotKind[] = ['ref', 'value', 'f64', 'i32', 'u32', 'u16', 'u8']
    const lengths = [0, 1, 2, 3, 7, 8, 9, 1000, 4090, 8188, 8190, 8192, 32750, 32760, 40_000]
    withHeap(configuration, { maxBytes: '64m' }, (heap) => {
      heap.run((m) => {
        m.scoped((scope) => {
          const made = kinds.flatMap((kind) => {
            const shape = heap.defineArray(`${kind}s`, kind)
            return lengths.map((length) => {
              const array = scope.newArray(shape, length)
              const value = (i: number): number => (i * 7 + length) & 0xff
              if (kind !== 'ref') for (let i = 0; i < length; i += 97) array.set(i, value(i))
              if (kind === 'ref' && length > 0) array.set(length - 1, array)
              return { kind, length, array, value }
            })
          })
          for (let round = 0; round < 3; round++) {
            heap.collectSync()
            for (const { kind, length, array, value } of made) {
              expect(array.length).toBe(length)
              if (kind !== 'ref') for (let i = 0; i < length; i += 97) expect(array.get(i)).toBe(value(i))
              if (kind === 'ref' && length > 0) expect(array.is(array.get(length - 1) as typeof array)).toBe(true)
            }
          }
        })
      })
    })
  })

  it('keeps a long list whose every link is older than its target or younger', () => {
    withHeap(configuration, { maxBytes: '32m' }, (heap) => {
      const node = heap.defineShape('Node', { next: 'ref', key: 'i32' })
      heap.run((m) => {
        const stack = m.roots.stack('ref', 8)
        const { i32, rootsI32 } = m
        const allocate = m.allocator(node)
        rootsI32[stack.base] = 0
        stack.top = 1
        for (let i = 0; i < 200_000; i++) {
          const ref = allocate()
          i32[ref + node.at.key] = i
          m.setRef(ref, node.at.next, rootsI32[stack.base] as Ref)
          rootsI32[stack.base] = ref
        }
        heap.collectSync()
        let expected = 200_000
        for (let ref = rootsI32[stack.base]; ref !== 0; ref = i32[ref + node.at.next]) {
          if (i32[ref + node.at.key] !== --expected) throw new Error(`${i32[ref + node.at.key]} for ${expected}`)
        }
        expect(expected).toBe(0)
      })
    })
  })

  it('gives an object one identity hash for life', () => {
    withHeap(configuration, {}, (heap) => {
      const node = heap.defineShape('Node', { next: 'ref' })
      heap.run((m) => {
        m.scoped((scope) => {
          const handles = Array.from({ length: 100 }, () => scope.new(node))
          const hashes = handles.map((h) => m.identityHash(h.ref))
          for (const hash of hashes) expect(hash > 0 && hash < 2 ** 30).toBe(true)
          expect(new Set(hashes).size).toBeGreaterThan(95)
          heap.collectSync()
          expect(handles.map((h) => m.identityHash(h.ref))).toEqual(hashes)
        })
      })
    })
  })

  it('gives no identity hash to what has no word for it, and damages nothing', () => {
    withHeap(configuration, {}, (heap) => {
      const bytes = heap.defineArray('Bytes', 'u8')
      heap.run((m) => {
        const array = m.allocArray(bytes, 3)
        expect(failure(() => m.identityHash(array))).toMatchObject({ code: 'ERR_WRONG_SHAPE' })
        expect(m.lengthOf(array)).toBe(3)
        for (const bad of [0, array + 2, -2, NaN, undefined]) {
          expect(failure(() => m.identityHash(bad as Ref))).toMatchObject({ code: 'ERR_BAD_REF' })
        }
        expect(failure(() => m.identityHash(0 as Ref)).message).toMatch(/at 0, which is null: test for it first/)
        expect([...m.i32.subarray(0, 4)]).toEqual([0, 0, 0, 0])
      })
    })
  })

  it('has as many shapes as there is room for, and slots with references, and is whole when one more is refused', () => {
    withHeap(configuration, {}, (heap) => {
      const { control } = heap._core.views
      // As if all but two were taken.
      control[layout.Word.SlotMapLength] = layout.MAX_SLOT_MAP - 2
      expect(failure(() => heap.defineShape('Three', { a: 'ref', b: 'value', c: 'ref' }))).toEqual({
        code: 'ERR_BAD_SHAPE',
        message: "shape 'Three': all shapes of a heap together have at most 262144 ref and value slots",
      })
      expect(control[layout.Word.ShapeCount]).toBe(layout.FIRST_SHAPE)
      const pair = heap.defineShape('Pair', { a: 'ref', b: 'value' })
      expect(failure(() => heap.defineShape('One', { a: 'ref' })).code).toBe('ERR_BAD_SHAPE')
      control[layout.Word.ShapeCount] = layout.MAX_SHAPES - 1
      const last = heap.defineShape('Last', { n: 'f64' })
      expect(last.id).toBe(layout.MAX_SHAPES - 1)
      expect(failure(() => heap.defineArray('None', 'u8'))).toEqual({
        code: 'ERR_BAD_SHAPE',
        message: "shape 'None': a heap has at most 65534 shapes; let objects with the same slots share one",
      })
      expect(control[layout.Word.ShapeCount]).toBe(layout.MAX_SHAPES)
      heap.run((m) => {
        m.scoped((scope) => {
          const object = scope.new(pair, { a: scope.new(last, { n: 0.5 }), b: scope.new(last, { n: 1.5 }) })
          heap.collectSync()
          expect([object.a?.as(last).n, (object.b as Handle).as(last).n]).toEqual([0.5, 1.5])
          expect(heap.verify()).toMatchObject({ ok: true, objects: 3 })
        })
      })
    })
  })

  it('lets no object become one that has a value where it has none, or none where it has one', () => {
    withHeap(configuration, {}, (heap) => {
      const number = heap.defineShape('Number', { n: 'f64', next: 'ref' })
      const value = heap.defineShape('Value', { v: 'value', next: 'ref' })
      const twin = heap.defineShape('Twin', { w: 'value', next: 'ref' })
      heap.run((m) => {
        m.scoped((scope) => {
          const [a, b] = [scope.new(number), scope.new(value)]
          expect(failure(() => m.setShape(a.ref, value)).code).toBe('ERR_WRONG_SHAPE')
          expect(failure(() => m.setShape(b.ref, number)).code).toBe('ERR_WRONG_SHAPE')
          m.setShape(b.ref, twin)
          expect([m.shapeOf(a.ref), m.shapeOf(b.ref)]).toEqual([number.id, twin.id])
          // What its numbers are is its own affair.
          const halves = heap.defineShape('Halves', { low: 'u32', high: 'u32', next: 'ref' })
          expect(halves.at.next).toBe(number.at.next)
          m.setShape(a.ref, halves)
          expect(m.shapeOf(a.ref)).toBe(halves.id)
          // A ref and a value at the same number, each in units of its own view.
          const ofRef = heap.defineShape('OfRef', { r: 'ref', a: 'i32', b: 'i32', c: 'i32' })
          const ofValue = heap.defineShape('OfValue', { f: 'f64', v: 'value' })
          expect([ofRef.at.r, ofRef.granules]).toEqual([ofValue.at.v, ofValue.granules])
          expect(failure(() => m.setShape(scope.new(ofRef).ref, ofValue)).code).toBe('ERR_WRONG_SHAPE')
        })
      })
    })
  })

  it('lets an object change its shape for one of equal length and references', () => {
    withHeap(configuration, {}, (heap) => {
      const point = heap.defineShape('Point', { next: 'ref', x: 'f64' })
      const size = heap.defineShape('Size', { parent: 'ref', w: 'i32', h: 'i32' })
      const other = heap.defineShape('Other', { x: 'f64', n: 'i32', next: 'ref' })
      heap.run((m) => {
        const table = m.roots.table('ref', 1)
        table.set(0, m.alloc(point))
        m.setRef(table.get(0) as Ref, point.at.next, table.get(0) as Ref)
        expect(() => m.setShape(table.get(0) as Ref, other)).toThrow(/'Point' cannot become a 'Other'/)
        if (size.at.parent === point.at.next) m.setShape(table.get(0) as Ref, size)
        else expect(() => m.setShape(table.get(0) as Ref, size)).toThrow(/references in the same places/)
        const twin = heap.defineShape('Twin', { next: 'ref', y: 'f64' })
        m.setShape(table.get(0) as Ref, point)
        m.setShape(table.get(0) as Ref, twin)
        heap.collectSync()
        expect(m.shapeOf(table.get(0) as Ref)).toBe(twin.id)
        expect(m.getRef(table.get(0) as Ref, twin.at.next)).toBe(table.get(0))
      })
    })
  })

  it('copies bytes from and into Uint8Arrays that are long enough, and refuses all else', () => {
    withHeap(configuration, {}, (heap) => {
      const bytes = heap.defineArray('Bytes', 'u8')
      heap.run((m) => {
        const raw = m.allocArray(bytes, 3)
        m.copyIn(raw, Uint8Array.of(1, 2, 3))
        const others = [
          undefined,
          null,
          5,
          'abc',
          [7, 8],
          new ArrayBuffer(3),
          new Float64Array(2),
          new Uint8ClampedArray(3),
        ]
        for (const other of others) {
          expect(failure(() => m.copyIn(raw, other as never))).toMatchObject({ code: 'ERR_BAD_VALUE' })
          if (other === undefined) continue
          expect(failure(() => m.copyOut(raw, other as never)).message).toMatch(
            /^copyOut copies into a Uint8Array of by/,
          )
        }
        expect(failure(() => m.copyIn(raw, new ArrayBuffer(3) as never)).message).toBe(
          'copyIn takes a Uint8Array of bytes; got a ArrayBuffer: give new Uint8Array(buffer)',
        )
        expect(failure(() => m.copyIn(raw, new Float64Array(3) as never)).message).toMatch(/view\.byteOffset/)
        expect(failure(() => m.copyIn(raw, new Uint8Array(4)))).toMatchObject({ code: 'ERR_BOUNDS' })
        // What says that it is one, or how long it is, need not be right.
        class Short extends Uint8Array {
          override get length(): number {
            return 0
          }
        }
        expect(failure(() => m.copyIn(raw, new Short(64)))).toMatchObject({ code: 'ERR_BOUNDS' })
        expect(failure(() => m.copyOut(raw, new Short(1)))).toMatchObject({ code: 'ERR_BOUNDS' })
        const pretender = { [Symbol.toStringTag]: 'Uint8Array', length: 1, 0: 7 }
        expect(failure(() => m.copyIn(raw, pretender as never))).toMatchObject({ code: 'ERR_BAD_VALUE' })
        expect(failure(() => m.copyOut(raw, new Uint8Array(2)))).toEqual({
          code: 'ERR_BOUNDS',
          message: 'copyOut of 3 bytes into 2: the target holds the whole payload; give a longer one, or none',
        })
        expect([...m.copyOut(raw)]).toEqual([1, 2, 3])
      })
    })
  })

  it('copies bytes and text in and out', () => {
    withHeap(configuration, {}, (heap) => {
      const bytes = heap.defineArray('Bytes', 'u8')
      const units = heap.defineArray('Units', 'u16')
      heap.run((m) => {
        m.scoped((scope) => {
          const texts = ['', 'a', 'Grüße, 世界 🌍', '\ufeffmarked', 'x'.repeat(50_000)]
          const kept = texts.map((text) => [scope.newString(bytes, text), scope.newString(units, text)] as const)
          const broken = ['\ud800', '\udc00\ud800', `${'long '.repeat(20)}\ud83c.`]
          const units16 = broken.map((text) => scope.newString(units, text))
          const malformed = [[0xc3], [0xf0, 0x9f, 0x8c], [0xed, 0xa0, 0x80, 0x41], [0xff, 0x42, 0x80]]
          const bytes8 = malformed.map((raw) => scope.newArray(bytes, raw))
          heap.collectSync()
          kept.forEach(([b, u], i) => {
            expect(m.readString(b.ref)).toBe(texts[i])
            expect(m.readString(u.ref)).toBe(texts[i])
          })
          units16.forEach((u, i) => expect(m.readString(u.ref)).toBe(broken[i]))
          const decoder = new TextDecoder()
          bytes8.forEach((b, i) => {
            expect(m.readString(b.ref)).toBe(decoder.decode(Uint8Array.from(malformed[i])))
          })
          const raw = scope.newArray(bytes, 5)
          m.copyIn(raw.ref, Uint8Array.of(1, 2, 3))
          expect([...m.copyOut(raw.ref)]).toEqual([1, 2, 3, 0, 0])
          const target = new Uint8Array(7)
          const filled = m.copyOut(raw.ref, target)
          expect([...filled]).toEqual([1, 2, 3, 0, 0])
          expect(filled.buffer).toBe(target.buffer)
          m.copyIn(raw.ref, Buffer.from([9]))
          expect([...m.copyOut(raw.ref)]).toEqual([9, 2, 3, 0, 0])
        })
      })
    })
  })

  it('takes text of every length in, well-formed or not, as Node encodes it, and touches nothing beside it', () => {
    withHeap(configuration, {}, (heap) => {
      const bytes = heap.defineArray('Bytes', 'u8')
      const units = heap.defineArray('Units', 'u16')
      const encoder = new TextEncoder()
      const random = new Random(3)
      const alphabets = ['ab', 'aé', 'a世', 'a\ud83c\udf0d', 'ab\ud83c', '\udf0d\ud83c']
      heap.run((m) => {
        const roots = m.roots.table('ref', 2)
        for (const alphabet of alphabets) {
          for (const length of [0, 1, 2, 23, 24, 25, 26, 63, 64, 65, 66, 1000]) {
            const text = Array.from({ length }, () => alphabet[random.below(alphabet.length)]).join('')
            const encoded = encoder.encode(text)
            roots.set(0, m.newString(bytes, text))
            roots.set(1, m.newString(bytes, 'beside'))
            expect(Buffer.compare(m.copyOut(roots.get(0) as Ref), encoded)).toBe(0)
            expect(m.readString(roots.get(1) as Ref)).toBe('beside')
            roots.set(0, m.newString(units, text))
            roots.set(1, m.newString(units, 'beside'))
            expect([m.lengthOf(roots.get(0) as Ref), m.readString(roots.get(0) as Ref)]).toEqual([length, text])
            expect(m.readString(roots.get(1) as Ref)).toBe('beside')
          }
        }
      })
      heap.assertValid()
    })
  })

  it('copies bytes in only where they fit and hold no references', () => {
    withHeap(configuration, {}, (heap) => {
      const bytes = heap.defineArray('Bytes', 'u8')
      const numbers = heap.defineArray('Numbers', 'f64')
      const plain = heap.defineShape('Plain', { a: 'i32', b: 'u8' })
      heap.run((m) => {
        m.scoped((scope) => {
          const fits = (ref: Ref, payload: number): void => {
            const source = Uint8Array.from({ length: payload }, (_, i) => i + 1)
            m.copyIn(ref, source)
            expect([...m.copyOut(ref)]).toEqual([...source])
            expect(failure(() => m.copyIn(ref, new Uint8Array(payload + 1)))).toEqual({
              code: 'ERR_BOUNDS',
              message: `copyIn of ${payload + 1} bytes into a payload of ${payload}: give source.subarray(0, ${payload}), or a longer array`,
            })
            expect([...m.copyOut(ref)]).toEqual([...source])
          }
          fits(scope.newArray(bytes, 13).ref, 13)
          fits(scope.newArray(bytes, 0).ref, 0)
          fits(scope.newArray(numbers, 4).ref, 32)
          fits(scope.new(plain).ref, 8)
          const holders = [
            scope.new(heap.defineShape('Ref', { a: 'i32', r: 'ref' })),
            scope.new(heap.defineShape('Value', { a: 'i32', v: 'value' })),
            scope.newArray(heap.defineArray('Refs', 'ref'), 4),
            scope.newArray(heap.defineArray('Values', 'value'), 4),
          ]
          for (const { ref } of holders) {
            const before = [...m.copyOut(ref)]
            const { code, message } = failure(() => m.copyIn(ref, Uint8Array.of(1, 2)))
            expect(code).toBe('ERR_WRONG_SHAPE')
            expect(message).toMatch(/holds references: use the setters/)
            expect([...m.copyOut(ref)]).toEqual(before)
          }
          for (const bad of [0, 7, -2, 0.5, NaN]) {
            expect(failure(() => m.copyIn(bad as Ref, Uint8Array.of(1))).code).toBe('ERR_BAD_REF')
          }
        })
      })
    })
  })
})
