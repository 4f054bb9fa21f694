// What console.log, test reports and debuggers show of a heap and of a handle, whose object is shown as it is now. No handle is made
// for that, and no safepoint met.

import { inspect as nodeInspect, type InspectOptions } from 'node:util'
import { HeapError } from './errors.js'
import type { HeapCore } from './heap-core.js'
import { FLAG_BITS, Tag } from './layout.js'
import { SLOT_BYTES, type AnyShape, type SlotKind } from './shapes.js'
import { readValue, Tagged, type Ref } from './values.js'

/** The name under which Node looks for a method that says how to show an object. */
const INSPECT = Symbol.for('nodejs.util.inspect.custom')
type Inspect = (value: unknown, options: InspectOptions) => string

/** How objects of a class are shown. Not a member in the class's text: it is none of the API. */
export function showAs<T>(
  type: abstract new (...args: never[]) => T,
  show: (value: T, options: InspectOptions, inspect: Inspect) => string,
): void {
  Object.defineProperty(type.prototype, INSPECT, {
    // Node gives `inspect`; chai, which asks in the same way, does not.
    value(this: T, _depth: number, options: InspectOptions, inspect: Inspect = nodeInspect) {
      return show(this, options, inspect)
    },
  })
}

/**
 * For test runners, which copy the two sides of a failed assertion: they leave what has a tag of its own as it is. In a copy, without
 * private fields, each accessor would throw an error of its own.
 */
export function tag(type: abstract new (...args: never[]) => object): void {
  Object.defineProperty(type.prototype, Symbol.toStringTag, {
    get(this: object) {
      return this.constructor.name
    },
  })
}

/**
 * Properties that whoever walks an object does not come to: a failing assertion compares, copies and prints what it finds, and of
 * the views that would be every word of the heap. The class declares them only: to change a field makes the object a slow one.
 */
export function hide<T extends object, K extends keyof T>(object: T, properties: Pick<T, K>): void {
  for (const [name, value] of Object.entries(properties)) Object.defineProperty(object, name, { value })
}

const MOST_ELEMENTS = 100

/** Text that is shown as it is. */
class Verbatim {
  readonly #text: string
  constructor(text: string) {
    this.#text = text
  }
  [INSPECT](): string {
    return this.#text
  }
}

/** What `read` returns, or what it says of a damaged object: to show it is to look for the damage. */
function readable<T>(read: () => T): T | Verbatim {
  try {
    return read()
  } catch (error) {
    if (!(error instanceof HeapError)) throw error
    return new Verbatim(`<${error.message}>`)
  }
}

/** What is shown of a handle. */
interface Shown {
  readonly shape: AnyShape
  readonly alive: boolean
  readonly ref: Ref
  readonly _core: HeapCore
}

export function showHandle(handle: Shown, options: InspectOptions, inspect: Inspect): string {
  const { shape, _core: core } = handle
  if (!handle.alive) return `[${shape.name}, a dead handle]`
  if (!core.running) return `[${shape.name}, seen from outside run]`
  const ref = readable(() => handle.ref)
  if (ref instanceof Verbatim) return `[${shape.name}, ${inspect(ref, options)}]`
  const { i32, u32, f64, u16, u8 } = core.views
  const named = (target: Ref): Verbatim => new Verbatim(`<${core.shapes.byId(i32[target])?.name ?? 'no object'}>`)
  const slot = (kind: SlotKind, at: number): unknown => {
    switch (kind) {
      case 'ref':
        return i32[ref + at] === 0 ? null : named(i32[ref + at] as Ref)
      case 'value': {
        const value = readable(() => readValue(i32, f64, (ref >>> 1) + at))
        return value instanceof Tagged && value.tag === Tag.Ref ? named(value.payload as Ref) : value
      }
      case 'f64':
        return f64[(ref >>> 1) + at]
      default:
        return { i32, u32, u16, u8 }[kind][(ref * 4) / SLOT_BYTES[kind] + at]
    }
  }
  if (!shape.array) {
    const slots = Object.entries(shape.slots).map(([name, kind]) => [name, slot(kind, shape.at[name])])
    return `${shape.name} ${inspect(Object.fromEntries(slots), options)}`
  }
  const length = i32[ref + 1] >>> FLAG_BITS
  const elements = Array.from({ length: Math.min(length, MOST_ELEMENTS) }, (_, i) =>
    slot(shape.kind, shape.elementsAt + i),
  )
  if (length > MOST_ELEMENTS) elements.push(new Verbatim(`… ${length - MOST_ELEMENTS} more`))
  return `${shape.name}(${length}) ${inspect(elements, { ...options, maxArrayLength: null })}`
}
