// What single operations cost on the heap, beside the same operations on plain JavaScript objects.
//
// Each operation runs alone in its process, under Benchmark.js (at least 20 samples); a call repeats it often enough that the
// harness's own cost vanishes. Many short calls come first: V8 replaces a function whose first loop is long while it runs, and
// keeps to that replacement, which is slower by two or three times in some processes and not in others. Views are constants of the enclosing function, as in generated code: the JIT
// then knows their address and length (read from an object in each call they cost a list walk half as much again). The tree
// pair allocates and visits 16-byte nodes with every reference kept in a root area across safepoints, of which each subtree
// of RESERVED_DEPTH is one. Both sides include their collectors' work as far as it slows the program. Collector `none` would
// not measure allocation without it: a heap that is never collected is all fresh pages, and the kernel's first touch (2 µs a
// page, 8 ns for 16 bytes) outweighs the allocation itself.

import { Heap, type HeapOptions, type Mutator, type Ref } from 'glissade'
import type { Bench, Case } from './bench.js'
import { heapFigures, peakRssMiB, stopwatch, summarise, watchV8 } from './measure.js'
import { median, type Outcome, type Row } from './rows.js'
import { collectorsHere } from './systems.js'

interface Operation {
  readonly name: string
  /** Operations per call. */
  readonly count: number
  readonly heap: (heap: Heap, m: Mutator) => Call
  readonly plain: () => Call
}
/** Does the operation so many times, or about as often. */
type Call = (count: number) => void

class PlainNode {
  left: PlainNode | null = null
  right: PlainNode | null = null
  key = 0.5
}
class PlainPair {
  constructor(
    readonly left: PlainPair | null,
    readonly right: PlainPair | null,
  ) {}
}

const COUNT = 10_000
/** Calls before measuring, and what each does: not all of it. Loops of a call's whole length would be compiled while they run. */
const WARM_CALLS = 30_000
const WARM_COUNT = 8
const DEPTH = 12
const TREE_NODES = 2 ** (DEPTH + 1) - 1
/** Subtrees of this depth are built after one `m.reserve`. */
const RESERVED_DEPTH = 4
/** A power of two. */
const OBJECTS = 64
const RESERVED_NODES = 2 ** (RESERVED_DEPTH + 1) - 1
/** A whole tree, or for the warm-up a small one. */
const depthOf = (count: number): number => (count < TREE_NODES ? RESERVED_DEPTH : DEPTH)
const TEXT = 'The quick brown fox jumps over the lazy dog, 41 times a day.'
/** Results go here, so that no loop is dead code. */
export let sink: unknown = 0

const NODE = { left: 'ref', right: 'ref', key: 'f64' } as const
const PAIR = { left: 'ref', right: 'ref' } as const

/** A list of `COUNT` nodes of the heap; the reference of its head is in slot 0 of the stack returned, of a short rest in slot 1. */
function heapList(heap: Heap, m: Mutator): { readonly base: number; readonly next: number; readonly key: number } {
  const node = heap.defineShape('Node', NODE)
  const stack = m.roots.stack('ref', 16)
  const { i32, f64, rootsI32 } = m
  const allocate = m.allocator(node)
  const { base } = stack
  rootsI32[base] = rootsI32[base + 1] = 0
  stack.top = 2
  for (let i = 0; i < COUNT; i++) {
    const made = allocate()
    i32[made + node.at.left] = rootsI32[base]
    f64[(made >>> 1) + node.at.key] = i
    rootsI32[base] = made
    if (i === WARM_COUNT) rootsI32[base + 1] = made
  }
  return { base, next: node.at.left, key: node.at.key }
}

/** An array of `OBJECTS` nodes; its reference is in root slot `slot`. */
function heapObjects(
  heap: Heap,
  m: Mutator,
): { readonly slot: number; readonly elementsAt: number; readonly next: number; readonly key: number } {
  const { base, next, key } = heapList(heap, m)
  const { i32, rootsI32 } = m
  const refs = heap.defineArray('Refs', 'ref')
  const stack = m.roots.stack('ref', 1)
  stack.top = 1
  const slot = stack.base
  rootsI32[slot] = m.allocArray(refs, OBJECTS)
  for (let i = 0, object = rootsI32[base] as Ref; i < OBJECTS; i++, object = i32[object + next] as Ref)
    m.setElementRef(rootsI32[slot] as Ref, i, object)
  return { slot, elementsAt: refs.elementsAt, next, key }
}

const OPERATIONS: readonly Operation[] = [
  {
    name: 'allocate 16 bytes',
    count: COUNT,
    heap(heap, m) {
      const allocatePair = m.allocator(heap.defineShape('Pair', PAIR))
      return (count) => {
        const allocate = allocatePair
        let last = 0
        for (let i = 0; i < count; i++) last = allocate()
        sink = last
      }
    },
    plain: () => (count) => {
      let last: PlainPair | null = null
      for (let i = 0; i < count; i++) last = new PlainPair(null, null)
      sink = last
    },
  },
  {
    name: 'tree: allocate and visit a node',
    count: TREE_NODES,
    heap(heap, m) {
      const pair = heap.defineShape('Pair', PAIR)
      const stack = m.roots.stack('ref', 64)
      stack.top = 64
      const { i32, rootsI32, reserve } = m
      const allocate = m.allocator(pair)
      const { left: leftAt, right: rightAt } = pair.at
      const reserved = RESERVED_NODES * 8 * pair.granules
      const buildReserved = (depth: number): Ref => {
        if (depth === 0) return allocate()
        const left = buildReserved(depth - 1)
        const right = buildReserved(depth - 1)
        const ref = allocate()
        i32[ref + leftAt] = left | 0
        i32[ref + rightAt] = right | 0
        return ref
      }
      const build = (depth: number, sp: number): Ref => {
        if (depth === RESERVED_DEPTH) {
          reserve(reserved)
          return buildReserved(depth)
        }
        rootsI32[sp] = build(depth - 1, sp) | 0
        rootsI32[sp + 1] = build(depth - 1, sp + 1) | 0
        const ref = allocate()
        // Nobody else knows it yet: no cards.
        i32[ref + leftAt] = rootsI32[sp]
        i32[ref + rightAt] = rootsI32[sp + 1]
        return ref
      }
      const visit = (ref: number): number => (ref === 0 ? 0 : 1 + visit(i32[ref + leftAt]) + visit(i32[ref + rightAt]))
      return (count) => {
        sink = visit(build(depthOf(count), stack.base))
      }
    },
    plain() {
      const build = (depth: number): PlainPair =>
        depth === 0 ? new PlainPair(null, null) : new PlainPair(build(depth - 1), build(depth - 1))
      const visit = (tree: PlainPair | null): number => (tree === null ? 0 : 1 + visit(tree.left) + visit(tree.right))
      return (count) => {
        sink = visit(build(depthOf(count)))
      }
    },
  },
  {
    name: 'list: visit a node',
    count: COUNT,
    heap(heap, m) {
      const list = heapList(heap, m)
      const { base } = list
      const { rootsI32 } = m
      // A field as a view of its own: no sum for each access, nor its check for overflow.
      const next = m.i32.subarray(list.next)
      const key = m.f64.subarray(list.key)
      return (count) => {
        let sum = 0
        for (let at = rootsI32[count < COUNT ? base + 1 : base]; at !== 0; at = next[at]) sum += key[at >>> 1]
        sink = sum
      }
    },
    plain() {
      let head: PlainNode | null = null
      let tail: PlainNode | null = null
      for (let i = 0; i < COUNT; i++) {
        const made: PlainNode = new PlainNode()
        made.left = head
        made.key = i
        head = made
        if (i === WARM_COUNT) tail = made
      }
      return (count) => {
        let sum = 0
        for (let at: PlainNode | null = count < COUNT ? tail : head; at !== null; at = at.left) sum += at.key
        sink = sum
      }
    },
  },
  {
    // Of another object each time: the JIT takes one read, or one store, out of the loop.
    name: 'read a reference and its number',
    count: COUNT,
    heap(heap, m) {
      const { key, slot, elementsAt } = heapObjects(heap, m)
      const { i32, f64, rootsI32 } = m
      return (count) => {
        const first = rootsI32[slot] + elementsAt
        let sum = 0
        for (let i = 0; i < count; i++) sum += f64[(i32[first + (i & (OBJECTS - 1))] >>> 1) + key]
        sink = sum
      }
    },
    plain() {
      const nodes = Array.from({ length: OBJECTS }, () => new PlainNode())
      return (count) => {
        let sum = 0
        for (let i = 0; i < count; i++) sum += nodes[i & (OBJECTS - 1)].key
        sink = sum
      }
    },
  },
  {
    name: 'store a reference with barrier',
    count: COUNT,
    heap(heap, m) {
      const { next, slot, elementsAt } = heapObjects(heap, m)
      const { setRef, i32, rootsI32 } = m
      return (count) => {
        const first = rootsI32[slot] + elementsAt
        const target = i32[first] as Ref
        for (let i = 0; i < count; i++) setRef(i32[first + (i & (OBJECTS - 1))] as Ref, next, target)
      }
    },
    plain() {
      const nodes = Array.from({ length: OBJECTS }, () => new PlainNode())
      return (count) => {
        const [target] = nodes
        for (let i = 0; i < count; i++) nodes[i & (OBJECTS - 1)].left = target
      }
    },
  },
  {
    name: 'handle: read and write a number',
    count: COUNT,
    heap(heap, m) {
      const handle = m.scope().new(heap.defineShape('Node', NODE), { key: 0.5 })
      return (count) => {
        const h = handle
        for (let i = 0; i < count; i++) h.key = h.key + 1
      }
    },
    plain() {
      const plain = new PlainNode()
      return (count) => {
        for (let i = 0; i < count; i++) plain.key = plain.key + 1
      }
    },
  },
  {
    name: 'handle: store a reference',
    count: COUNT,
    heap(heap, m) {
      const scope = m.scope()
      const node = heap.defineShape('Node', NODE)
      const handle = scope.new(node)
      const other = scope.new(node)
      return (count) => {
        const h = handle
        for (let i = 0; i < count; i++) h.left = other
      }
    },
    plain() {
      const plain = new PlainNode()
      const other = new PlainNode()
      return (count) => {
        for (let i = 0; i < count; i++) plain.left = other
      }
    },
  },
  {
    name: 'handle: a scope with one new object',
    count: COUNT,
    heap(heap, m) {
      const node = heap.defineShape('Node', NODE)
      return (count) => {
        let last = false
        for (let i = 0; i < count; i++) last = m.scoped((s) => s.new(node).alive)
        sink = last
      }
    },
    plain: () => (count) => {
      let last: PlainNode | null = null
      for (let i = 0; i < count; i++) last = new PlainNode()
      sink = last
    },
  },
  {
    name: 'string in, 60 characters',
    count: 1000,
    heap(heap, m) {
      const text = heap.defineArray('Text', 'u16')
      return (count) => {
        for (let i = 0; i < count; i++) sink = m.newString(text, TEXT)
      }
    },
    plain: () => (count) => {
      for (let i = 0; i < count; i++) sink = Buffer.from(TEXT, 'utf16le')
    },
  },
  {
    name: 'string out, 60 characters',
    count: 1000,
    heap(heap, m) {
      const stack = m.roots.stack('ref', 16)
      m.rootsI32[stack.base] = m.newString(heap.defineArray('Text', 'u16'), TEXT)
      stack.top = 1
      return (count) => {
        for (let i = 0; i < count; i++) sink = m.readString(m.rootsI32[stack.base] as Ref)
      }
    },
    plain() {
      const buffer = Buffer.from(TEXT, 'utf16le')
      return (count) => {
        for (let i = 0; i < count; i++) sink = buffer.toString('utf16le')
      }
    },
  },
]

function cases(quick: boolean, systems: readonly string[]): Case[] {
  return OPERATIONS.flatMap(({ name }) =>
    systems.map((system) => ({
      bench: 'micro',
      workload: name,
      system,
      parameters: { quick },
      runs: 3,
    })),
  )
}

async function run({ workload, system, parameters }: Case): Promise<Outcome> {
  const operation = OPERATIONS.find(({ name }) => name === workload) as Operation
  const quick = parameters['quick'] as boolean
  const { default: Benchmark } = await import('benchmark')
  const elapsed = stopwatch()
  const v8 = watchV8()
  const timed = (call: Call): { [figure: string]: number } => {
    for (let i = 0; i < WARM_CALLS; i++) call(WARM_COUNT)
    const benchmark = new Benchmark(
      () => call(operation.count),
      quick ? { minSamples: 5, minTime: 0.01, maxTime: 0.1 } : { minSamples: 20, maxTime: 1.5 },
    )
    benchmark.run({ async: false })
    // Benchmark.js keeps what the call threw to itself.
    if (benchmark.error !== undefined) throw benchmark.error
    // The median: a sample that the scheduler cut in two says nothing about the operation.
    return { nsPerOp: (median(benchmark.stats.sample) * 1e9) / operation.count }
  }
  if (system === 'v8') {
    const figures = timed(operation.plain())
    return {
      figures: { ...elapsed(), peakRssMiB: peakRssMiB(), ...figures },
      histograms: { v8StopUs: summarise(await v8.stop()) },
    }
  }
  using heap = Heap.create({ maxBytes: '64m', collector: system as HeapOptions['collector'] })
  const figures = heap.run((m) => timed(operation.heap(heap, m)))
  const counted = heapFigures(heap)
  return {
    figures: { ...elapsed(), peakRssMiB: peakRssMiB(), ...figures, ...counted.figures },
    histograms: { ...counted.histograms, v8StopUs: summarise(await v8.stop()) },
  }
}

/** `overV8`: how many times the plain object's cost. */
function compare(rows: readonly Row[]): Row[] {
  return rows.map((row) => {
    const plain = rows.find(({ workload, system }) => workload === row.workload && system === 'v8')
    if (plain === undefined || row.system === 'v8') return row
    const overV8 = (row['nsPerOp'] as number) / (plain['nsPerOp'] as number)
    return { ...row, overV8: Number(overV8.toPrecision(3)) }
  })
}

export const micro: Bench = {
  name: 'micro',
  summary: 'nanoseconds of single operations, beside plain JavaScript objects',
  cases({ quick }, skip) {
    try {
      import.meta.resolve('benchmark')
    } catch {
      skip("the package 'benchmark' is not installed (npm install benchmark)")
      return []
    }
    const [collector = 'stop-the-world'] = collectorsHere(['concurrent'], skip)
    return cases(quick, [collector, 'v8'])
  },
  run,
  compare,
}
