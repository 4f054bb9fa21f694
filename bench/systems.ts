// What a benchmark can run on here.

import { Heap, type CollectorName } from 'glissade'

/** Why the concurrent collector cannot be had here, or null. */
function whyNotConcurrent(): string | null {
  try {
    Heap.create({ maxBytes: '1m', collector: 'concurrent' }).close()
    return null
  } catch (error) {
    return (error as Error).message
  }
}

/** Of `wanted`, the collectors that this machine has; each one missing is told to `skip`. */
export function collectorsHere<T extends CollectorName>(wanted: readonly T[], skip: (why: string) => void): T[] {
  return wanted.filter((name) => {
    const why = name === 'concurrent' ? whyNotConcurrent() : null
    if (why !== null) skip(why)
    return why === null
  })
}

/** Whether pages can be moved here; if not, what that leaves out is told to `skip`. */
export function canMove(skip: (why: string) => void): boolean {
  try {
    Heap.create({ maxBytes: '1m', collector: 'concurrent', relocation: 'move' }).close()
    return true
  } catch (error) {
    skip(`no cases with MOVE: ${(error as Error).message}`)
    return false
  }
}
