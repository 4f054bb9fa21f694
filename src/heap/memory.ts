// The memory of one heap as the mutator sees it: two buffers, the offsets in them, and views.
//
// Native memory comes from NativeHeap; portable memory is two ordinary ArrayBuffers, which the operating system commits
// page by page, so address space costs nothing until it is used. Geometry of portable memory:
//
//   heap buffer     [0, P) pointer-free large objects   [P, P + M) moving space →   ← large objects with references
//   control buffer  [root region][control words, page-aligned][cards][root cards]
//
// The byte budget (maxBytes) is counted by the collector; the buffers are larger, so that neither fragmentation of
// large objects nor the fresh windows of checked heaps run out of addresses first.

import { HeapError } from './errors.js'
import {
  CARD_SHIFT,
  CONTROL_WORDS,
  MAGIC,
  MAX_MUTATORS,
  FIRST_SHAPE,
  MutatorWord,
  PAGE_BYTES,
  Word,
  mutatorBlock,
} from './layout.js'
import { showSize } from './options.js'

/** The two buffers and where things lie in the second; the same fields as NativeHeap has. */
export interface HeapMemory {
  readonly heapBuffer: ArrayBuffer
  readonly controlBuffer: ArrayBuffer
  /** Bytes of the root region, which is the start of the control buffer. */
  readonly rootBytes: number
  readonly controlOffset: number
  readonly cardsOffset: number
  readonly rootCardsOffset: number
}

/** Every view a mutator or a collector needs, made once per isolate. */
export interface Views {
  readonly i32: Int32Array
  readonly u32: Uint32Array
  readonly f64: Float64Array
  readonly u16: Uint16Array
  readonly u8: Uint8Array
  readonly cards: Uint8Array
  readonly rootsI32: Int32Array
  readonly rootsF64: Float64Array
  readonly rootCards: Uint8Array
  readonly control: Int32Array
}

export function viewsOf(memory: HeapMemory): Views {
  const { heapBuffer, controlBuffer, rootBytes, controlOffset, cardsOffset, rootCardsOffset } = memory
  return {
    i32: new Int32Array(heapBuffer),
    u32: new Uint32Array(heapBuffer),
    f64: new Float64Array(heapBuffer),
    u16: new Uint16Array(heapBuffer),
    u8: new Uint8Array(heapBuffer),
    cards: new Uint8Array(controlBuffer, cardsOffset, cardBytes(heapBuffer.byteLength)),
    rootsI32: new Int32Array(controlBuffer, 0, rootBytes / 4),
    rootsF64: new Float64Array(controlBuffer, 0, rootBytes / 8),
    rootCards: new Uint8Array(controlBuffer, rootCardsOffset, cardBytes(rootBytes)),
    control: new Int32Array(controlBuffer, controlOffset, CONTROL_WORDS),
  }
}

const cardBytes = (bytes: number): number => Math.ceil(bytes / 4 / (1 << CARD_SHIFT))
export const roundUp = (value: number, unit: number): number => Math.ceil(value / unit) * unit

/** Word ranges of the portable heap buffer. */
export interface PortableGeometry {
  /** First word of pointer-free large objects (after the page that holds Ref 0). */
  readonly pointerFreeStart: number
  /** First word of the moving space, end of the pointer-free space. */
  readonly movingStart: number
  readonly end: number
}

export interface PortableMemory extends HeapMemory {
  readonly geometry: PortableGeometry
}

const GiB = 2 ** 30
/** No heap is smaller (options.ts). */
const LEAST_BYTES = 2 ** 20

/** Reserves portable memory for a budget of `maxBytes`. Checked heaps get three windows instead of two. */
export function createPortableMemory(maxBytes: number, maxRootBytes: number, checked: boolean): PortableMemory {
  // A pointer-free array as long as the whole budget must fit, plus the reserved first page.
  let pointerFree = roundUp(maxBytes, PAGE_BYTES) + PAGE_BYTES
  let moving = roundUp(maxBytes, PAGE_BYTES) * (checked ? 3 : 2)
  if (pointerFree + moving > 2 * GiB) moving = Math.max(2 * GiB - pointerFree, roundUp(maxBytes, PAGE_BYTES))
  if (pointerFree + moving > 4 * GiB) {
    // No view index may reach past 4 GiB (Node 20's longest buffer): the two spaces share what there is, and large objects
    // that their own space has no room for go to the other.
    moving = Math.min(moving, 3 * GiB)
    pointerFree = 4 * GiB - moving
  }
  const rootBytes = roundUp(maxRootBytes, PAGE_BYTES)
  const controlOffset = rootBytes
  const cardsOffset = controlOffset + roundUp(CONTROL_WORDS * 4, PAGE_BYTES)
  const rootCardsOffset = cardsOffset + roundUp(cardBytes(pointerFree + moving), PAGE_BYTES)
  const controlBytes = rootCardsOffset + roundUp(cardBytes(rootBytes), PAGE_BYTES)
  let heapBuffer: ArrayBuffer
  let controlBuffer: ArrayBuffer
  try {
    heapBuffer = new ArrayBuffer(pointerFree + moving)
    controlBuffer = new ArrayBuffer(controlBytes)
  } catch (cause) {
    throw addressSpaceError(maxBytes, cause)
  }
  const memory: PortableMemory = {
    heapBuffer,
    controlBuffer,
    rootBytes,
    controlOffset,
    cardsOffset,
    rootCardsOffset,
    geometry: {
      pointerFreeStart: PAGE_BYTES / 4,
      movingStart: pointerFree / 4,
      end: (pointerFree + moving) / 4,
    },
  }
  initialiseControl(new Int32Array(controlBuffer, controlOffset, CONTROL_WORDS))
  return memory
}

/** The system has no address space for a portable heap of `maxBytes`. */
function addressSpaceError(maxBytes: number, cause: unknown): HeapError {
  return new HeapError(
    'ERR_ADDRESS_SPACE',
    `could not reserve the address space for maxBytes = ${showSize(maxBytes)}, which is several times as much: ` +
      `${maxBytes > LEAST_BYTES ? 'ask for a smaller heap, ' : ''}close other heaps, or raise ulimit -v`,
    { cause },
  )
}

function initialiseControl(control: Int32Array): void {
  control[Word.Magic] = MAGIC
  control[Word.ShapeCount] = FIRST_SHAPE
  for (let i = 0; i < MAX_MUTATORS; i++) {
    control[mutatorBlock(i) + MutatorWord.StackLimitArea] = -1
  }
}
