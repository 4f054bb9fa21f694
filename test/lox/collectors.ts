// The collectors that can run here.

import { Heap, HeapError, type CollectorName } from 'glissade'

function canRun(collector: CollectorName): boolean {
  try {
    Heap.create({ maxBytes: '1m', collector }).close()
    return true
  } catch (error) {
    // Whatever else is wrong is no reason to test less.
    if (!(error instanceof HeapError) || error.code !== 'ERR_USERFAULTFD_UNAVAILABLE') throw error
    return false
  }
}

export const availableCollectors = (['stop-the-world', 'none', 'concurrent'] as const).filter(canRun)
