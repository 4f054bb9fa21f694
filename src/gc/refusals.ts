// What the system refuses when a heap of the concurrent collector is made: which limit it met, and what to do about it.

import { constants } from 'node:os'
import type { ErrorCode } from '../heap/errors.js'
import { showSize, type ParsedOptions } from '../heap/options.js'
import type { NativeError } from './native.js'

export interface Refusal {
  readonly code: ErrorCode
  readonly reason: string
  /** Any of them may help. */
  readonly remedies: readonly string[]
}

/** Entries in the table of native/core/barrier/fault-handler.cc. */
const SIGBUS_HEAPS = 256
/** … of native/core/verification/protection.cc. */
const PROTECTED_HEAPS = 64
/** Below that a smaller heap takes hardly fewer addresses. */
const SMALL_BYTES = 2 ** 28

/** Of what the binding threw; undefined if that was something else. */
export function refusalOf(error: unknown, { maxBytes, protect }: ParsedOptions): Refusal | undefined {
  const code = 'ERR_NATIVE_HEAP'
  if (!(error instanceof Error) || (error as Partial<NativeError>).code !== code) return undefined
  const { errno, message } = error as NativeError
  const { ENOMEM, EBUSY, EMFILE, ENFILE } = constants.errno
  if (errno === ENOMEM && /^(reserving|mapping) /.test(message)) {
    return {
      code: 'ERR_ADDRESS_SPACE',
      reason:
        `could not reserve the address space for maxBytes = ${showSize(maxBytes)}, ` +
        'of which the concurrent collector takes 5 GiB and several times as much',
      remedies: [
        ...(protect ? ['leave out protect: true'] : []),
        ...(maxBytes > SMALL_BYTES ? ['ask for a smaller heap'] : []),
        'close other heaps',
        'raise ulimit -v',
      ],
    }
  }
  const refused = (reason: string, ...remedies: string[]): Refusal => ({ code, reason, remedies })
  if (errno === EBUSY && message.startsWith('installing the SIGBUS handler')) {
    return refused(
      `a process has at most ${SIGBUS_HEAPS} concurrent heaps with faults 'sigbus'`,
      'close one',
      "create this one with faults: 'thread'",
    )
  }
  if (errno === EBUSY && message.startsWith('watching for stale references')) {
    return refused(
      `a process has at most ${PROTECTED_HEAPS} heaps with protect: true`,
      'close one',
      'leave out protect: true',
    )
  }
  if (message.startsWith('starting ')) {
    return refused(
      `the system has no thread for the concurrent collector (${message})`,
      'close other heaps',
      'raise ulimit -u (in a container: its limit on processes)',
    )
  }
  if (errno === EMFILE || errno === ENFILE) return refused(message, 'raise the limit on open files (ulimit -n)')
  return refused(message)
}

/** `a, b or c`. */
export const anyOf = (remedies: readonly string[]): string =>
  [remedies.slice(0, -1).join(', '), ...remedies.slice(-1)].filter((part) => part !== '').join(', or ')
