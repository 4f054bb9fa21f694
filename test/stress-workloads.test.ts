// The workloads of stress notice it when their structures are damaged: what they compare is compared.
//
// A failure prints the seed; GLISSADE_SEED=n npx vitest run test/stress-workloads.test.ts replays it.

import { Heap, Tag } from 'glissade'
import { Random, seedFromEnvironment } from 'glissade/testing'
import { expect, it } from 'vitest'
import { granulesAt } from '../dist/gc/shape-reader.js'
import { forEachObject, forEachReferenceSlot } from '../dist/gc/trace.js'
import { WORKLOADS } from '../dist/cli/stress/workloads.js'

const SEED = process.env['GLISSADE_SEED'] === undefined ? 1 : seedFromEnvironment()
const STEPS = 3000
const DAMAGES = 120

/**
 * Of the words that are changed a check notices at least this share. Not all: of nil the payload does not count, nor does
 * the hash of an object that nobody looks up, and of parcels the thread compares those that it holds.
 */
const LEAST: { readonly [workload: string]: readonly [changed: number, redirected: number] } = {
  lists: [0.4, 1],
  trees: [0.9, 1],
  graphs: [0.3, 1],
  tables: [0.75, 0.3],
  values: [0.6, 0.9],
  arrays: [0.9, 1],
  fragmentation: [1, 1],
  stacks: [0.5, 1],
  weak: [0.7, 0.4],
  ephemerons: [0.4, 0.4],
  guardians: [0.95, 0.9],
  exchange: [0.5, 0.2],
}

/** One word of the graph, and what it is changed to. */
interface Damage {
  readonly redirects: boolean
  readonly word: number
  readonly content: number
}

/** Words of random objects: references are redirected to another object of the same shape, of all else a bit is turned. */
function damages(heap: Heap, random: Random): Damage[] {
  const { i32, control } = heap._core.views
  const objects: number[] = []
  forEachObject(heap._core, (ref) => objects.push(ref))
  const largest = objects.reduce((a, b) => (granulesAt(control, i32, b) > granulesAt(control, i32, a) ? b : a))
  const found: Damage[] = []
  while (found.length < DAMAGES) {
    // Arrays have more to damage than what they hold, and are fewer.
    const ref = random.chance(0.4) ? largest : random.pick(objects)
    const end = ref + 2 * granulesAt(control, i32, ref)
    // Zero is what is there where nothing has been stored.
    const stored = Array.from({ length: end - ref - 2 }, (_, i) => ref + 2 + i).filter((word) => i32[word] !== 0)
    if (stored.length === 0) continue
    const refs = new Set<number>()
    forEachReferenceSlot(heap._core, ref, (word, isValue) => {
      if (i32[word] !== 0 && (!isValue || i32[word + 1] === Tag.Ref)) refs.add(word).add(isValue ? word + 1 : word)
    })
    const word = random.pick(stored)
    if (!refs.has(word)) {
      found.push({ redirects: false, word, content: i32[word] ^ (1 << random.below(8)) })
    } else if (i32[word] !== Tag.Ref) {
      const target = i32[word]
      const others = objects.filter((other) => i32[other] === i32[target] && other !== target)
      if (others.length > 0) found.push({ redirects: true, word, content: random.pick(others) })
    }
  }
  return found
}

// What the handles of that workload keep lives within one step, which compares it itself.
const checked = WORKLOADS.filter(({ name }) => name !== 'handles')

it.each(checked)(`$name notices what is not as it was stored (seed ${SEED})`, (workload) => {
  using heap = Heap.create({ maxBytes: '16m', collector: 'stop-the-world' })
  const random = new Random(SEED)
  heap.run((m) => {
    const table = m.roots.table('ref', 16)
    table.top = 16
    const context = { heap, random, budget: 1 << 17, exchange: { base: table.base, slots: 16 }, collects: true }
    const activity = workload.start(context, m)
    for (let i = 0; i < STEPS; i++) activity.step(m)
    // A check may let go of much, where it has become too much.
    activity.check(m)
    for (let i = 0; i < STEPS / 50; i++) activity.step(m)
    heap.collectSync()
    activity.check(m)
    const { i32 } = m
    const counts = { changed: [0, 0], redirected: [0, 0] }
    for (const { redirects, word, content } of damages(heap, random)) {
      const before = i32[word]
      i32[word] = content
      const count = redirects ? counts.redirected : counts.changed
      count[1]++
      try {
        activity.check(m)
      } catch {
        // A Mismatch, or what the heap says of a slot that makes no sense: either ends a run of stress.
        count[0]++
      }
      i32[word] = before
    }
    activity.check(m)
    const [changed, redirected] = LEAST[workload.name]
    const said = `seed ${SEED}: ${JSON.stringify(counts)}`
    expect(counts.changed[0], said).toBeGreaterThanOrEqual(changed * counts.changed[1])
    expect(counts.redirected[0], said).toBeGreaterThanOrEqual(redirected * counts.redirected[1])
  })
})
