// What an embedder sees of each relocation policy when the kernel refuses: strict moving ends with an error that says which
// page, which errno and why, and leaves a valid heap; the others go on, and the statistics say what happened.
import { Heap, HeapError, type HeapOptions, type HeapStatistics } from 'glissade'
import { afterEach, describe, expect, it } from 'vitest'
import type { NativeBinding, NativeError } from '../../dist/gc/native.js'
import { loadNative } from '../../dist/gc/native-loader.js'
import { configurations } from '../conformance/configurations.js'

const here = configurations.some(({ concurrent }) => concurrent)
const binding = loadNative().exports as unknown as NativeBinding
function inject(rules: string): void {
  expect(binding.configureInjection(rules, 7)).toBeUndefined()
}
afterEach(() => (here ? inject('') : undefined))

const COUNT = 60_000

/** A heap of one list, every second object of which is garbage: all of it moves when it is collected. */
class ListHeap {
  readonly heap: Heap
  readonly #base: number
  readonly #node

  constructor(options: HeapOptions) {
    this.heap = Heap.create({ maxBytes: '8m', collector: 'concurrent', verify: 3, ...options })
    this.#node = this.heap.defineShape('Node', { next: 'ref', number: 'i32' })
    this.#base = this.heap.run((m) => {
      const table = m.roots.table('ref', 1)
      table.top = 1
      return table.base
    })
    this.fill()
  }
  fill(): void {
    const { at } = this.#node
    this.heap.run((m) => {
      m.rootsI32[this.#base] = 0
      for (let number = 0; number < COUNT; number++) {
        m.alloc(this.#node)
        const made = m.alloc(this.#node)
        m.i32[made + at.number] = number
        m.i32[made + at.next] = m.rootsI32[this.#base]
        m.cards[(made + at.next) >>> 8] = 1
        m.rootsI32[this.#base] = made
        m.rootCards[this.#base >>> 8] = 1
      }
    })
  }
  get intact(): boolean {
    const { id, at } = this.#node
    return this.heap.run((m) => {
      let number = COUNT - 1
      for (let ref = m.rootsI32[this.#base]; ref !== 0; ref = m.i32[ref + at.next], number--) {
        if (m.i32[ref] !== id || m.i32[ref + at.number] !== number) return false
      }
      return number === -1
    })
  }
  get stats(): HeapStatistics {
    return this.heap.stats()
  }
  /** Content, verification, and that the heap can go on: another collection with nothing in its way. */
  expectUsable(): void {
    inject('')
    expect(this.intact).toBe(true)
    this.heap.assertValid()
    this.fill()
    this.heap.collectSync()
    expect(this.intact).toBe(true)
    this.heap.assertValid()
    this.heap.close()
  }
}

function refusal(action: () => void): HeapError & { readonly cause: NativeError } {
  try {
    action()
  } catch (error) {
    expect(error).toBeInstanceOf(HeapError)
    return error as HeapError & { cause: NativeError }
  }
  throw new Error('nothing was thrown')
}

describe.runIf(here)("relocation 'move' is strict", () => {
  it.each([
    ['EBUSY', 16, /shared with a forked process, merged by KSM, or pinned/],
    ['EINVAL', 22, /mapping does not match/],
    ['ENOMEM', 12, /no memory/],
  ])('%s: an error with errno, page and cause, and a valid heap', (name, errno, why) => {
    const list = new ListHeap({ relocation: 'move' })
    inject(`move:${name}=0.5`)
    const { code, message, cause } = refusal(() => list.heap.collectSync())
    expect(code).toBe('ERR_RELOCATION')
    expect(message).toMatch(new RegExp(`page \\d+ could not be moved.*`))
    expect(message).toMatch(why)
    expect(cause).toMatchObject({ errno, page: expect.any(Number) as number })
    expect(message).toContain(String(cause.page))
    expect(list.stats.fallbacks[name]).toBeGreaterThan(0)
    list.expectUsable()
  })

  it('collect() rejects with the same error', async () => {
    const list = new ListHeap({ relocation: 'move' })
    inject('move:EBUSY=0.5')
    await expect(list.heap.collect()).rejects.toMatchObject({ code: 'ERR_RELOCATION', cause: { errno: 16 } })
    list.expectUsable()
  })

  it('an error is told once', () => {
    const list = new ListHeap({ relocation: 'move' })
    inject('move:EBUSY=0.5')
    expect(refusal(() => list.heap.collectSync()).code).toBe('ERR_RELOCATION')
    inject('')
    list.fill()
    list.heap.collectSync()
    list.expectUsable()
  })

  it.each(['EAGAIN=0.5', 'EEXIST=0.5'])('%s is no refusal', (rule) => {
    const list = new ListHeap({ relocation: 'move' })
    inject(`move:${rule}`)
    list.heap.collectSync()
    expect(list.stats.pages.copied).toBe(0)
    list.expectUsable()
  })
})

describe.runIf(here)("relocation 'auto' copies what cannot be moved", () => {
  it.each(['EBUSY', 'EINVAL', 'ENOMEM', 'EFAULT'])('%s', (name) => {
    const list = new ListHeap({ relocation: 'auto' })
    inject(`move:${name}=0.5`)
    list.heap.collectSync()
    const { pages, fallbacks, raw } = list.stats
    expect(pages.copied).toBeGreaterThan(0)
    expect(pages.moved).toBeGreaterThan(0)
    // Told twice: in all, and by the system call that answered so.
    expect(fallbacks[name]).toBe(raw.errors?.['move'][name])
    expect(fallbacks[name]).toBeGreaterThanOrEqual(pages.copied)
    list.expectUsable()
  })
})

describe.runIf(here)("relocation 'copy' moves nothing", () => {
  it.each(['none', 'copy:EAGAIN=0.5', 'copy:ENOMEM=0.5', 'copy:EEXIST=0.5'])('%s', (rules) => {
    const list = new ListHeap({ relocation: 'copy' })
    if (rules !== 'none') inject(`${rules},move:EBUSY=1`)
    list.heap.collectSync()
    expect(list.stats.pages).toMatchObject({ moved: 0 })
    expect(list.stats.pages.copied).toBeGreaterThan(0)
    if (rules !== 'none') expect(list.stats.fallbacks).toHaveProperty(rules.slice(5, rules.indexOf('=')))
    list.expectUsable()
  })
})

describe.runIf(here).each(['move', 'auto', 'copy'] as const)(
  "a flip that is refused (relocation '%s')",
  (relocation) => {
    it.each([
      ['mremap:ENOMEM=1', 'mremap'],
      ['register:ENOMEM=1', 'register'],
    ])('%s: nothing moves, nothing is lost, the next one flips', (rule, operation) => {
      const list = new ListHeap({ relocation })
      inject(rule)
      const before = list.stats.epoch
      list.heap.collectSync()
      expect(list.stats.epoch).toBe(before)
      expect(list.stats.raw.errors?.[operation]['ENOMEM']).toBeGreaterThan(0)
      expect(list.intact).toBe(true)
      inject('')
      list.heap.collectSync()
      expect(list.stats.epoch).toBeGreaterThan(before)
      list.expectUsable()
    })
  },
)
