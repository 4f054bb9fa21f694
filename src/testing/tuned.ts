// Heaps of which the core is told more than the options of a heap can say.

import { setTuning } from '../gc/concurrent.js'
import type { NativeTuning } from '../gc/native.js'
import { HeapError, remedyFor, show } from '../heap/errors.js'
import { checkSynchronous } from '../heap/synchronous.js'

/** Every name of {@link NativeTuning}, and its largest value. */
const MOST: { readonly [K in keyof Required<NativeTuning>]: number } = {
  freshWindows: 1,
  minBytes: 2 ** 32,
  reuse: 2,
  young: 2,
  overdraft: 2 ** 31,
  retentionMs: 2 ** 31,
  placingBatch: 2 ** 31,
}

/**
 * What `make` creates is made with options of the concurrent collector that no heap option sets: `minBytes`, to which a
 * heap may grow whatever is live, its first cycle beginning there or at half of `maxBytes`; `freshWindows: 1`, every
 * collection moves every object; `reuse: 0`, garbage is not reused in place, 2: also in short holes, whether they are
 * needed or not; `young: 0`, every cycle traces everything, 2: wherever nothing has moved only what is new, also in three of four collections that
 * are asked for; `overdraft`, pages that faults may take from the kernel
 * before those beside them are built first; `retentionMs`, the time in which a heap forgets half of the memory that it
 * needs no longer; `placingBatch`, pages that the collector places in one system call, at the most. Inside another `tuned` it adds to
 * what that one says.
 */
export function tuned<T>(options: NativeTuning, make: () => T): T {
  checkTuning(options)
  checkSynchronous(make, 'tuned')
  const outer = setTuning({})
  setTuning({ ...outer, ...options })
  try {
    return make()
  } finally {
    setTuning(outer)
  }
}

function checkTuning(options: NativeTuning): void {
  if (options === null || typeof options !== 'object') {
    throw new HeapError('ERR_OPTION', `tuned takes an object like { reuse: 0 }; got ${show(options)}`)
  }
  for (const [name, value] of Object.entries(options) as [keyof NativeTuning, unknown][]) {
    if (!Object.hasOwn(MOST, name)) {
      const remedy = remedyFor(name, Object.keys(MOST), 'known are')
      throw new HeapError('ERR_OPTION', `tuned knows no ${show(name)}: ${remedy}`)
    }
    if (value === undefined || (Number.isInteger(value) && (value as number) >= 0 && (value as number) <= MOST[name]))
      continue
    throw new HeapError('ERR_OPTION', `${name} of tuned is a whole number, 0 to ${MOST[name]}; got ${show(value)}`)
  }
}
