// The slow path of every allocation of one mutator: checks, stress, the collector, exhaustion.
//
// A safepoint. Under stress, and in checked heaps, generated allocators have no fast path and every allocation comes
// here; otherwise only those that the TLAB cannot hold, or any once a stop is requested (the TLAB's limit reads 0).
//
// A reservation is the word up to which allocations in the open TLAB are no safepoints all the same. The next real safepoint
// ends it: here, or where the collector lets a thread poll or leave.

import type { CheckedState } from './checked.js'
import type { SlowPath } from './environment.js'
import { HeapError, show } from './errors.js'
import type { HeapCore } from './heap-core.js'
import {
  CARD_SHIFT,
  FILLER_SHAPE,
  FLAG_BITS,
  GRANULE_BYTES,
  LARGE_BYTES,
  MAX_RESERVED_BYTES,
  MutatorWord,
  mutatorBlock,
} from './layout.js'
import type { SlotPool } from './scopes.js'

export function createSlowPath(
  core: HeapCore,
  mutator: number,
  pool: SlotPool,
  checked: CheckedState | null,
): SlowPath {
  const { collector, options } = core
  const { everyAllocations, everyBytes, everySite, sitePeriod, everySafepoint } = options.stress
  const watchesSites = everySite || sitePeriod > 0
  const stress = everyAllocations > 0 || everyBytes > 0 || watchesSites || everySafepoint
  /** How often each call stack has allocated. */
  const sites = new Map<number, number>()
  let allocations = 0
  let bytes = 0

  const isDueAtSite = (): boolean => {
    const site = callSite()
    const before = sites.get(site) ?? 0
    sites.set(site, before + 1)
    return before === 0 || (sitePeriod > 0 && before % sitePeriod === 0)
  }
  /** Every count goes on whichever of them is due: what one option asks for does not depend on the others. */
  const isDue = (granules: number): boolean => {
    let due = everySafepoint
    if (everyAllocations > 0 && ++allocations % everyAllocations === 0) due = true
    if (everyBytes > 0 && (bytes += granules * 8) >= everyBytes) {
      bytes %= everyBytes
      due = true
    }
    if (watchesSites && isDueAtSite()) due = true
    return due
  }

  const { control, i32 } = core.views
  const topWord = mutatorBlock(mutator) + MutatorWord.TlabTop
  const limitWord = mutatorBlock(mutator) + MutatorWord.TlabLimit
  const reservedWord = mutatorBlock(mutator) + MutatorWord.ReservedEnd

  /** What the generated fast path does, for those who have none. 0: the TLAB is too short. */
  const bump = (shapeId: number, word1: number, granules: number): number => {
    const top = control[topWord]
    const next = top + granules * 2
    if (granules * 8 >= LARGE_BYTES || next > control[limitWord]) return 0
    control[topWord] = next
    i32[top + 1] = word1
    i32[top] = shapeId
    return top
  }

  /** The root slot that holds a new object over a safepoint; −1 before the first needs it. */
  let holder = -1
  /** Enters a new object into the table of a checked heap. Returns where it is then. */
  const enter = (checked: CheckedState, ref: number, granules: number): number => {
    if (holder < 0) holder = pool.take(0)
    if (checked.behind) {
      // A safepoint, and no root holds the object yet.
      hold(ref)
      checked.sync()
      ref = core.views.rootsI32[holder]
      hold(0)
    }
    checked.allocated(ref, granules)
    return ref
  }
  const hold = (ref: number): void => {
    core.views.rootsI32[holder] = ref
    core.views.rootCards[holder >>> CARD_SHIFT] = 1
  }

  /** The object, where it is within what was reserved; else 0. */
  const allocateReserved = (shapeId: number, word1: number, granules: number): number => {
    if (control[topWord] + granules * 2 > control[reservedWord]) return 0 // mostly: nothing is reserved
    const ref = collector.allocateReserved(mutator, shapeId, word1, granules)
    if (ref !== 0) checked?.objectAt(ref)
    return ref
  }

  return {
    everyAllocationSlow: stress || checked !== null,
    slow(shapeId, word1, granules) {
      core.checkRunning('an allocator')
      let ref = allocateReserved(shapeId, word1, granules)
      if (ref !== 0) return ref
      core.checkSafepoint('an allocation')
      control[reservedWord] = 0
      try {
        if (stress && isDue(granules)) collector.collect(mutator)
        ref = bump(shapeId, word1, granules)
        if (ref === 0) ref = collector.allocateSlow(mutator, shapeId, word1, granules) | 0
      } finally {
        // No object was made, but others may have moved.
        if (ref === 0) checked?.sync()
      }
      if (ref === 0) throw core.exhausted(granules * 8)
      return checked === null ? ref : enter(checked, ref, granules)
    },
    reserveSlowly(bytes) {
      core.checkRunning('m.reserve')
      core.checkSafepoint('m.reserve')
      checkReservation(bytes)
      const granules = Math.max(1, Math.ceil(bytes / GRANULE_BYTES))
      try {
        if (stress && isDue(granules)) collector.collect(mutator)
      } finally {
        checked?.sync()
      }
      while (control[topWord] + granules * 2 > control[limitWord]) {
        let ref = 0
        try {
          // A filler as long as that, which is taken back: its room is at the top of a TLAB.
          ref = collector.allocateSlow(mutator, FILLER_SHAPE, granules << FLAG_BITS, granules)
          if (ref !== 0) {
            i32[ref + 1] = i32[ref] = 0
            control[topWord] = ref
          }
        } finally {
          checked?.sync()
        }
        if (ref === 0) throw core.exhausted(bytes)
      }
      control[reservedWord] = control[topWord] + granules * 2
    },
  }
}

function checkReservation(bytes: unknown): void {
  if (typeof bytes === 'number' && Number.isInteger(bytes) && bytes >= 0 && bytes <= MAX_RESERVED_BYTES) return
  throw new HeapError(
    'ERR_BOUNDS',
    `m.reserve takes a whole number of bytes from 0 to ${MAX_RESERVED_BYTES}; got ${show(bytes)}` +
      (Number(bytes) > MAX_RESERVED_BYTES ? ': make larger objects before it, and keep them in a root area' : ''),
  )
}

/** Where this module lies: frames from there, and from text it generated, are not the program's. Null in a bundle, where all is one. */
const LIBRARY = libraryOf(import.meta.url as string | undefined)

function libraryOf(url: string | undefined): string | null {
  return url?.endsWith('/heap/slow-path.js') ? new URL('.', url).href : null
}

/** Innermost frames that tell call stacks apart, the library's own included. */
const SITE_FRAMES = 11

/** A hash of the call stack outside the library: what stress by site takes for a site. */
function callSite(): number {
  let hash = 0x811c9dc5
  for (const frame of callStack().split('\n')) {
    if (LIBRARY !== null && frame.includes(LIBRARY)) continue
    for (let i = 0; i < frame.length; i++) hash = Math.imul(hash ^ frame.charCodeAt(i), 0x01000193)
  }
  return hash
}

/** As text, and of that many frames, whatever the program has made of its own stacks (frozen, they stay as they are). */
function callStack(): string {
  const { stackTraceLimit, prepareStackTrace } = Error
  try {
    Reflect.set(Error, 'stackTraceLimit', SITE_FRAMES)
    Reflect.set(Error, 'prepareStackTrace', (_: Error, frames: NodeJS.CallSite[]) => frames.join('\n'))
    return new Error().stack ?? ''
  } finally {
    Reflect.set(Error, 'stackTraceLimit', stackTraceLimit)
    Reflect.set(Error, 'prepareStackTrace', prepareStackTrace)
  }
}
