// Handles: objects with typed properties over heap objects, one generated class per shape.
//
// A handle holds the index of a root slot, never a Ref: the collector updates the slot when the object moves, so a handle
// cannot dangle. It is alive while its owner (a scope or a global) is open; an owner's slots are zeroed when it ends, and
// a dead handle, a closed heap and a use outside run are each told apart on the slow path (`fail`). Accessors read the
// views directly (1–2 ns at a site that sees one shape); generic code that sees many shapes should use `get` and `set`.
// The text of a class carries the heap's id, because V8 shares code of identical texts (see allocation.ts).

import { copyElements } from './elements.js'
import { HeapError, show, suggest } from './errors.js'
import type { HeapCore } from './heap-core.js'
import { showAs, showHandle } from './inspect.js'
import { CARD_SHIFT, FLAG_BITS, Tag } from './layout.js'
import { ArrayShape, noElement, Shape, SLOT_BYTES, type AnyShape, type SlotKind, type SlotTable } from './shapes.js'
import { encode, encoded, readValue, writeEncoded, type PlainNumber, type Ref, type Tagged } from './values.js'

/** Something that keeps handles alive: a scope or a global. */
export interface HandleOwner {
  readonly open: boolean
}

/** What a `value` slot is to a handle. Numbers are stored as doubles; integers under Tag.Int read as numbers. */
export type HandleValue = PlainNumber | boolean | null | undefined | Handle | Tagged
/** The JavaScript type of a slot of kind `K` in the handle tier. */
export type SlotType<K> = K extends 'ref' ? Handle | null : K extends 'value' ? HandleValue : number

/** What every handle has. Typed ones are {@link ObjectHandle} and {@link ArrayHandle}. */
export class Handle {
  // Declared, not defined: a field that is first defined as undefined and then assigned makes a new handle cost 19 ns
  // instead of 7 (V8 11).
  /** Index of the root slot in the root region's 32-bit view. */
  declare readonly _slot: number
  declare readonly _owner: HandleOwner
  /** On the prototype of each generated class. */
  declare readonly _core: HeapCore
  /** The shape of the object. */
  declare readonly shape: AnyShape

  constructor(slot: number, owner: HandleOwner) {
    this._slot = slot
    this._owner = owner
  }

  /** The raw Ref, valid until the next safepoint. */
  get ref(): Ref {
    return refOf(this)
  }
  /** Whether it may be used (inside run). */
  get alive(): boolean {
    return !this._core.closed && this._owner.open
  }
  /** This handle typed by `shape`. Throws ERR_WRONG_SHAPE if the object has another one. */
  as<S>(shape: Shape<S>): ObjectHandle<S>
  as<K extends SlotKind>(shape: ArrayShape<K>): ArrayHandle<K>
  as(shape: { readonly name: string }): unknown {
    if ((this.shape as unknown) === shape) return this
    throw notOfShape(this, shape)
  }
  /** Whether both are handles of the same object. */
  is(other: Handle | null | undefined): boolean {
    return other instanceof Handle && this._core === other._core && refOf(this) === refOf(other)
  }
  /** Generic read: a slot by name, or an array element by index. */
  get(slot: string | number): HandleValue {
    throw new HeapError('ERR_INTERNAL', `get(${show(slot)}) of a handle without a shape`)
  }
  /** Generic write. */
  set(slot: string | number, _value: HandleValue): void {
    throw new HeapError('ERR_INTERNAL', `set(${show(slot)}) of a handle without a shape`)
  }
}

showAs(Handle, showHandle)

// A class cannot have an accessor `constructor`.
type Reserved = keyof Handle | 'constructor'
type Untyped = Omit<Handle, 'get' | 'set'>
/** A handle of an object of `Shape<S>`: one property per slot (a slot named like a member of Handle is read by `get`). */
export type ObjectHandle<S> = Untyped & { -readonly [K in Exclude<keyof S, Reserved>]: SlotType<S[K]> } & {
  get<N extends keyof S>(slot: N): SlotType<S[N]>
  set<N extends keyof S>(slot: N, value: SlotType<S[N]>): void
}
/** A handle of an array. Indices are checked. */
export type ArrayHandle<K extends SlotKind> = Untyped & {
  /** Elements. */
  readonly length: number
  get(index: number): SlotType<K>
  set(index: number, value: SlotType<K>): void
  /** Copies `count` elements of `source`, from index `from` on, to index `at` of this array on: see {@link Mutator.copyElements}. */
  copyElements(at: number, source: ArrayHandle<K>, from: number, count: number): void
  /** A copy of all elements. */
  toArray(): SlotType<K>[]
}
/** Initial slots of `scope.new`. */
export type ObjectInit<S> = { readonly [K in keyof S]?: SlotType<S[K]> }

/** Makes a handle, of the class of one shape, that refers to what root slot `slot` does and lives as long as `owner`. */
export type HandleMaker = (slot: number, owner: HandleOwner) => Handle
type HandleClass = new (slot: number, owner: HandleOwner) => Handle

/** The object's address now; the check of every handle operation. */
export function refOf(handle: Handle): Ref {
  const core = handle._core
  const ref = core.running && handle._owner.open ? core.views.rootsI32[handle._slot] : 0
  if (ref === 0) throw whyDead(handle)
  if (core.checked !== null) core.checked.checkObject(ref as Ref, 'a handle')
  return ref as Ref
}

function notOfShape({ _core: core, shape: has }: Handle, wanted: unknown): HeapError {
  if (!(wanted instanceof Shape || wanted instanceof ArrayShape)) {
    return new HeapError('ERR_WRONG_SHAPE', `a handle is typed by a shape; got ${show(wanted)}`)
  }
  const known = core.shapes.byId(wanted.id) === (wanted as unknown)
  return new HeapError(
    'ERR_WRONG_SHAPE',
    known
      ? `the object is a '${has.name}', not a '${wanted.name}'`
      : `the object is a '${has.name}', and the given '${wanted.name}' is a shape of another heap: ` +
          'give the one that defineShape or defineArray of this heap returned',
  )
}

function whyDead(handle: Handle): Error {
  try {
    // By its owner perhaps, while this thread runs.
    handle._core.checkOpen()
    handle._core.checkRunning('a handle')
  } catch (error) {
    return error as Error
  }
  return new HeapError(
    'ERR_HANDLE_DEAD',
    `this handle of a '${handle.shape.name}' is dead: its scope has ended or its global was released. ` +
      'Handles end with their scope; keep longer ones with heap.global(handle)',
  )
}

/** Throws unless `value` is a handle of `core`'s heap. */
export function checkHandle(core: HeapCore, value: unknown, what: string): asserts value is Handle {
  if (!(value instanceof Handle)) throw new HeapError('ERR_BAD_VALUE', `${what} takes a handle; got ${show(value)}`)
  if (value._core === core) return
  throw new HeapError(
    'ERR_FOREIGN_HANDLE',
    `${what} got a handle of another heap: references do not cross heaps, copy the data instead`,
  )
}

/** The Ref that storing `value` into a ref slot of `core`'s heap stores. */
function refToStore(core: HeapCore, value: unknown, what: string): number {
  if (value === null) return 0
  if (!(value instanceof Handle)) {
    const remedy = typeof value === 'number' ? ': scope.handle(ref) makes one of a Ref' : ''
    throw new HeapError('ERR_BAD_VALUE', `${what} takes a handle or null; got ${show(value)}${remedy}`)
  }
  checkHandle(core, value, what)
  return refOf(value)
}

/** Makes a handle of a reference, in the innermost scope; supplied by the scopes. */
type WrapRef = (ref: number) => Handle

/** Everything a generated handle class closes over. */
interface HandleEnvironment {
  readonly core: HeapCore
  readonly Handle: typeof Handle
  readonly shape: AnyShape
  /** Throws the right error of a handle that failed its fast check. */
  readonly fail: (handle: Handle) => never
  readonly wrap: WrapRef
  /** `at`: the name of the slot, or the index of the element. */
  readonly refToStore: (value: unknown, at: unknown) => number
  readonly readValue: (index: number) => HandleValue
  /** Leaves in `encoded` what a value slot takes of what is no number. */
  readonly encodeValue: (value: HandleValue) => void
  readonly encoded: typeof encoded
  readonly storeTagged: (word: number, tag: number, payload: number) => void
  readonly badNumber: (at: unknown, kind: string, value: unknown) => never
  readonly noSlot: (slot: unknown) => never
  readonly badIndex: (index: unknown, length: number) => never
  readonly checkObject: (ref: number) => void
  readonly copyElements: (target: Handle, at: number, source: unknown, from: number, count: number) => void
}

/** The condition under which a number does not fit into a slot of this kind. */
const MISFIT: { readonly [kind: string]: string } = {
  // The type first: a BigInt in such an expression is an error of its own.
  f64: `typeof v !== 'number'`,
  i32: `typeof v !== 'number' || v !== (v | 0)`,
  u32: `typeof v !== 'number' || v !== (v >>> 0)`,
  u16: `typeof v !== 'number' || v !== (v & 0xffff)`,
  u8: `typeof v !== 'number' || v !== (v & 0xff)`,
}

/** Text that reads the slot of kind `kind` at JS expression `at` (units of its view) of the object `ref`. */
function readText(kind: SlotKind, at: string): string {
  switch (kind) {
    case 'ref':
      return `const r = i32[ref + ${at}]; return r === 0 ? null : wrap(r)`
    case 'value':
      return `return readValue((ref >>> 1) + ${at})`
    case 'f64':
      return `return f64[(ref >>> 1) + ${at}]`
    case 'u16':
      return `return u16[ref * 2 + ${at}]`
    case 'u8':
      // ref * 4, not ref << 2: the heap buffer may be longer than 2 GiB.
      return `return u8[ref * 4 + ${at}]`
    default:
      return `return ${kind}[ref + ${at}]`
  }
}

/** Text that stores `v`, already checked by {@link checkText}. */
function writeText(kind: SlotKind, at: string): string {
  switch (kind) {
    case 'ref':
      return `const s = ref + ${at}; i32[s] = r; cards[s >>> ${CARD_SHIFT}] = 1`
    case 'value':
      return `if (tag === 0) f64[(ref >>> 1) + ${at}] = v === v ? v : NaN
    else storeTagged(ref + 2 * (${at}), tag, payload)`
    case 'f64':
      return `f64[(ref >>> 1) + ${at}] = v`
    case 'u16':
      return `u16[ref * 2 + ${at}] = v`
    case 'u8':
      return `u8[ref * 4 + ${at}] = v`
    default:
      return `${kind}[ref + ${at}] = v`
  }
}
/** `at`: text of what tells the slot, its name or index. */
function checkText(kind: SlotKind, at: string): string {
  if (kind === 'ref') {
    return `let r = 0
    if (v !== null) {
      if (v !== undefined && v._core === core && v._owner.open === true) r = rootsI32[v._slot]
      if (r === 0) r = refToStore(v, ${at})
    }`
  }
  if (kind === 'value') {
    // Before the object is looked up: to see what `v` is may be to run the program's code, and move the object.
    return `let tag = 0, payload = 0
    if (typeof v !== 'number') {
      encodeValue(v)
      tag = encoded.tag
      payload = encoded.payload
    }`
  }
  return `if (${MISFIT[kind]}) badNumber(${at}, '${kind}', v)`
}

/** What a handle has that is not on Handle's prototype. */
const OWN_FIELDS: ReadonlySet<string> = new Set(['_slot', '_owner', '_core', 'shape'])

function fixedText(shape: Shape<SlotTable>, prologue: string): string {
  const parts: string[] = []
  const gets: string[] = []
  const sets: string[] = []
  for (const [name, kind] of Object.entries(shape.slots)) {
    const at = String(shape.at[name])
    const read = `${prologue} ${readText(kind, at)}`
    const write = `${checkText(kind, JSON.stringify(name))}; ${prologue} ${writeText(kind, at)}`
    if (!(Object.hasOwn(Handle.prototype, name) || OWN_FIELDS.has(name))) {
      parts.push(`get ${name}() { ${read} }`, `set ${name}(v) { ${write} }`)
    }
    gets.push(`case ${JSON.stringify(name)}: { ${read} }`)
    sets.push(`case ${JSON.stringify(name)}: { ${write}; return }`)
  }
  parts.push(`get(slot) { switch (slot) { ${gets.join('\n')} } return noSlot(slot) }`)
  parts.push(`set(slot, v) { switch (slot) { ${sets.join('\n')} } noSlot(slot) }`)
  return parts.join('\n  ')
}

function arrayText(shape: ArrayShape, prologue: string): string {
  const at = `${shape.elementsAt} + i`
  const bounds = `const n = i32[ref + 1] >>> ${FLAG_BITS}; if (typeof i !== 'number' || i !== i >>> 0 || i >= n) badIndex(i, n);`
  return `get length() { ${prologue} return i32[ref + 1] >>> ${FLAG_BITS} }
  get(i) { ${prologue} ${bounds} ${readText(shape.kind, at)} }
  set(i, v) { ${checkText(shape.kind, 'i')}; ${prologue} ${bounds} ${writeText(shape.kind, at)} }
  copyElements(at, source, from, count) { copyElements(this, at, source, from, count) }
  toArray() { return Array.from({ length: this.length }, (_, i) => this.get(i)) }`
}

/**
 * The handle class of a shape in one heap, and what makes handles of it. Called inside run (the mutator's index is known).
 * A maker and not the class: to whoever makes handles of many shapes, `new` of a class that the JIT does not know costs 40 ns, the call
 * of a maker 22.
 */
export function generateHandles(core: HeapCore, shape: AnyShape, wrap: WrapRef): HandleMaker {
  const { i32, f64, cards } = core.views
  const prologue = `const ref = rootsI32[this._slot];
    if (ref === 0 || this._owner.open !== true || control[${core.runningIndex}] !== 1) fail(this);
    ${core.checked === null ? '' : 'checkObject(ref);'}`
  const describe = (at: unknown): string =>
    `${shape.array ? `element ${show(at)}` : `'${String(at)}'`} of '${shape.name}'`
  const valueSlot = `a value slot of '${shape.name}'`
  const environment: HandleEnvironment = {
    core,
    Handle,
    shape,
    wrap,
    fail(handle) {
      throw whyDead(handle)
    },
    refToStore: (value, at) => refToStore(core, value, describe(at)),
    readValue(index) {
      if (i32[2 * index + 1] === Tag.Ref) return wrap(i32[2 * index])
      return readValue(i32, f64, index) as HandleValue
    },
    encodeValue(value) {
      if (!(value instanceof Handle)) {
        encode(value)
        if (encoded.tag !== Tag.Ref) return
        throw new HeapError(
          'ERR_BAD_VALUE',
          `a reference goes into ${valueSlot} as a handle; got a Tagged with Tag.Ref: ` +
            'scope.handle(ref) makes a handle of it',
        )
      }
      const ref = refToStore(core, value, valueSlot)
      encoded.tag = Tag.Ref
      encoded.payload = ref
    },
    encoded,
    storeTagged: (word, tag, payload) => writeEncoded(i32, f64, cards, word, tag, payload),
    badNumber(at, kind, value) {
      const range =
        kind === 'f64' ? 'a number' : `a whole number that fits into ${SLOT_BYTES[kind as SlotKind] * 8} bits (${kind})`
      throw new HeapError('ERR_BAD_VALUE', `${describe(at)} takes ${range}; got ${show(value)}`)
    },
    noSlot(slot) {
      const names = shape.array ? [] : Object.keys(shape.slots)
      const near = typeof slot === 'string' ? suggest(slot, names) : undefined
      const has = shape.array
        ? ': elements are read by get(index) and written by set(index, value)'
        : `; it has ${names.join(', ')}`
      throw new HeapError(
        'ERR_BOUNDS',
        `'${shape.name}' has no slot ${show(slot)}${near ? `: did you mean '${near}'?` : has}`,
      )
    },
    badIndex(index, length) {
      throw noElement(shape, index, length)
    },
    checkObject: (ref) => core.checked?.checkObject(ref as Ref, `a handle of '${shape.name}'`),
    copyElements(target, at, source, from, count) {
      checkHandle(core, source, 'copyElements')
      copyElements(core, refOf(target), at, refOf(source), from, count)
    },
  }
  const generate = new Function(
    'environment',
    'views',
    `"use strict"
  // heap ${core.id}, shape ${shape.id}
  const { core, Handle, fail, wrap, refToStore, readValue, encodeValue, encoded, storeTagged, badNumber, noSlot, badIndex, checkObject, copyElements } = environment
  const i32 = views.i32, u32 = views.u32, f64 = views.f64, u16 = views.u16, u8 = views.u8
  const rootsI32 = views.rootsI32, control = views.control, cards = views.cards
  class ${className(shape)} extends Handle {
  // Not left to the language: what it puts in its place passes any number of arguments on.
  constructor(slot, owner) { super(slot, owner) }
  ${shape.array ? arrayText(shape, prologue) : fixedText(shape, prologue)}
  }
  return { type: ${className(shape)}, make: (slot, owner) => new ${className(shape)}(slot, owner) }`,
  ) as (environment: HandleEnvironment, views: HeapCore['views']) => { type: HandleClass; make: HandleMaker }
  const { type, make } = generate(environment, core.views)
  Object.defineProperties(type.prototype, {
    _core: { value: core },
    shape: { value: shape, enumerable: true },
  })
  if (core.checked !== null) refuseOtherProperties(type, shape, environment.noSlot)
  return make
}

/** In DevTools and stack traces. */
function className({ name }: AnyShape): string {
  return /^[A-Za-z_$][\w$]*$/.test(name) ? `${name}_Handle` : 'ShapeHandle'
}

/** For checked heaps. Elsewhere a store to what is no property of a slot makes one of the handle alone, which is lost with it. */
function refuseOtherProperties(type: HandleClass, shape: AnyShape, noSlot: HandleEnvironment['noSlot']): void {
  const refuse = (name: string): never => {
    const isSlot = !shape.array && Object.hasOwn(shape.slots, name)
    if (!isSlot && !(name in Handle.prototype)) noSlot(name)
    throw new HeapError(
      'ERR_BOUNDS',
      `'${name}' is a member of every handle, which cannot be set${isSlot ? `: the slot is stored by set('${name}', value)` : ''}`,
    )
  }
  for (const name of Object.getOwnPropertyNames(type.prototype)) {
    const { value } = Object.getOwnPropertyDescriptor(type.prototype, name) as PropertyDescriptor
    if (typeof value === 'function') {
      Object.defineProperty(type.prototype, name, { get: () => value as unknown, set: () => refuse(name) })
    }
  }
  // A prototype sees stores to properties that nothing before it in the chain has.
  const guard = new Proxy(Object.create(Handle.prototype) as object, {
    set(target, name, value, handle) {
      if (typeof name === 'string' && !OWN_FIELDS.has(name)) refuse(name)
      return Reflect.set(target, name, value, handle)
    },
  })
  Object.setPrototypeOf(type.prototype, guard)
}
