// Keeps the collector's SIGBUS handler in place when the program adds or removes a listener of its own.
//
// `process.on('SIGBUS')` puts libuv's handler over the collector's, and removing the last listener sets the default action:
// in the middle of a compaction the next touch of a missing page would be repeated for ever, or kill the process. Node does
// both in listeners of `newListener` and `removeListener` that it added before any program ran; those added here come next,
// in the same turn, before this thread touches the heap again. The handler then hands what is not its own to the one that
// it found. Other threads that fault in the microseconds between see what they would have seen without this.
// Only the main thread has signal listeners; there from the first heap with faults by signal that it opens to the close of
// the last. Of heaps that only other threads have open this module knows nothing here.

import { isMainThread } from 'node:worker_threads'
import type { NativeBinding } from './native.js'

let heaps = 0
let reinstall = (): void => {}

function watch(event: string | symbol): void {
  if (event === 'SIGBUS') reinstall()
}

/** A heap is made or attached. */
export function watchListeners(binding: NativeBinding): void {
  if (!isMainThread || heaps++ > 0) return
  reinstall = () => binding.reinstallHandler()
  process.on('newListener', watch)
  process.on('removeListener', watch)
}

/** It is closed, or this thread has left it. */
export function unwatchListeners(): void {
  if (!isMainThread || --heaps > 0) return
  process.off('newListener', watch)
  process.off('removeListener', watch)
}
