// A canonical hash of the object graph: the differential oracle. The same seeded program must give the same hash over
// every collector, whatever addresses its objects have.
//
// Objects are numbered in the order of a breadth-first walk from the roots (areas by index, slots in order); the hash
// takes in, per object, shape name, word 1 and all payload words, with a reference replaced by the number of its object.
// Weak areas and the elements of weak arrays are left out: what they hold depends on when collections happen.

import type { HeapCore } from '../heap/heap-core.js'
import { Tag, WeakElements } from '../heap/layout.js'
import { granulesAt, weakElements } from './shape-reader.js'
import { forEachReferenceSlot, forEachRootSlot } from './trace.js'

export interface GraphHash {
  /** 16 hexadecimal digits. */
  readonly hash: string
  readonly objects: number
}

/** Two independent 32-bit streams of the murmur finaliser. */
class Hasher {
  #a = 0x12345678
  #b = 0x9e3779b9
  add(word: number): void {
    this.#a = mix(this.#a ^ word)
    this.#b = mix((this.#b + Math.imul(word | 0, 0x01000193)) | 0)
  }
  addText(text: string): void {
    for (let i = 0; i < text.length; i++) this.add(text.charCodeAt(i))
    this.add(-1)
  }
  digest(): string {
    return [this.#a, this.#b].map((half) => (half >>> 0).toString(16).padStart(8, '0')).join('')
  }
}
function mix(h: number): number {
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) + 0x165667b1
}

/** Inside run, roots published; other mutators stopped by the caller. */
export function graphHash(core: HeapCore): GraphHash {
  const { control, i32, rootsI32 } = core.views
  const hasher = new Hasher()
  const numbers = new Map<number, number>()
  const order: number[] = []
  const numberOf = (ref: number): number => {
    if (ref === 0) return 0
    let number = numbers.get(ref)
    if (number === undefined) {
      number = order.push(ref)
      numbers.set(ref, number)
    }
    return number
  }
  const addSlot = (words: Int32Array, word: number, isValue: boolean): void => {
    if (!isValue) return hasher.add(numberOf(words[word]))
    const high = words[word + 1]
    hasher.add(high)
    hasher.add(high === Tag.Ref ? numberOf(words[word]) : words[word])
  }

  forEachRootSlot(core, (area, slot, word, isValue) => {
    if (isValue ? rootsI32[word] === 0 && rootsI32[word + 1] === 0 : rootsI32[word] === 0) return
    hasher.add(area)
    hasher.add(slot)
    addSlot(rootsI32, word, isValue)
  })
  const shapeNumbers = new Map<number, number>()
  for (let k = 0; k < order.length; k++) {
    const ref = order[k]
    const id = i32[ref]
    if (!shapeNumbers.has(id)) {
      shapeNumbers.set(id, shapeNumbers.size)
      hasher.addText(core.shapes.byId(id)?.name ?? `shape ${id}`)
    }
    hasher.add(shapeNumbers.get(id) as number)
    hasher.add(i32[ref + 1])
    if (weakElements(control, id) !== WeakElements.None) continue
    let word = ref + 2
    const end = ref + granulesAt(control, i32, ref) * 2
    forEachReferenceSlot(core, ref, (slot, isValue) => {
      for (; word < slot; word++) hasher.add(i32[word])
      addSlot(i32, slot, isValue)
      word = slot + (isValue ? 2 : 1)
    })
    for (; word < end; word++) hasher.add(i32[word])
  }
  hasher.add(order.length)
  return { hash: hasher.digest(), objects: order.length }
}
