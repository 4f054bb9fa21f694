// Bytes and text between the heap and ordinary JavaScript memory.
//
// Heap memory is never handed to a system call (a page that has not arrived yet makes the kernel return EFAULT), so
// what leaves the process leaves through a copy. Inside run only. Nothing here keeps a Ref across an allocation.

import { constants } from 'node:buffer'
import { types } from 'node:util'
import type { Allocation } from './allocation.js'
import { HeapError, show } from './errors.js'
import type { HeapCore } from './heap-core.js'
import { FLAG_BITS, GRANULE_BYTES } from './layout.js'
import { shapeAt } from './objects.js'
import { SLOT_BYTES, type AnyShape, type ArrayShape, type SlotKind } from './shapes.js'
import type { Ref } from './values.js'

/** Byte range of the payload of the object at `ref`. */
function payload(core: HeapCore, ref: Ref, what: string): { shape: AnyShape; start: number; bytes: number } {
  core.checkRunning(what)
  const shape = shapeAt(core, ref, what)
  const { i32 } = core.views
  const bytes = shape.array
    ? (i32[ref + 1] >>> FLAG_BITS) * SLOT_BYTES[shape.kind]
    : (shape.granules - 1) * GRANULE_BYTES
  return { shape, start: ref * 4 + GRANULE_BYTES, bytes }
}

/** Anything else would be copied number by number, or as nothing. Buffers are Uint8Arrays, also those of other realms. */
function checkBytes(bytes: unknown, what: string): void {
  if (types.isUint8Array(bytes)) {
    if (lengthOf(bytes) > 0 || !isDetached(bytes)) return
    throw new HeapError('ERR_BAD_VALUE', `${what} a Uint8Array of bytes; the buffer of this one was transferred away`)
  }
  const remedy = ArrayBuffer.isView(bytes)
    ? ': give new Uint8Array(view.buffer, view.byteOffset, view.byteLength)'
    : Array.isArray(bytes)
      ? ': give Uint8Array.from(array)'
      : typeof bytes === 'object' && bytes !== null
        ? ': give new Uint8Array(buffer)'
        : ''
  throw new HeapError('ERR_BAD_VALUE', `${what} a Uint8Array of bytes; got ${show(bytes)}${remedy}`)
}

/** As the engine knows it, whatever a subclass says. */
const intrinsic = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), 'length') as {
  get(): number
}
const lengthOf = (bytes: Uint8Array): number => intrinsic.get.call(bytes)

/** Of an empty one: neither can be told by its length. */
function isDetached({ buffer }: Uint8Array): boolean {
  try {
    return new Uint8Array(buffer).length < 0
  } catch {
    return true
  }
}

/** Copies the payload of `ref` to the start of `target`, or into a new array; returns the filled part. */
export function copyOut(core: HeapCore, ref: Ref, target?: Uint8Array): Uint8Array {
  const { start, bytes } = payload(core, ref, 'copyOut')
  if (target === undefined) return core.views.u8.slice(start, start + bytes)
  checkBytes(target, 'copyOut copies into')
  if (lengthOf(target) < bytes) {
    throw new HeapError(
      'ERR_BOUNDS',
      `copyOut of ${bytes} bytes into ${lengthOf(target)}: the target holds the whole payload; give a longer one, or none`,
    )
  }
  // Not target.set, which may be the program's own: a view of heap memory is none of its business.
  Uint8Array.prototype.set.call(target, core.views.u8.subarray(start, start + bytes))
  return target.subarray(0, bytes)
}

/** Copies `source` to the start of the payload of an object without references. */
export function copyIn(core: HeapCore, ref: Ref, source: Uint8Array): void {
  const { shape, start, bytes } = payload(core, ref, 'copyIn')
  const kinds = shape.array ? [shape.kind] : Object.values(shape.slots)
  if (kinds.some((kind) => kind === 'ref' || kind === 'value')) {
    throw new HeapError(
      'ERR_WRONG_SHAPE',
      `copyIn writes raw bytes, and '${shape.name}' holds references: use the setters, which keep the write barrier`,
    )
  }
  checkBytes(source, 'copyIn takes')
  if (lengthOf(source) > bytes) {
    throw new HeapError(
      'ERR_BOUNDS',
      `copyIn of ${lengthOf(source)} bytes into a payload of ${bytes}: give source.subarray(0, ${bytes}), or a longer array`,
    )
  }
  core.views.u8.set(source, start)
}

// Node copies text out of a Buffer three times faster than a typed array can be decoded in JavaScript (60 characters: 75
// against 260 ns), in user space, lone surrogates and malformed UTF-8 treated as below. Positions beyond 2 GiB are not left to
// it, nor the length of what it writes: without one it takes what is left of the buffer, and of 2 GiB and more makes nothing.
const buffers = new WeakMap<ArrayBufferLike, Buffer>()
const BUFFER_END = 2 ** 31
function bufferOf(core: HeapCore): Buffer {
  const memory = core.views.u8.buffer
  let buffer = buffers.get(memory)
  if (buffer === undefined) buffers.set(memory, (buffer = Buffer.from(memory)))
  return buffer
}

/** Characters that are stored one by one in less time than a call of Node's takes. */
const SHORT = 24
function isAscii(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 0x7f) return false
  return true
}

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { ignoreBOM: true })

/** A new text array: UTF-8 for u8, UTF-16 code units for u16 (lossless, lone surrogates included). */
export function newString(
  core: HeapCore,
  allocation: Allocation,
  shape: ArrayShape<'u8'> | ArrayShape<'u16'>,
  text: string,
): Ref {
  if (typeof text !== 'string') throw new HeapError('ERR_BAD_VALUE', `newString takes a string; got ${show(text)}`)
  const kind = (shape as { readonly kind?: SlotKind } | undefined)?.kind
  if (kind === 'u8') {
    if (text.length <= SHORT && isAscii(text)) {
      const ref = allocation.allocArray(shape, text.length)
      const { u8 } = core.views
      const start = ref * 4 + GRANULE_BYTES
      for (let i = 0; i < text.length; i++) u8[start + i] = text.charCodeAt(i)
      return ref
    }
    const bytes = Buffer.byteLength(text)
    const ref = allocation.allocArray(shape, bytes)
    const start = ref * 4 + GRANULE_BYTES
    if (start + bytes < BUFFER_END) bufferOf(core).write(text, start, bytes, 'utf8')
    else core.views.u8.set(encoder.encode(text), start)
    return ref
  }
  if (kind === 'u16') {
    const ref = allocation.allocArray(shape, text.length)
    const start = ref * 4 + GRANULE_BYTES
    if (text.length > SHORT && start + 2 * text.length < BUFFER_END) {
      bufferOf(core).write(text, start, 2 * text.length, 'utf16le')
    } else {
      const { u16 } = core.views
      for (let i = 0; i < text.length; i++) u16[start / 2 + i] = text.charCodeAt(i)
    }
    return ref
  }
  throw notText('newString', (shape as AnyShape | undefined)?.name ?? show(shape))
}

export function readString(core: HeapCore, ref: Ref): string {
  const { shape, start, bytes } = payload(core, ref, 'readString')
  try {
    return decoded(core, shape, start, bytes)
  } catch (error) {
    if (bytes < constants.MAX_STRING_LENGTH || error instanceof HeapError) throw error
    throw new HeapError(
      'ERR_BOUNDS',
      `readString: ${bytes} bytes of a '${shape.name}' are more than a string of JavaScript can hold ` +
        `(${constants.MAX_STRING_LENGTH} characters): copy it out with m.copyOut, and decode it in pieces`,
    )
  }
}

function decoded(core: HeapCore, shape: AnyShape, start: number, bytes: number): string {
  const end = start + bytes
  if (shape.array && shape.kind === 'u8') {
    if (end < BUFFER_END) return bufferOf(core).toString('utf8', start, end)
    return decoder.decode(core.views.u8.subarray(start, end))
  }
  if (shape.array && shape.kind === 'u16') {
    const { u16 } = core.views
    if (bytes <= 2) return bytes === 0 ? '' : String.fromCharCode(u16[start / 2])
    if (end < BUFFER_END) return bufferOf(core).toString('utf16le', start, end)
    let text = ''
    for (let i = start / 2; i < end / 2; i += 4096) {
      // apply, not spread: six times faster over a typed array.
      text += String.fromCharCode.apply(null, u16.subarray(i, Math.min(i + 4096, end / 2)) as unknown as number[])
    }
    return text
  }
  throw notText('readString', shape.name)
}

function notText(what: string, name: string): HeapError {
  return new HeapError('ERR_WRONG_SHAPE', `${what} is for arrays of u8 (UTF-8) or u16 (UTF-16); '${name}' is neither`)
}
