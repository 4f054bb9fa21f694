// What it costs a thread to touch a page that has not arrived: the read barrier of this collector.
//
// Two parts. The *bare* part is native code without a heap (native/selftest/barrier-bench.cc): an ordinary first touch and a
// bare SIGBUS round trip beside every way of serving a fault, all in one process, so that their ratios mean something on a
// shared machine. The *heap* part is the real thing from JavaScript: a stepping heap is held right after its flip, the
// collector waiting at a gate, while the program touches every page of to-space: each fault finds a page that nobody has
// built, builds it (references translated) and places it. Touches are timed one to the next.
//
//   faultOverFirstTouch      p50 of the fault / p50 of an ordinary first touch in the same run
//   perPageWithFaultAround   cost of a page when one fault places a run of them / p50 of a first touch

import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Heap, type HeapOptions } from 'glissade'
import { step } from 'glissade/testing'
import type { Bench, Case } from './bench.js'
import { heapFigures, peakRssMiB, stopwatch, summarise } from './measure.js'
import { mergeRuns, type Latency, type Outcome, type Row } from './rows.js'
import { canMove, collectorsHere } from './systems.js'

const selftest = fileURLToPath(new URL('../../build/Release/selftest', import.meta.url))
const FIRST_TOUCH = 'first touch'
const WORDS_PER_PAGE = 1024
/** A touch longer than this took a fault: an ordinary one takes tens of nanoseconds. */
const FAULT_US = 0.8

function cases(quick: boolean): Case[] {
  const heaps = [
    { content: 'references', order: 'random', faults: 'sigbus', relocation: 'move' },
    { content: 'references', order: 'ascending', faults: 'sigbus', relocation: 'move' },
    { content: 'numbers', order: 'random', faults: 'sigbus', relocation: 'move' },
    { content: 'references', order: 'random', faults: 'sigbus', relocation: 'copy' },
    { content: 'references', order: 'random', faults: 'thread', relocation: 'move' },
  ]
  return [
    { bench: 'barrier', workload: 'bare', system: 'native', parameters: {}, runs: 3 },
    ...heaps.map(({ content, order, faults, relocation }) => ({
      bench: 'barrier',
      workload: `heap: unbuilt pages of ${content}, ${order}`,
      system: `${faults}, ${relocation === 'copy' ? 'COPY' : 'MOVE'}`,
      parameters: { content, order, faults, relocation, liveMiB: quick ? 16 : 64 },
      runs: 3,
    })),
  ]
}

function run(one: Case): Outcome {
  return one.workload === 'bare' ? bare() : onHeap(one)
}

function bare(): Outcome {
  const elapsed = stopwatch()
  const { status, stdout, stderr } = spawnSync(selftest, ['--bench', 'barrier'], { encoding: 'utf8' })
  if (status !== 0) throw new Error(`selftest --bench barrier: ${stderr || 'no userfaultfd here'}`)
  const found = JSON.parse(stdout) as { [name: string]: Latency & { perPage: number } }
  return { figures: { ...elapsed(), peakRssMiB: peakRssMiB() }, histograms: found }
}

/** Ordinary first touches of this process: pages of fresh typed arrays. */
function firstTouches(): Latency {
  const pages = 8192
  const times = new Float64Array(pages)
  const fresh = new Uint8Array(new ArrayBuffer(pages * 4096))
  let last = performance.now()
  for (let page = 0; page < pages; page++) {
    fresh[page * 4096] = 1
    const now = performance.now()
    times[page] = (now - last) * 1000
    last = now
  }
  return summarise([...times])
}

function onHeap({ parameters }: Case): Outcome {
  const { content, order, faults, relocation } = parameters as { [name: string]: string }
  const live = (parameters['liveMiB'] as number) * 2 ** 20
  const elapsed = stopwatch()
  firstTouches()
  const touch = firstTouches()
  using heap = Heap.create({
    maxBytes: live * 3,
    collector: 'concurrent',
    collectorThreads: 1,
    stepping: true,
    faults: faults as HeapOptions['faults'],
    relocation: relocation as HeapOptions['relocation'],
  })
  const node = heap.defineShape('Node', { next: 'ref', other: 'ref' })
  const numbers = heap.defineShape('Numbers', { a: 'f64' })
  const refs = heap.defineArray('Refs', 'ref')
  const faulted: number[] = []
  let wholeMs = 0
  let touched = 0
  heap.run((m) => {
    const { i32, rootsI32, cards, control } = m
    const stack = m.roots.stack('ref', 16)
    stack.top = 2
    const { base } = stack
    // Every second object dies, so that every page changes and none can be placed as it is.
    const count = Math.floor(live / 16)
    rootsI32[base] = m.allocArray(refs, count)
    rootsI32[base + 1] = 0
    const isNode = content === 'references'
    const allocate = isNode ? m.allocator(node) : m.allocator(numbers)
    for (let i = 0; i < count; i++) {
      const kept = allocate()
      if (isNode) {
        i32[kept + node.at.next] = rootsI32[base + 1]
        i32[kept + node.at.other] = rootsI32[base + 1]
      }
      rootsI32[base + 1] = kept
      const at = rootsI32[base] + refs.elementsAt + i
      i32[at] = kept
      cards[at >>> 8] = 1
      allocate()
    }
    // The first gate of phase compact: after the flip, before the collector has built more than a chunk.
    for (let gates = 0; step(heap) !== 'compact'; gates++) {
      if (gates > 100_000) throw new Error('the heap was never flipped')
    }
    const memory = heap._core.collector.memory as unknown as { readonly movingStart: number }
    const pages = Math.floor(live / 4096)
    const sequence = Uint32Array.from({ length: pages }, (_, i) => i)
    if (order === 'random') shuffle(sequence)
    const times = new Float64Array(pages)
    const { movingStart } = memory
    let sum = 0
    const begin = performance.now()
    let last = begin
    for (let i = 0; i < pages; i++) {
      sum += i32[movingStart + sequence[i] * WORDS_PER_PAGE]
      const now = performance.now()
      times[i] = (now - last) * 1000
      last = now
    }
    wholeMs = last - begin
    touched = pages + (sum & 0)
    for (const time of times) if (time > FAULT_US) faulted.push(time)
    void control
  })
  const { figures, histograms } = heapFigures(heap)
  const latencyUs = summarise(faulted)
  return {
    figures: {
      ...elapsed(),
      peakRssMiB: peakRssMiB(),
      ...figures,
      firstTouchUs: touch.p50,
      faultOverFirstTouch: latencyUs.p50 / touch.p50,
      perPageUs: (wholeMs * 1000) / touched,
    },
    histograms: { latencyUs, firstTouchTimesUs: touch, faultUs: histograms?.['faultUs'] },
  }
}

function shuffle(sequence: Uint32Array): void {
  let random = 1
  for (let i = sequence.length - 1; i > 0; i--) {
    random = (Math.imul(random, 1664525) + 1013904223) >>> 0
    const other = random % (i + 1)
    const held = sequence[i]
    sequence[i] = sequence[other]
    sequence[other] = held
  }
}

/** The native program's table as rows: `sigbus MOVE 16` is workload `16 pages a fault`, system `sigbus, MOVE`. */
function rows(one: Case, outcomes: readonly Outcome[]): Row[] {
  if (one.workload !== 'bare') return [mergeRuns(one, outcomes)]
  const names = Object.keys(outcomes[0].histograms ?? {})
  return names.map((name) => {
    const [who, how, run] = name.split(' ')
    const pages = Number(run ?? 1)
    const plain = name === FIRST_TOUCH || run === undefined
    const placed = who === 'place'
    const many = pages === 1 ? 'one page' : `${pages} pages`
    const workload = plain ? name : placed ? `bare: placing ${many}, no fault` : `bare: a fault places ${many}`
    const perRun = outcomes.map(({ figures, histograms }): Outcome => {
      const all = histograms as { readonly [name: string]: Latency & { perPage: number } }
      const first = all[FIRST_TOUCH].p50
      const latencyUs = all[name]
      const ratios = {
        ...(!plain && !placed && pages === 1 && { faultOverFirstTouch: latencyUs.p50 / first }),
        ...(!plain && !placed && pages > 1 && { perPageWithFaultAround: latencyUs.perPage / first }),
      }
      return { figures: { ...figures, perPageUs: latencyUs.perPage, ...ratios }, histograms: { latencyUs } }
    })
    return mergeRuns({ bench: 'barrier', workload, system: plain ? 'native' : placed ? how : `${who}, ${how}` }, perRun)
  })
}

export const barrier: Bench = {
  name: 'barrier',
  summary: 'touching a page that has not arrived, beside an ordinary first touch and a bare SIGBUS',
  cases({ quick }, skip) {
    if (collectorsHere(['concurrent'], skip).length === 0) return []
    const moves = canMove(skip)
    const all = cases(quick).filter(({ parameters }) => moves || parameters['relocation'] !== 'move')
    if (existsSync(selftest)) return all
    skip(
      'the bare part is in a checkout of the repository only, where npm run build:native makes build/Release/selftest',
    )
    return all.filter(({ workload }) => workload !== 'bare')
  },
  run,
  rows,
}
