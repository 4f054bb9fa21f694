// A file that is there whole, or not at all.

import { closeSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs'

/** Replaces `file` by what `produce` writes, once that is complete. Throws what the file system does, and what `produce` does. */
export function writeInPieces<T>(file: string, produce: (write: (piece: string) => void) => T): T {
  const partial = `${file}.partial`
  const descriptor = openSync(partial, 'w')
  try {
    let result: T
    try {
      result = produce((piece) => writeFileSync(descriptor, piece))
    } finally {
      closeSync(descriptor)
    }
    renameSync(partial, file)
    return result
  } catch (error) {
    rmSync(partial, { force: true })
    throw error
  }
}
