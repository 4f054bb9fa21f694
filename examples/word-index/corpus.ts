// The text that is indexed: which files, and what a word in them is.

import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'

export interface TextFile {
  readonly path: string
  readonly bytes: Uint8Array
}

/** Every `.d.ts` below `folder`, in an order that does not depend on the file system. */
export function declarationFiles(folder: string): string[] {
  const found: string[] = []
  const walk = (at: string): void => {
    for (const entry of readdirSync(at, { withFileTypes: true })) {
      const path = join(at, entry.name)
      if (entry.isDirectory()) walk(path)
      else if (entry.isFile() && entry.name.endsWith('.d.ts')) found.push(path)
    }
  }
  walk(folder)
  return found.sort()
}

/** Reads the files; folders among them stand for the `.d.ts` files below. */
export function readFiles(paths: readonly string[]): TextFile[] {
  const files = paths.flatMap((path) => (statSync(path).isDirectory() ? declarationFiles(path) : [path]))
  // A copy: a file's Buffer may be a slice of a pool that other reads share.
  return files.map((path) => ({ path, bytes: new Uint8Array(readFileSync(path)) }))
}

/** Whether a byte can stand in a word: letters, digits, `_`, `$`, and every byte of a character beyond ASCII. */
export const IN_WORD: Uint8Array = new Uint8Array(256).map((_, byte) =>
  /[A-Za-z0-9_$]/.test(String.fromCharCode(byte)) || byte >= 128 ? 1 : 0,
)

/** The positions 0 … n − 1 in an order that the seed decides (Fisher and Yates over a 32-bit generator). */
export function shuffled(n: number, seed: number): number[] {
  const order = Array.from({ length: n }, (_, i) => i)
  let state = seed >>> 0
  for (let i = n - 1; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    const j = Math.floor((state / 2 ** 32) * (i + 1))
    const kept = order[i]
    order[i] = order[j]
    order[j] = kept
  }
  return order
}
