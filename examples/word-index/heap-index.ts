// A word index in the managed heap: where each word of the newest files stands.
//
//   buckets ──► Word ──► Word …            (hash chains; a large object full of references)
//                │ first … last
//                ▼
//              Posting ──► Posting …       (one for each place a word stands at, oldest first)
//                │ line
//                ▼
//              Line ──► bytes              (shared by the postings of the line)
//
//   File ──► its postings; oldest ──► … ──► newest: the window
//
// Files enter at one end of the window and leave at the other, so a word's oldest posting always belongs to the
// file that leaves first: unlinking is taking the head of a list. A token becomes a string in the heap before it is
// looked up, as in a language's lexer, and dies at once if the word is known.
//
// This is the raw tier. Every allocation is a safepoint, after which a Ref in a local is worth nothing: what must
// survive one lies in a slot of `roots` and is read again afterwards. Each method says where its safepoints are.

import { layout, type ArrayShape, type Heap, type Mutator, type Ref, type RootStack, type Shape } from 'glissade'
import { IN_WORD, type TextFile } from './corpus.js'

const { FLAG_BITS } = layout
const BUCKETS = 1 << 16

// Slots of the root stack.
const TABLE = 0
const OLDEST = 1
const NEWEST = 2
const LINE = 3
const TEXT = 4
const WORD = 5
const POSTING = 6
const ROOTS = 7

type WordSlots = { text: 'ref'; first: 'ref'; last: 'ref'; chain: 'ref'; hash: 'i32' }
type PostingSlots = { word: 'ref'; line: 'ref'; next: 'ref'; nextInFile: 'ref'; column: 'u32' }
type LineSlots = { text: 'ref'; number: 'u32'; file: 'u32' }
type FileSlots = { first: 'ref'; last: 'ref'; next: 'ref'; postings: 'u32' }

export interface Place {
  readonly file: number
  readonly line: number
  readonly column: number
  /** The line it stands in. */
  readonly text: string
}

export class HeapIndex {
  readonly #heap: Heap
  readonly #bytes: ArrayShape<'u8'>
  readonly #table: ArrayShape<'ref'>
  readonly #word: Shape<WordSlots>
  readonly #posting: Shape<PostingSlots>
  readonly #line: Shape<LineSlots>
  readonly #file: Shape<FileSlots>
  readonly #roots: RootStack<'ref'>

  /** Of the window, now. */
  files = 0
  postings = 0
  words = 0

  constructor(heap: Heap) {
    this.#heap = heap
    this.#bytes = heap.defineArray('Bytes', 'u8')
    this.#table = heap.defineArray('Buckets', 'ref')
    this.#word = heap.defineShape('Word', { text: 'ref', first: 'ref', last: 'ref', chain: 'ref', hash: 'i32' })
    this.#posting = heap.defineShape('Posting', {
      word: 'ref',
      line: 'ref',
      next: 'ref',
      nextInFile: 'ref',
      column: 'u32',
    })
    this.#line = heap.defineShape('Line', { text: 'ref', number: 'u32', file: 'u32' })
    this.#file = heap.defineShape('File', { first: 'ref', last: 'ref', next: 'ref', postings: 'u32' })
    this.#roots = heap.run((m) => {
      const roots = m.roots.stack('ref', ROOTS)
      roots.top = ROOTS
      m.rootsI32[roots.base + TABLE] = m.allocArray(this.#table, BUCKETS)
      return roots
    })
  }

  /** Takes a file in as the newest; `number` names it. Returns the words it has. */
  add(file: TextFile, number: number): number {
    return this.#heap.run((m) => this.#add(m, file.bytes, number))
  }

  /** Lets the oldest file go. */
  removeOldest(): void {
    this.#heap.run((m) => this.#removeOldest(m))
  }

  #add(m: Mutator, source: Uint8Array, number: number): number {
    const { i32, u8, rootsI32 } = m
    const base = this.#roots.base
    const newFile = m.allocator(this.#file)
    const newLine = m.allocator(this.#line)
    const newPosting = m.allocator(this.#posting)
    const newBytes = m.arrayAllocator(this.#bytes)
    const line = this.#line.at
    const posting = this.#posting.at
    const file = this.#file.at
    const word = this.#word.at

    const made = newFile() // safepoint
    const newest = rootsI32[base + NEWEST] as Ref
    if (newest === 0) rootsI32[base + OLDEST] = made
    else m.setRef(newest, file.next, made)
    rootsI32[base + NEWEST] = made

    let found = 0
    let lineNumber = 0
    for (let start = 0; start < source.length;) {
      let end = source.indexOf(10, start)
      if (end < 0) end = source.length
      lineNumber++
      let hasLine = false
      for (let at = start; at < end;) {
        if (IN_WORD[source[at]] === 0) {
          at++
          continue
        }
        let hash = 0x811c9dc5
        let stop = at
        while (stop < end && IN_WORD[source[stop]] !== 0) hash = Math.imul(hash ^ source[stop++], 0x01000193)
        if (!hasLine) {
          // Lines without words need no place in the heap.
          const text = newBytes(end - start) // safepoint
          copyBytes(source, start, end, u8, text * 4 + 8)
          rootsI32[base + TEXT] = text
          const entry = newLine() // safepoint
          m.setRef(entry, line.text, rootsI32[base + TEXT] as Ref)
          i32[entry + line.number] = lineNumber
          i32[entry + line.file] = number
          rootsI32[base + LINE] = entry
          hasLine = true
        }
        const token = newBytes(stop - at) // safepoint
        copyBytes(source, at, stop, u8, token * 4 + 8)
        rootsI32[base + TEXT] = token
        const known = this.#find(m, hash)
        if (known !== 0) rootsI32[base + WORD] = known
        else this.#addWord(m, hash) // safepoint

        const entry = newPosting() // safepoint
        const owner = rootsI32[base + WORD] as Ref
        m.setRef(entry, posting.word, owner)
        m.setRef(entry, posting.line, rootsI32[base + LINE] as Ref)
        i32[entry + posting.column] = at - start
        const last = i32[owner + word.last] as Ref
        if (last === 0) m.setRef(owner, word.first, entry)
        else m.setRef(last, posting.next, entry)
        m.setRef(owner, word.last, entry)

        const current = rootsI32[base + NEWEST] as Ref
        const lastOfFile = i32[current + file.last] as Ref
        if (lastOfFile === 0) m.setRef(current, file.first, entry)
        else m.setRef(lastOfFile, posting.nextInFile, entry)
        m.setRef(current, file.last, entry)
        found++
        at = stop
      }
      start = end + 1
    }
    i32[rootsI32[base + NEWEST] + file.postings] = found
    for (const slot of [LINE, TEXT, WORD]) rootsI32[base + slot] = 0
    this.files++
    this.postings += found
    return found
  }

  /** The Word whose text equals the token in the roots, or 0. No safepoint. */
  #find(m: Mutator, hash: number): Ref | 0 {
    const { i32, rootsI32 } = m
    const { text, chain, hash: hashAt } = this.#word.at
    const table = rootsI32[this.#roots.base + TABLE]
    const token = rootsI32[this.#roots.base + TEXT]
    let entry = i32[table + this.#table.elementsAt + bucketOf(hash)]
    while (entry !== 0) {
      if (i32[entry + hashAt] === hash && sameBytes(i32, i32[entry + text], token)) return entry as Ref
      entry = i32[entry + chain]
    }
    return 0
  }

  /** Makes a Word of the token in the roots and leaves it in slot WORD. A safepoint. */
  #addWord(m: Mutator, hash: number): void {
    const { i32, rootsI32 } = m
    const base = this.#roots.base
    const { text, chain, hash: hashAt } = this.#word.at
    const entry = m.alloc(this.#word) // safepoint
    const table = rootsI32[base + TABLE] as Ref
    const bucket = bucketOf(hash)
    m.setRef(entry, text, rootsI32[base + TEXT] as Ref)
    m.setRef(entry, chain, i32[table + this.#table.elementsAt + bucket] as Ref)
    i32[entry + hashAt] = hash
    m.setElementRef(table, bucket, entry)
    rootsI32[base + WORD] = entry
    this.words++
  }

  #removeOldest(m: Mutator): void {
    const { i32, rootsI32 } = m
    const base = this.#roots.base
    const { next, nextInFile, word: wordAt } = this.#posting.at
    const { first, last } = this.#word.at
    const file = this.#file.at
    const oldest = rootsI32[base + OLDEST]
    rootsI32[base + POSTING] = i32[oldest + file.first]
    this.postings -= i32[oldest + file.postings]
    this.files--
    rootsI32[base + OLDEST] = i32[oldest + file.next]
    if (rootsI32[base + OLDEST] === 0) rootsI32[base + NEWEST] = 0
    for (let n = 1; rootsI32[base + POSTING] !== 0; n++) {
      const entry = rootsI32[base + POSTING]
      const owner = i32[entry + wordAt] as Ref
      const following = i32[entry + next] as Ref
      m.setRef(owner, first, following)
      if (following === 0) {
        m.setRef(owner, last, 0 as Ref)
        this.#dropWord(m, owner)
      }
      rootsI32[base + POSTING] = i32[entry + nextInFile]
      // A loop without allocations has to offer its own safepoints; the Ref that it needs next lies in the roots.
      if ((n & 1023) === 0 && m.mustPoll()) m.poll() // safepoint
    }
  }

  /** Takes a word without postings out of its bucket. No safepoint. */
  #dropWord(m: Mutator, dead: Ref): void {
    const { i32, rootsI32 } = m
    const { chain, hash } = this.#word.at
    const table = rootsI32[this.#roots.base + TABLE] as Ref
    const bucket = bucketOf(i32[dead + hash])
    const after = i32[dead + chain] as Ref
    let entry = i32[table + this.#table.elementsAt + bucket] as Ref
    if (entry === dead) {
      m.setElementRef(table, bucket, after)
    } else {
      while (i32[entry + chain] !== dead) entry = i32[entry + chain] as Ref
      m.setRef(entry, chain, after)
    }
    this.words--
  }

  /** Calls `visit` for each word with all its places, oldest first. Each bucket is a run: safepoints between them. */
  forEach(visit: (word: string, places: Place[]) => void): void {
    // Decoded once a line; by number, because Refs are worth nothing in the next bucket.
    const texts = new Map<number, string>()
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      const found = this.#heap.run((m) => this.#readBucket(m, bucket, texts))
      for (const [word, places] of found) visit(word, places)
    }
  }

  /** No safepoint. */
  #readBucket(m: Mutator, bucket: number, texts: Map<number, string>): [string, Place[]][] {
    const { i32 } = m
    const { line: lineAt, next, column } = this.#posting.at
    const { text, number, file } = this.#line.at
    const { text: wordText, first, chain } = this.#word.at
    const found: [string, Place[]][] = []
    const table = m.rootsI32[this.#roots.base + TABLE]
    for (let entry = i32[table + this.#table.elementsAt + bucket]; entry !== 0; entry = i32[entry + chain]) {
      const places: Place[] = []
      for (let at = i32[entry + first]; at !== 0; at = i32[at + next]) {
        const line = i32[at + lineAt]
        const key = i32[line + file] * 2 ** 24 + i32[line + number]
        let content = texts.get(key)
        if (content === undefined) texts.set(key, (content = textOf(m, i32[line + text] as Ref)))
        places.push({ file: i32[line + file], line: i32[line + number], column: i32[at + column], text: content })
      }
      found.push([textOf(m, i32[entry + wordText] as Ref), places])
    }
    return found
  }
}

/** One character a byte, whatever the bytes are. */
function textOf(m: Mutator, bytes: Ref): string {
  const { buffer, byteOffset, byteLength } = m.copyOut(bytes)
  return Buffer.from(buffer, byteOffset, byteLength).toString('latin1')
}

function bucketOf(hash: number): number {
  return (hash ^ (hash >>> 16)) & (BUCKETS - 1)
}

/** Short runs of bytes: a loop beats a call of `set`. */
function copyBytes(from: Uint8Array, start: number, end: number, to: Uint8Array, at: number): void {
  for (let i = start; i < end; i++) to[at++] = from[i]
}

/** Two byte arrays of the heap, compared by words: padding is zero. */
function sameBytes(i32: Int32Array, a: number, b: number): boolean {
  const length = i32[a + 1] >>> FLAG_BITS
  if (length !== i32[b + 1] >>> FLAG_BITS) return false
  for (let word = 0; word < length; word += 4) {
    if (i32[a + 2 + (word >>> 2)] !== i32[b + 2 + (word >>> 2)]) return false
  }
  return true
}
