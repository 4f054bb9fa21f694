// Standard output, buffered: bytes are collected here and written in large pieces, or line by line to a terminal.
//
// Bytes are copied out of heap memory into the buffer one by one or by a caller's loop; heap memory itself is never given
// to a system call, which would fail on a page that the collector has not yet put in place.

import { writeSync } from 'node:fs'

const CAPACITY = 1 << 16
const NEWLINE = 10

export interface Output {
  /** Appends one byte. */
  byte(value: number): void
  newline(): void
  /** Whether to flush before more is appended: there is no room, or a line is complete that somebody waits for. */
  readonly isDue: boolean
  /** Hands on what was appended, which may take as long as it likes: a running program calls it parked. */
  flush(): void
}

export class BufferedOutput implements Output {
  readonly #buffer = new Uint8Array(CAPACITY)
  readonly #write: (bytes: Uint8Array) => void
  readonly #byLine: boolean
  #used = 0
  #due = false

  constructor(write: (bytes: Uint8Array) => void, byLine = false) {
    this.#write = write
    this.#byLine = byLine
  }

  byte(value: number): void {
    if (this.#used === CAPACITY) this.flush()
    this.#buffer[this.#used++] = value
    if (this.#used === CAPACITY) this.#due = true
  }
  newline(): void {
    this.byte(NEWLINE)
    if (this.#byLine) this.#due = true
  }
  get isDue(): boolean {
    return this.#due
  }
  flush(): void {
    const used = this.#used
    this.#used = 0
    this.#due = false
    if (used > 0) this.#write(this.#buffer.subarray(0, used))
  }
}

/**
 * Writes all of `bytes` to a file descriptor, waiting where a pipe is full. Whoever closed the other end of standard output
 * wants no more, and the process ends; messages that nobody reads are lost.
 */
export function writeAll(descriptor: number, bytes: Uint8Array): void {
  let written = 0
  while (written < bytes.length) {
    try {
      written += writeSync(descriptor, bytes, written)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'EPIPE' && descriptor === 1) process.exit(0)
      if (code === 'EPIPE') return
      if (code !== 'EAGAIN') throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1)
    }
  }
}
