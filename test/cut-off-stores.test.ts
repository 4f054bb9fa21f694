// A vm timeout or worker.terminate() may come with every call: no store of a reference is then left without its card, which a
// marker would miss. In a process whose code is not optimised: the compiler takes such calls away.
import { spawnSync } from 'node:child_process'
import { expect, it } from 'vitest'

const entry = new URL('../dist/index.js', import.meta.url).href

/** Prints how often each kind of store was cut off between a reference and its card. */
const program = `
  import { createContext, runInContext } from 'node:vm'
  import { Heap, Tag, Tagged } from ${JSON.stringify(entry)}

  const [CARD, LENGTH, CUT_OFFS] = [256, 256 * 200, 100]
  const torn = {}
  /** \`store\` is given the index of an element, which is as many words long; element 0 lies at \`start\` of \`slots\`. */
  function cutOff(name, store, words, start, slots, cards) {
    const clean = () => {
      slots.fill(0, start, start + LENGTH * words)
      cards.fill(0)
    }
    const work = () => {
      for (;;) {
        clean()
        // Not the first words: the card is another's as well.
        for (let i = CARD; i < LENGTH; i += CARD) store(i)
      }
    }
    const context = createContext({ work })
    torn[name] = 0
    for (let k = 0; k < CUT_OFFS; k++) {
      try {
        runInContext('work()', context, { timeout: 1 })
      } catch (error) {
        if (error.code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error
      }
      for (let i = CARD; i < LENGTH; i += CARD) {
        const word = start + i * words
        if (slots[word] !== 0 && cards[word >>> 8] === 0) torn[name]++
      }
      clean()
    }
  }

  for (const checked of [false, true]) {
    const heap = Heap.create({ maxBytes: '16m', collector: 'none', checked })
    const { i32, cards, rootsI32, rootCards } = heap._core.views
    heap.run((m) => {
      const node = heap.defineShape('Node', { v: 'value' })
      const refs = m.allocArray(heap.defineArray('Refs', 'ref'), LENGTH)
      const values = m.allocArray(heap.defineArray('Values', 'value'), LENGTH)
      const ref = m.alloc(node)
      const value = new Tagged(Tag.Ref, ref)
      const [table, valueTable] = [m.roots.table('ref', LENGTH), m.roots.table('value', LENGTH)]
      const source = m.roots.stack('value', 1)
      source.set(0, value)
      m.setValueRef(ref, node.at.v, ref)
      if (!checked) {
        cutOff('table', (i) => table.set(i, ref), 1, table.base, rootsI32, rootCards)
        cutOff('value table', (i) => valueTable.set(i, value), 2, 2 * valueTable.base, rootsI32, rootCards)
        const array = m.scope().handle(values)
        const handle = m.scope().handle(ref)
        cutOff('handle', (i) => array.set(i, handle), 2, values + 2, i32, cards)
        return
      }
      cutOff('setElementRef', (i) => m.setElementRef(refs, i, ref), 1, refs + 2, i32, cards)
      cutOff('setValueRef', (i) => m.setValueRef(values, i + 1, ref), 2, values + 2, i32, cards)
      cutOff('copyValue', (i) => m.copyValue(values, i + 1, (ref >>> 1) + node.at.v), 2, values + 2, i32, cards)
      cutOff('copyRootValue', (i) => m.copyRootValue(values, i + 1, source.base), 2, values + 2, i32, cards)
    })
    heap.close()
  }
  console.log(JSON.stringify(torn))
`

it('a store that a vm timeout cuts off has marked its card, or stored nothing', () => {
  const { stdout, stderr } = spawnSync(process.execPath, ['--no-opt', '--input-type=module', '-e', program], {
    encoding: 'utf8',
  })
  expect(stderr).toBe('')
  const kinds = ['table', 'value table', 'handle', 'setElementRef', 'setValueRef', 'copyValue', 'copyRootValue']
  expect(JSON.parse(stdout)).toEqual(Object.fromEntries(kinds.map((kind) => [kind, 0])))
})
