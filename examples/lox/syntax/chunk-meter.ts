// The size that a function would have as Lox bytecode.
//
// Lox's limits are those of its bytecode: one-byte constant and local indices, two-byte jumps. This implementation has no
// bytecode, but a program that is too large for Lox is an error here too, at the same token and in the same words. So
// the parser reports what a one-pass compiler would emit, and this class counts it. Constants are never shared.

const MAX_CONSTANTS = 256
const MAX_JUMP = 65535
const JUMP_BYTES = 3

export class ChunkMeter {
  #bytes = 0
  #constants = 0
  readonly #error: (message: string) => void

  constructor(error: (message: string) => void) {
    this.#error = error
  }

  emit(bytes: number): void {
    this.#bytes += bytes
  }
  constant(): void {
    if (++this.#constants > MAX_CONSTANTS) this.#error('Too many constants in one chunk.')
  }
  /** An instruction with a constant operand. */
  emitWithConstant(bytes: number): void {
    this.constant()
    this.emit(bytes)
  }

  /** A forward jump; give the result to `land`. */
  jump(): number {
    this.#bytes += JUMP_BYTES
    return this.#bytes
  }
  land(jump: number): void {
    if (this.#bytes - jump > MAX_JUMP) this.#error('Too much code to jump over.')
  }

  get position(): number {
    return this.#bytes
  }
  /** A backward jump to `start`. */
  loop(start: number): void {
    this.#bytes += JUMP_BYTES
    if (this.#bytes - start > MAX_JUMP) this.#error('Loop body too large.')
  }
}
