// Where everything lies in a heap's memory: the TypeScript half of ARCHITECTURE.md ("Memory of one heap").
//
// These are facts shared with native/core/memory/layout.h, not tunables; a test compares the two. Word indices are into the
// Int32 view of the control words unless the comment says otherwise. Nothing here has state.

/** A granule is 8 bytes: objects start on one and are whole numbers of them. */
export const GRANULE_BYTES = 8
/** 32-bit words of the object header; the payload starts right after. */
export const HEADER_WORDS = 2
export const PAGE_BYTES = 4096
/** Objects of this many bytes and more are large: page-aligned and never moved. */
export const LARGE_BYTES = 32 * 1024
/** Longest fixed object, header included. */
export const MAX_FIXED_BYTES = LARGE_BYTES - GRANULE_BYTES
/** Most that `m.reserve` promises at a time: what every collector has room for in a TLAB. */
export const MAX_RESERVED_BYTES = 8 * 1024
export const MAX_ARRAY_LENGTH = 2 ** 30 - 1

/** `cards[slotWordIndex >>> CARD_SHIFT] = 1` after a reference store; likewise `rootCards` for table areas. */
export const CARD_SHIFT = 8
/** Bits of word 1 below the array length or the identity hash. */
export const FLAG_BITS = 2

export const MAGIC = 0x676c6973

/** Heap-wide control words. */
export const Word = {
  Magic: 0,
  /** 0 open, 1 closed. */
  HeapState: 1,
  Phase: 2,
  /** Number of flips: anything may have moved when it changes. */
  Epoch: 3,
  Cycles: 4,
  /** The next free shape id. */
  ShapeCount: 5,
  SlotMapLength: 6,
  AreaCount: 7,
  /** Always 0: the running word of a thread that is no mutator of the heap. */
  Never: 8,
} as const

export const MUTATOR_BASE = 64
export const MUTATOR_WORDS = 64
export const MAX_MUTATORS = 64
/** Offsets in a mutator block. */
export const MutatorWord = {
  /** Nonzero: take the slow path. */
  Poll: 0,
  /** Ref of the next free word of the TLAB; the mutator bumps it. */
  TlabTop: 1,
  /** 0 while parked or when a stop is requested. */
  TlabLimit: 2,
  /** One of {@link Running}. */
  Running: 3,
  /** Slots; −1 when a stop is requested. One compare is overflow check and poll. */
  StackLimit: 4,
  StackLimitRestore: 5,
  /** Index of the root area that the stack limit belongs to, −1 for none. */
  StackLimitArea: 6,
  /** What Poll is while nobody asks for a stop: 1 where every poll is to be taken (stress). */
  PollRestore: 7,
  /** Up to here allocations in the TLAB are no safepoints; 0: nothing is reserved. */
  ReservedEnd: 8,
  /** 1 while the thread inspects the heap, all others stopped: no safepoint may come. */
  Inspecting: 9,
} as const

/** Values of `MutatorWord.Running`. Parked: this thread has left `run` for a while, and will come back. */
export const Running = { Outside: 0, Inside: 1, Parked: 2 } as const

/** First word of mutator block `index`. */
export const mutatorBlock = (index: number): number => MUTATOR_BASE + index * MUTATOR_WORDS

export const AREA_BASE = MUTATOR_BASE + MUTATOR_WORDS * MAX_MUTATORS
export const AREA_WORDS = 8
export const MAX_AREAS = 256
/** Offsets in a root-area block. */
export const AreaWord = {
  Kind: 0,
  /** 32-bit-word index into the control buffer (whose first bytes are the root region). */
  Start: 1,
  /** Slots. */
  Capacity: 2,
  /** Slots: `[0, top)` are live. */
  Top: 3,
  /** Mutator index, −1: the heap's. */
  Owner: 4,
  /** Of a guarded table: how many objects have been handed over. Written by the collector. */
  Due: 5,
  /** … the ref table, of equal capacity, in whose slots they are handed over, in a ring. */
  DueArea: 6,
  /** Twice how often a stack or table that a program made here was freed, odd while one is: tells one that was from the next. */
  Frees: 7,
} as const

/** First word of the block of root area `area`. */
export const areaBlock = (area: number): number => AREA_BASE + area * AREA_WORDS

/** Kinds of root areas. */
export const AreaKind = {
  Free: 0,
  RefStack: 1,
  ValueStack: 2,
  RefTable: 3,
  ValueTable: 4,
  WeakRefTable: 5,
  GuardedTable: 6,
} as const
export type AreaKind = (typeof AreaKind)[keyof typeof AreaKind]
/** Whether slots of this kind of area do not keep what they refer to. */
export const isWeakArea = (kind: number): boolean => kind >= AreaKind.WeakRefTable
/** 32-bit words of a slot in an area of this kind. */
export const slotWords = (kind: number): 1 | 2 => (kind === AreaKind.ValueStack || kind === AreaKind.ValueTable ? 2 : 1)
/** Slots of a root area below its top, which generated code may have stored wrongly: never more than there are. */
export function liveSlots(control: Int32Array, area: number): number {
  const block = areaBlock(area)
  const capacity = control[block + AreaWord.Capacity]
  return Math.min(control[block + AreaWord.Top] >>> 0, capacity)
}

export const SHAPE_BASE = AREA_BASE + AREA_WORDS * MAX_AREAS
export const SHAPE_WORDS = 4
export const MAX_SHAPES = 65536
/** Offsets in a shape entry. */
export const ShapeWord = {
  Kind: 0,
  /** Fixed: granules with header. Array: log2 of the element size in bytes. */
  Size: 1,
  SlotStart: 2,
  SlotCount: 3,
  /** Array: which elements are weak, see {@link WeakElements}. */
  Weak: 3,
} as const
export const SLOT_MAP_BASE = SHAPE_BASE + SHAPE_WORDS * MAX_SHAPES
export const MAX_SLOT_MAP = 262144
export const CONTROL_WORDS = SLOT_MAP_BASE + MAX_SLOT_MAP

/** Kinds of shapes, as the collector knows them. */
export const ShapeKind = {
  Fixed: 1,
  ArrayRef: 2,
  ArrayValue: 3,
  ArrayF64: 4,
  ArrayI32: 5,
  ArrayU32: 6,
  ArrayU16: 7,
  ArrayU8: 8,
} as const

/** Which elements of an array of references are weak. Keys: the even ones, each the key of the odd one after it. */
export const WeakElements = { None: 0, Elements: 1, Keys: 2 } as const

/** Free memory: a walker takes it as "empty to the end of this TLAB". */
const FREE_SHAPE = 0
/** Dead space with a length: word 1 is granules << FLAG_BITS. */
export const FILLER_SHAPE = 1
export const FIRST_SHAPE = 2

/** The phases of a cycle, in order of execution. */
export const Phase = { Idle: 0, Mark: 1, Remark: 2, Reclaim: 3, Prepare: 4, Flip: 5, Compact: 6 } as const
export const PHASE_NAMES = ['idle', 'mark', 'remark', 'reclaim', 'prepare', 'flip', 'compact'] as const

/** High words of tagged values. As int32, the high word of any double in a value slot is below `First`. */
export const Tag = {
  First: 0x7ffd0000,
  Undefined: 0x7ffd0000,
  Nil: 0x7ffd0001,
  /** Low word 0 or 1. */
  Boolean: 0x7ffd0002,
  /** Low word: the 32-bit integer. */
  Int: 0x7ffd0003,
  /** The embedder's own tags, with 32 bits of payload each. */
  User0: 0x7ffd0004,
  User1: 0x7ffd0005,
  User2: 0x7ffd0006,
  User3: 0x7ffd0007,
  /** Low word: a Ref, never 0. */
  Ref: 0x7ffe0000,
} as const

/** One of the embedder's tags. */
export type UserTag = typeof Tag.User0 | typeof Tag.User1 | typeof Tag.User2 | typeof Tag.User3

/** The constants an embedder's own generated code needs, in one object. */
export const layout = {
  GRANULE_BYTES,
  HEADER_WORDS,
  PAGE_BYTES,
  LARGE_BYTES,
  MAX_FIXED_BYTES,
  MAX_ARRAY_LENGTH,
  MAX_RESERVED_BYTES,
  CARD_SHIFT,
  FLAG_BITS,
  MAGIC,
  Word,
  MUTATOR_BASE,
  MUTATOR_WORDS,
  MAX_MUTATORS,
  MutatorWord,
  AREA_BASE,
  AREA_WORDS,
  MAX_AREAS,
  AreaWord,
  AreaKind,
  SHAPE_BASE,
  SHAPE_WORDS,
  MAX_SHAPES,
  ShapeWord,
  SLOT_MAP_BASE,
  MAX_SLOT_MAP,
  CONTROL_WORDS,
  ShapeKind,
  WeakElements,
  FREE_SHAPE,
  FILLER_SHAPE,
  FIRST_SHAPE,
  Phase,
} as const
