// Heaps of which the core is told more than the options of a heap can say.

import { setTuning } from '../gc/concurrent.js'
import type { NativeTuning } from '../gc/native.js'

/**
 * What `make` creates is made with options of the concurrent collector that no heap option sets: `minBytes`, below which a
 * heap does not collect by itself; `freshWindows: 1`, every collection moves every object; `reuse: 0`, garbage is not
 * reused in place; `young: 0`, every cycle traces everything; `overdraft`, pages that faults may take from the kernel before
 * those beside them are built first; `retentionMs`, the time in which a heap forgets half of the memory that it needs no
 * longer; `placingBatch`, pages that the collector places in one system call.
 */
export function tuned<T>(options: NativeTuning, make: () => T): T {
  setTuning(options)
  try {
    return make()
  } finally {
    setTuning({})
  }
}
