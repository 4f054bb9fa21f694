// The collectors that can run here.

import { Heap, type CollectorName } from 'glissade'

function canRun(collector: CollectorName): boolean {
  try {
    Heap.create({ maxBytes: '1m', collector }).close()
    return true
  } catch {
    return false
  }
}

export const availableCollectors = (['stop-the-world', 'none', 'concurrent'] as const).filter(canRun)
