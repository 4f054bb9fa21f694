// What the compiler must accept and refuse: read by `tsc -p test`, run for its values.
import {
  Heap,
  type ArrayHandle,
  type Handle,
  type HandleValue,
  type Mutator,
  type ObjectHandle,
  type Ref,
  type Shape,
  Tag,
  Tagged,
} from 'glissade'
import ts from 'typescript'
import { expect, expectTypeOf, it } from 'vitest'

it('types handles by their shapes', () => {
  using heap = Heap.create({ maxBytes: '1m', collector: 'none' })
  const node = heap.defineShape('Node', { next: 'ref', key: 'f64', v: 'value', n: 'u8' })
  const names = heap.defineArray('Names', 'u16')
  expectTypeOf(node).toExtend<Shape<{ readonly next: 'ref'; readonly key: 'f64' }>>()
  expectTypeOf(node.at.key).toEqualTypeOf<number>()
  // @ts-expect-error there is no such slot
  void node.at.kee
  heap.run((m) => {
    expectTypeOf(m).toEqualTypeOf<Mutator>()
    expectTypeOf(m.alloc(node)).toEqualTypeOf<Ref>()
    // @ts-expect-error an array shape needs a length
    void (() => m.alloc(names))
    // @ts-expect-error a plain number is no Ref
    void (() => m.setRef(4096, node.at.next, m.alloc(node)))
    // @ts-expect-error a Ref is no number of a value slot
    void (() => m.setValueNumber(m.alloc(node), node.at.v, m.alloc(node)))
    // @ts-expect-error nor an integer of one
    void (() => m.setValueInt(m.alloc(node), node.at.v, m.alloc(node)))
    // @ts-expect-error nor a number of a value area
    void (() => m.roots.stack('value', 1).set(0, m.alloc(node)))
    void (() => m.roots.stack('value', 1).set(0, new Tagged(Tag.Ref, m.alloc(node))))
    expectTypeOf(m.getValue(m.alloc(node), node.at.v)).toExtend<number | boolean | null | undefined | Tagged>()
    m.scoped((scope) => {
      const first = scope.new(node, { key: 1 })
      first.next = scope.new(node, { key: 2, n: 3 })
      expectTypeOf(first.key).toEqualTypeOf<number>()
      expectTypeOf<(typeof first)['next']>().toEqualTypeOf<Handle | null>()
      expectTypeOf(first.v).toEqualTypeOf<HandleValue>()
      expectTypeOf(first.get('n')).toEqualTypeOf<number>()
      const text = scope.newString(names, 'abc')
      expectTypeOf(text).toEqualTypeOf<ArrayHandle<'u16'>>()
      expectTypeOf(text.get(0)).toEqualTypeOf<number>()
      expectTypeOf(first.next.as(node)).toExtend<ObjectHandle<{ readonly key: 'f64' }>>()
      const global = heap.global(first)
      expectTypeOf(global.handle.key).toEqualTypeOf<number>()
      // @ts-expect-error a value slot takes handles, not Refs
      void (() => (first.v = first.ref))
      first.v = first.key + 1
      // @ts-expect-error no string fits into a slot
      void (() => (first.key = 'x'))
      // @ts-expect-error the init has a slot that the shape has not
      void (() => scope.new(node, { kee: 1 }))
      // @ts-expect-error a ref slot takes handles
      void (() => (first.next = 5))
    })
  })
  // @ts-expect-error unknown kind
  void (() => heap.defineShape('Bad', { x: 'f32' }))
  // @ts-expect-error unknown option
  void (() => Heap.create({ maxByte: 1 }))
  // @ts-expect-error unknown collector
  void (() => Heap.create({ collector: 'fast' }))
})

it.each(['dist/index.d.ts', 'dist/testing.d.ts'])('%s has the types it needs, whatever the program has', (file) => {
  const program = ts.createProgram([file], {
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    lib: ['lib.es2022.d.ts'],
    types: [],
    strict: true,
    noEmit: true,
    skipLibCheck: false,
  })
  const told = ts.getPreEmitDiagnostics(program).map(({ file, messageText }) => {
    return `${file?.fileName}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`
  })
  expect(told).toEqual([])
})
