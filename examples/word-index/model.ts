// The same index from plain JavaScript Maps, made of the files that are in the window at the end, and the comparison.
//
// It shares no code with the index in the heap but the definition of a word: it splits text by a regular expression and
// never removes anything.

import { IN_WORD, type TextFile } from './corpus.js'
import type { HeapIndex, Place } from './heap-index.js'

export interface Numbered {
  readonly file: TextFile
  readonly number: number
}

/** Word → its places, in the order of the window. */
export function indexWithMaps(window: readonly Numbered[]): Map<string, Place[]> {
  const index = new Map<string, Place[]>()
  const inWord = new RegExp(
    `[${[...IN_WORD.keys()]
      .filter((byte) => IN_WORD[byte])
      .map(escaped)
      .join('')}]+`,
    'g',
  )
  for (const { file, number } of window) {
    // Latin-1: one character a byte, so that columns are bytes and text that is not UTF-8 stays what it is.
    const lines = Buffer.from(file.bytes).toString('latin1').split('\n')
    for (const [i, text] of lines.entries()) {
      for (const { 0: word, index: column } of text.matchAll(inWord)) {
        const place = { file: number, line: i + 1, column, text }
        const places = index.get(word)
        if (places) places.push(place)
        else index.set(word, [place])
      }
    }
  }
  return index
}

/** Every difference found, at most `limit`, each in a sentence; empty when the two indexes are the same. */
export function differences(heapIndex: HeapIndex, model: ReadonlyMap<string, Place[]>, limit = 5): string[] {
  const found: string[] = []
  const seen = new Set<string>()
  heapIndex.forEach((word, places) => {
    if (found.length >= limit) return
    const expected = model.get(word)
    if (seen.has(word)) found.push(`'${word}' is in the heap twice`)
    seen.add(word)
    if (expected === undefined) {
      found.push(`'${word}' is in the heap and not in the Maps`)
      return
    }
    if (places.length !== expected.length) {
      found.push(`'${word}' has ${places.length} places in the heap and ${expected.length} in the Maps`)
      return
    }
    for (const [i, place] of places.entries()) {
      if (same(place, expected[i])) continue
      found.push(`'${word}', place ${i}: ${shown(place)} in the heap, ${shown(expected[i])} in the Maps`)
      return
    }
  })
  for (const word of model.keys()) {
    if (found.length >= limit) break
    if (!seen.has(word)) found.push(`'${word}' is in the Maps and not in the heap`)
  }
  return found
}

function same(a: Place, b: Place): boolean {
  return a.file === b.file && a.line === b.line && a.column === b.column && a.text === b.text
}

function shown({ file, line, column, text }: Place): string {
  return `file ${file}, ${line}:${column} in ${JSON.stringify(text.slice(0, 60))}`
}

function escaped(byte: number): string {
  return `\\x${byte.toString(16).padStart(2, '0')}`
}
