// Search trees with insertions and deletions, and complete trees built bottom-up by recursion with every partial result in
// a root stack: the classic place of a missing root. Their lowest subtrees, of random depth, are built without roots after
// one `m.reserve`.

import type { Mutator, Ref } from '../../../index.js'
import { Mismatch, same, type Activity, type Workload, type WorkloadContext } from '../workload.js'

const KEYS = 1 << 20
const NODE_BYTES = 32
const STACK_SLOTS = 1024
/** Depth of the largest subtree that fits into what can be reserved. */
const MOST_RESERVED = 7

export const trees: Workload = {
  name: 'trees',
  summary: 'search trees with insertions and deletions; complete trees built by recursion',
  areas: 2,
  start: (context, m) => new Trees(context, m),
}

class Trees implements Activity {
  readonly #context: WorkloadContext
  readonly #node
  readonly #root
  readonly #stack
  readonly #model = new Map<number, number>()
  readonly #keys: number[] = []
  readonly #most: number

  constructor(context: WorkloadContext, m: Mutator) {
    this.#context = context
    this.#node = context.heap.defineShape('TreeNode', { key: 'f64', left: 'ref', right: 'ref', weight: 'i32' })
    this.#root = m.roots.table('ref', 1)
    this.#stack = m.roots.stack('ref', STACK_SLOTS)
    this.#stack.top = 0
    // Half of the budget is for the complete trees.
    this.#most = Math.max(32, Math.floor(context.budget / NODE_BYTES / 2))
  }

  step(m: Mutator): void {
    const { random } = this.#context
    switch (random.below(10)) {
      case 0:
      case 1:
      case 2:
      case 3:
      case 4:
        for (let i = random.below(30); i >= 0; i--) {
          if (this.#model.size < this.#most) this.#insert(m, random.below(KEYS), random.next() | 0)
        }
        break
      case 5:
      case 6:
        for (let i = random.below(30); i >= 0 && this.#keys.length > 0; i--) this.#remove(m, random.pick(this.#keys))
        break
      case 7:
        if (random.chance(0.01)) this.reset()
        break
      case 8: {
        const depth = 2 + random.below(Math.max(1, Math.floor(Math.log2(this.#most)) - 3))
        const seed = random.next() | 0
        this.#complete(m, Math.min(depth, 13), seed, random.below(MOST_RESERVED + 2) - 1)
        break
      }
      default:
        for (let i = 0; i < 40 && this.#keys.length > 0; i++) {
          const key = random.pick(this.#keys)
          same(() => `trees: the weight of key ${key}`, this.#find(m, key), this.#model.get(key))
        }
    }
  }

  #insert(m: Mutator, key: number, weight: number): void {
    const { at } = this.#node
    const fresh = m.alloc(this.#node)
    m.f64[(fresh >>> 1) + at.key] = key
    m.i32[fresh + at.weight] = weight
    let node = this.#root.get(0) as Ref
    if (node === 0) this.#root.set(0, fresh)
    while (node !== 0) {
      const nodeKey = m.f64[(node >>> 1) + at.key]
      if (nodeKey === key) {
        m.i32[node + at.weight] = weight
        break
      }
      const side = key < nodeKey ? at.left : at.right
      const next = m.getRef(node, side)
      if (next === 0) m.setRef(node, side, fresh)
      node = next
    }
    if (!this.#model.has(key)) this.#keys.push(key)
    this.#model.set(key, weight)
  }

  #find(m: Mutator, key: number): number | undefined {
    const { at } = this.#node
    let node = this.#root.get(0) as Ref
    while (node !== 0) {
      const nodeKey = m.f64[(node >>> 1) + at.key]
      if (nodeKey === key) return m.i32[node + at.weight]
      node = m.getRef(node, key < nodeKey ? at.left : at.right)
    }
    return undefined
  }

  #remove(m: Mutator, key: number): void {
    const { at } = this.#node
    let parent = 0 as Ref
    let node = this.#root.get(0) as Ref
    while (node !== 0 && m.f64[(node >>> 1) + at.key] !== key) {
      parent = node
      node = m.getRef(node, key < m.f64[(node >>> 1) + at.key] ? at.left : at.right)
    }
    if (node === 0) throw new Mismatch(`trees: key ${key} is missing`)
    const left = m.getRef(node, at.left)
    const right = m.getRef(node, at.right)
    // With two children: the left subtree moves below the smallest of the right one.
    let heir = right
    if (left !== 0 && right !== 0) {
      let smallest = right
      for (let next = right; next !== 0; next = m.getRef(next, at.left)) smallest = next
      m.setRef(smallest, at.left, left)
    } else if (right === 0) {
      heir = left
    }
    if (parent === 0) this.#root.set(0, heir)
    else m.setRef(parent, m.getRef(parent, at.left) === node ? at.left : at.right, heir)
    this.#model.delete(key)
    const index = this.#keys.indexOf(key)
    this.#keys[index] = this.#keys[this.#keys.length - 1]
    this.#keys.pop()
  }

  /** Builds a complete tree, checks it, forgets it. Subtrees of depth `reserved` have no roots; −1: none. */
  #complete(m: Mutator, depth: number, seed: number, reserved: number): void {
    this.#stack.top = 0
    this.#build(m, depth, seed, reserved)
    const found = this.#sum(m, this.#stack.get(0) as Ref, depth)
    this.#stack.top = 0
    let expected = 0
    for (let i = 1; i < 2 ** (depth + 1); i++) expected = (expected + Math.imul(seed, i)) | 0
    same(() => `trees: the sum of a complete tree of depth ${depth}`, found, expected)
  }
  /** Leaves the tree in the top slot of the stack. Nodes are numbered as in a binary heap. */
  #build(m: Mutator, depth: number, seed: number, reserved: number, number = 1): void {
    const slot = this.#stack.top
    let node: Ref
    if (depth === reserved) {
      m.reserve(NODE_BYTES * (2 ** (depth + 1) - 1))
      node = this.#unrooted(m, depth, seed, number)
    } else {
      if (depth > 0) {
        this.#build(m, depth - 1, seed, reserved, 2 * number)
        this.#build(m, depth - 1, seed, reserved, 2 * number + 1)
      }
      node = this.#new(m, seed, number)
      if (depth > 0) this.#join(m, node, this.#stack.get(slot) as Ref, this.#stack.get(slot + 1) as Ref)
    }
    this.#stack.set(slot, node)
    this.#stack.top = slot + 1
  }
  #unrooted(m: Mutator, depth: number, seed: number, number: number): Ref {
    if (depth === 0) return this.#new(m, seed, number)
    const left = this.#unrooted(m, depth - 1, seed, 2 * number)
    const right = this.#unrooted(m, depth - 1, seed, 2 * number + 1)
    const node = this.#new(m, seed, number)
    this.#join(m, node, left, right)
    return node
  }
  #new(m: Mutator, seed: number, number: number): Ref {
    const { at } = this.#node
    const node = m.alloc(this.#node)
    m.i32[node + at.weight] = Math.imul(seed, number)
    m.f64[(node >>> 1) + at.key] = number
    return node
  }
  #join(m: Mutator, node: Ref, left: Ref, right: Ref): void {
    // Nobody else knows it yet: no cards.
    m.i32[node + this.#node.at.left] = left
    m.i32[node + this.#node.at.right] = right
  }
  #sum(m: Mutator, node: Ref, depth: number, number = 1): number {
    const { at } = this.#node
    same(() => `trees: the number of a node of a complete tree (ref ${node})`, m.f64[(node >>> 1) + at.key], number)
    if (depth === 0) return m.i32[node + at.weight]
    const left = this.#sum(m, m.getRef(node, at.left), depth - 1, 2 * number)
    return (m.i32[node + at.weight] + left + this.#sum(m, m.getRef(node, at.right), depth - 1, 2 * number + 1)) | 0
  }

  check(m: Mutator): void {
    const { at } = this.#node
    const pending: Ref[] = []
    let node = this.#root.get(0) as Ref
    let count = 0
    let last = -1
    while (node !== 0 || pending.length > 0) {
      for (; node !== 0; node = m.getRef(node, at.left)) {
        same(() => `trees: the shape of a node (ref ${node})`, m.shapeOf(node), this.#node.id)
        if (pending.push(node) > this.#model.size) throw new Mismatch('trees: a path longer than the tree has nodes')
      }
      node = pending.pop() as Ref
      const key = m.f64[(node >>> 1) + at.key]
      if (!(key > last)) throw new Mismatch(`trees: key ${key} follows key ${last} (ref ${node})`)
      same(() => `trees: the weight of key ${key} (ref ${node})`, m.i32[node + at.weight], this.#model.get(key))
      last = key
      count++
      node = m.getRef(node, at.right)
    }
    same(() => 'trees: the number of keys', count, this.#model.size)
  }

  reset(): void {
    this.#root.set(0, 0 as Ref)
    this.#stack.top = 0
    this.#model.clear()
    this.#keys.length = 0
  }
}
