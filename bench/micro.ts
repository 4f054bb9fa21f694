// What single operations cost on the heap, beside the same operations on plain JavaScript objects, in one process.
//
//   node dist/bench/micro.js [collector] [maxBytes]
//
// Each pair runs alternately in Benchmark.js (warm-up, at least 20 samples each); a case repeats its operation often
// enough that the harness's own cost vanishes, and reports nanoseconds per operation. Read the ratios: the machine may be
// shared. The tree pair allocates and visits 16-byte nodes with every reference kept in a root area across safepoints.

import Benchmark from 'benchmark'
import { Heap, type HeapOptions, type Mutator, type Ref } from 'glissade'

interface Case {
  readonly name: string
  /** Operations per call. */
  readonly operations: number
  readonly heap: () => void
  readonly plain: () => void
}

export interface MicroRow {
  readonly name: string
  readonly heapNs: number
  readonly plainNs: number
  /** Relative margin of error of the two, in percent. */
  readonly error: readonly [number, number]
}

class PlainNode {
  left: PlainNode | null = null
  right: PlainNode | null = null
  key = 0.5
}
class PlainPair {
  left: PlainPair | null = null
  right: PlainPair | null = null
}

const OPERATIONS = 10_000
const DEPTH = 12
const TREE_NODES = 2 ** (DEPTH + 1) - 1
/** Results go here, so that no loop is dead code. */
export let sink: unknown = 0

function cases(heap: Heap, m: Mutator): Case[] {
  const pair = heap.defineShape('Pair', { left: 'ref', right: 'ref' })
  const node = heap.defineShape('Node', { left: 'ref', right: 'ref', key: 'f64' })
  const stack = m.roots.stack('ref', 64)
  stack.top = 64
  const { i32, f64, rootsI32, cards } = m
  const { base } = stack
  const allocatePair = m.allocator(pair)
  const scope = m.scope()
  const handle = scope.new(node, { key: 0.5 })
  const other = scope.new(node, { key: 0.25 })
  const plain = new PlainNode()
  const plainOther = new PlainNode()

  const build = (depth: number, sp: number): Ref => {
    if (depth === 0) return allocatePair()
    rootsI32[sp] = build(depth - 1, sp)
    rootsI32[sp + 1] = build(depth - 1, sp + 1)
    const ref = allocatePair()
    const left = ref + pair.at.left
    i32[left] = rootsI32[sp]
    cards[left >>> 8] = 1
    const right = ref + pair.at.right
    i32[right] = rootsI32[sp + 1]
    cards[right >>> 8] = 1
    return ref
  }
  const visit = (ref: number): number => {
    return ref === 0 ? 0 : 1 + visit(i32[ref + pair.at.left]) + visit(i32[ref + pair.at.right])
  }
  const plainBuild = (depth: number): PlainPair => {
    const made = new PlainPair()
    if (depth > 0) {
      made.left = plainBuild(depth - 1)
      made.right = plainBuild(depth - 1)
    }
    return made
  }
  const plainVisit = (tree: PlainPair | null): number => {
    return tree === null ? 0 : 1 + plainVisit(tree.left) + plainVisit(tree.right)
  }

  return [
    {
      name: 'allocate 16 bytes',
      operations: OPERATIONS,
      heap: () => {
        const allocate = allocatePair
        let last = 0
        for (let i = 0; i < OPERATIONS; i++) last = allocate()
        sink = last
      },
      plain: () => {
        for (let i = 0; i < OPERATIONS; i++) sink = new PlainPair()
      },
    },
    {
      name: 'tree: allocate and visit a node',
      operations: TREE_NODES,
      heap: () => {
        sink = visit(build(DEPTH, base))
      },
      plain: () => {
        sink = plainVisit(plainBuild(DEPTH))
      },
    },
    {
      name: 'read a number (raw)',
      operations: OPERATIONS,
      heap: () => {
        const view = f64
        const at = (handle.ref >>> 1) + node.at.key
        let sum = 0
        for (let i = 0; i < OPERATIONS; i++) sum += view[at]
        sink = sum
      },
      plain: () => {
        let sum = 0
        for (let i = 0; i < OPERATIONS; i++) sum += plain.key
        sink = sum
      },
    },
    {
      name: 'store a reference with barrier (raw)',
      operations: OPERATIONS,
      heap: () => {
        const { setRef } = m
        const object = handle.ref
        const target = other.ref
        const at = node.at.left
        for (let i = 0; i < OPERATIONS; i++) setRef(object, at, target)
      },
      plain: () => {
        for (let i = 0; i < OPERATIONS; i++) plain.left = plainOther
      },
    },
    {
      name: 'handle: read and write a number',
      operations: OPERATIONS,
      heap: () => {
        const h = handle
        for (let i = 0; i < OPERATIONS; i++) h.key = h.key + 1
      },
      plain: () => {
        const p = plain
        for (let i = 0; i < OPERATIONS; i++) p.key = p.key + 1
      },
    },
    {
      name: 'handle: store a reference',
      operations: OPERATIONS,
      heap: () => {
        const h = handle
        for (let i = 0; i < OPERATIONS; i++) h.left = other
      },
      plain: () => {
        for (let i = 0; i < OPERATIONS; i++) plain.left = plainOther
      },
    },
    {
      name: 'handle: get by name',
      operations: OPERATIONS,
      heap: () => {
        let sum = 0
        for (let i = 0; i < OPERATIONS; i++) sum += handle.get('key')
        sink = sum
      },
      plain: () => {
        let sum = 0
        for (let i = 0; i < OPERATIONS; i++) sum += plain['key']
        sink = sum
      },
    },
    {
      name: 'handle: a scope with one new object',
      operations: OPERATIONS,
      heap: () => {
        for (let i = 0; i < OPERATIONS; i++) sink = m.scoped((s) => s.new(node).alive)
      },
      plain: () => {
        for (let i = 0; i < OPERATIONS; i++) sink = new PlainNode()
      },
    },
  ]
}

/** Runs every pair; `report` is called as each is done. Not inside run. */
export function micro(options: HeapOptions, report: (row: MicroRow) => void): void {
  using heap = Heap.create({ maxBytes: '64m', ...options })
  heap.run((m) => {
    for (const { name, operations, heap: onHeap, plain } of cases(heap, m)) {
      const timed = [onHeap, plain].map((fn) => new Benchmark(fn, { minSamples: 20, maxTime: 0.5 }))
      for (const benchmark of timed) benchmark.run({ async: false })
      const [heapNs, plainNs] = timed.map((b) => (b.stats.mean * 1e9) / operations)
      report({ name, heapNs, plainNs, error: [timed[0].stats.rme, timed[1].stats.rme] })
    }
  })
}

if (process.argv[1]?.endsWith('micro.js')) {
  const [collector = 'auto', maxBytes = '64m'] = process.argv.slice(2) as [HeapOptions['collector'], string]
  console.log(`ns per operation, collector ${collector}, ${maxBytes}`)
  micro({ collector, maxBytes }, ({ name, heapNs, plainNs, error }) => {
    const figure = (ns: number, e: number): string => `${ns.toFixed(2).padStart(8)} ±${e.toFixed(0).padStart(2)} %`
    const row = [name.padEnd(40), figure(heapNs, error[0]), figure(plainNs, error[1])]
    console.log(`${row.join('  ')}  ${(heapNs / plainNs).toFixed(2)}×`)
  })
}
