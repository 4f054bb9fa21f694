// Callbacks run to their end before the call that took them returns; one that would go on later is refused here.
//
// Before it runs, a function shows only whether it was declared async; a plain one that returns a promise is found out
// afterwards, where that matters (`finished`).

import { HeapError, show } from './errors.js'
import { Handle } from './handles.js'

/** Throws unless `fn` is a function that is neither async nor a generator. One load of a constant where all is well. */
export function checkSynchronous(fn: unknown, what: string): void {
  if (typeof fn === 'function' && fn.constructor === Function) return
  refuse(fn, what)
}

function refuse(fn: unknown, what: string): void {
  if (typeof fn !== 'function') throw new HeapError('ERR_BAD_VALUE', `${what} takes a function; got ${show(fn)}`)
  // Also of another realm, a bound one, a class that extends something.
  const kind = Object.prototype.toString.call(fn)
  if (kind === '[object Function]') return
  throw new HeapError(
    'ERR_ASYNC_RUN',
    `${what} takes a synchronous function; got ${kind.slice(8, -1)}: it would go on after ${what} has returned, at its ` +
      'first await or yield. Await outside, and run the parts between',
  )
}

/** The result of a callback of `run`. Throws if it is a promise: what it stands for would be done outside run. */
export function finished<T>(result: T): T {
  if (typeof result === 'object' && result !== null && isThenable(result)) {
    throw new HeapError(
      'ERR_ASYNC_RUN',
      `heap.run takes a synchronous function; got one that returned ${show(result)}: what comes after its first await ` +
        'is done outside run. Await outside, and run the parts between',
    )
  }
  return result
}

/** A handle may have a slot of that name, and be dead. */
function isThenable(object: object): boolean {
  return !(object instanceof Handle) && typeof (object as { readonly then?: unknown }).then === 'function'
}
