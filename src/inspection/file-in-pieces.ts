// A file that is there whole, or not at all.
//
// What is written lies beside it under a name of its own until it is complete. A link stays one, and who may read the file that
// is replaced may read the new one, nobody else. Something that is no file (a pipe, /dev/null) is written as it is.

import { closeSync, fchmodSync, openSync, realpathSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'

/** Replaces `file` by what `produce` writes, once that is complete. Throws what the file system does, and what `produce` does. */
export function writeInPieces<T>(file: string, produce: (write: (piece: string) => void) => T): T {
  const before = statSync(file, { throwIfNoEntry: false })
  if (before !== undefined && !before.isFile()) return writeTo(openSync(file, 'w'), produce)
  const target = before === undefined ? file : realpathSync(file)
  const partial = `${target}.${Math.random().toString(36).slice(2)}.partial`
  const descriptor = openSync(partial, 'wx', before === undefined ? 0o666 : 0o600)
  try {
    const result = writeTo(descriptor, (write) => {
      if (before !== undefined) fchmodSync(descriptor, before.mode & 0o777)
      return produce(write)
    })
    renameSync(partial, target)
    return result
  } catch (error) {
    rmSync(partial, { force: true })
    throw error
  }
}

function writeTo<T>(descriptor: number, produce: (write: (piece: string) => void) => T): T {
  try {
    return produce((piece) => writeFileSync(descriptor, piece))
  } finally {
    closeSync(descriptor)
  }
}
