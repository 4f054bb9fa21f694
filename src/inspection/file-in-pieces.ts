// A file that is there whole, or not at all.
//
// What is written lies beside it under a name of its own until it is complete. A link stays one, and who may read the file that
// is replaced may read the new one, nobody else. Something that is no file (a pipe, /dev/null) is written as it is. Where a vm
// timeout cuts the writing off, what there is by then stays, as `….partial`.

import {
  closeSync,
  fchmodSync,
  lstatSync,
  openSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname, resolve } from 'node:path'
import { HeapError } from '../heap/errors.js'

type Write = (piece: string | Uint8Array) => void

/** Replaces `file` by what `produce` writes, once that is complete. Throws ERR_SNAPSHOT, and what `produce` does. */
export function writeInPieces<T>(file: string, produce: (write: Write) => T): T {
  const output = told(file, () => new Output(file))
  try {
    const result = produce((piece) => told(file, () => output.write(piece)))
    told(file, () => output.keep())
    return result
  } catch (error) {
    told(file, () => output.drop())
    throw error
  }
}

/** `action`, with its errors as the heap's own: those of the program's functions are not among them. */
function told<T>(file: string, action: () => T): T {
  try {
    return action()
  } catch (cause) {
    const { message } = cause as Error
    throw new HeapError('ERR_SNAPSHOT', `the snapshot ${file} could not be written: ${message}`, { cause })
  }
}

/** Where the links lead that a name may be, though nothing is there. */
function endOfLinks(file: string): string {
  for (let links = 0; links < 40 && lstatSync(file, { throwIfNoEntry: false })?.isSymbolicLink(); links++) {
    file = resolve(dirname(file), readlinkSync(file))
  }
  return file
}

class Output {
  readonly #target: string
  /** Null: the target itself is written. */
  readonly #partial: string | null
  readonly #descriptor: number
  #open = true

  constructor(file: string) {
    const before = statSync(file, { throwIfNoEntry: false })
    this.#target = before === undefined ? endOfLinks(file) : realpathSync(file)
    this.#partial =
      before === undefined || before.isFile() ? `${this.#target}.${Math.random().toString(36).slice(2)}.partial` : null
    if (this.#partial === null) {
      this.#descriptor = openSync(file, 'w')
      return
    }
    this.#descriptor = openSync(this.#partial, 'wx', before === undefined ? 0o666 : 0o600)
    if (before !== undefined) fchmodSync(this.#descriptor, before.mode & 0o777)
  }
  write(piece: string | Uint8Array): void {
    writeFileSync(this.#descriptor, piece)
  }
  keep(): void {
    this.#close()
    if (this.#partial !== null) renameSync(this.#partial, this.#target)
  }
  drop(): void {
    if (this.#open) this.#close()
    if (this.#partial !== null) rmSync(this.#partial, { force: true })
  }
  #close(): void {
    this.#open = false
    closeSync(this.#descriptor)
  }
}
