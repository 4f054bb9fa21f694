// Snapshots: what is in the files, against models of the heaps they are of, and what becomes of files that are there.
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { getHeapSnapshot } from 'node:v8'
import { Heap, type Mutator, type Ref } from 'glissade'
import { expect, it } from 'vitest'
import { SnapshotWriter } from '../../dist/inspection/snapshot-format.js'
import { failure, overAll, withHeap } from './configurations.js'
import { BYTES, distances, forRandomGraphs, NODE_SLOTS, numberOf, seed, shapesOf } from './random-graphs.js'
import { folder, readSnapshot, snapshotOf, type Node } from './snapshot-files.js'

overAll('snapshots', (configuration) => {
  it(`a snapshot has every live object, and every reference between them (seed ${seed})`, () => {
    forRandomGraphs(configuration, (heap, { model, roots }, m, shapes) => {
      const at = distances(model, roots)
      const nodes = snapshotOf(heap, { className: (ref: Ref) => `#${numberOf(m, shapes, ref)}` })
      const lines = nodes.flatMap(({ name, bytes, edges }) => {
        return [`${name}: ${bytes}`, ...edges.map((edge) => `${name} -${edge.type} ${edge.name}-> ${edge.to.name}`)]
      })
      const expected = ['(roots): 0', 'table: 12', '(roots) -element 0-> table']
      // Where a new object is held while a checked heap finds out where everything is.
      if (heap.options.checked) expected.push('handles: 4', '(roots) -element 1-> handles')
      roots.forEach((k, slot) => expected.push(`table -element ${slot}-> #${k}`))
      model.forEach(({ kind, slots }, k) => {
        if (at[k] === undefined) return
        expected.push(`#${k}: ${BYTES[kind]}`)
        slots.forEach((to, slot) => {
          if (to === null || at[to] === undefined) return
          const key = kind === 'keys' && slot % 2 === 1 ? slots[slot - 1] : null
          const weak = kind === 'weak' || (kind === 'keys' && (slot % 2 === 0 || key !== null))
          const name = kind === 'node' ? `property ${NODE_SLOTS[slot]}` : `${weak ? 'weak' : 'element'} ${slot}`
          expected.push(`#${k} -${name}-> #${to}`)
          if (key === null || at[key] === undefined) return
          const array = nodes.find((node) => node.name === `#${k}`) as Node
          expected.push(`#${key} -internal value in Keys @${array.id}-> #${to}`)
        })
      })
      expect(lines.sort()).toEqual(expected.sort())
      expect(nodes.every(({ type }, row) => type === (row === 0 ? 'synthetic' : 'object'))).toBe(true)
    })
  })

  it('texts and classes of the language stand in the snapshot', () => {
    withHeap(configuration, {}, (heap) => {
      const { node } = shapesOf(heap)
      const text = heap.defineArray('Text', 'u8')
      heap.run((m) => {
        const table = m.roots.table('ref', 4, { name: 'table' })
        const characters = 'Üxyz "quoted"\n\u2028' + 'long '.repeat(1000)
        table.set(0, m.newString(text, characters))
        table.set(1, m.alloc(node))
        table.set(2, m.alloc(node))
        table.set(3, m.allocArray(heap.defineArray('Refs', 'ref'), 3))
        for (const at of [node.at.left, node.at.right]) m.setRef(table.get(1) as Ref, at, table.get(2) as Ref)
        for (const i of [0, 1]) m.setElementRef(table.get(3) as Ref, i, table.get(2) as Ref)
        const nodes = snapshotOf(heap, {
          className: (ref: Ref, with_: Mutator) => (ref === table.get(1) && with_ === m ? 'Point' : undefined),
          text: (ref: Ref) => (m.shapeOf(ref) === text.id ? m.readString(ref) : undefined),
          slotName: (ref: Ref, slot: string | number, with_: Mutator) => {
            if (ref === table.get(1)) return slot === 'right' && with_ === m ? 'value' : undefined
            return slot === 1 ? 'one' : undefined
          },
        })
        expect(nodes[3].edges.map(({ type, name }) => [type, name])).toEqual([
          ['property', 'left'],
          ['property', 'value'],
        ])
        expect(nodes[5].edges.map(({ type, name }) => [type, name])).toEqual([
          ['element', 0],
          ['property', 'one'],
        ])
        expect(nodes.slice(2).map(({ type, name, bytes }) => ({ type, name, bytes }))).toEqual([
          {
            type: 'string',
            name: characters.slice(0, 1024),
            bytes: 8 * Math.ceil(1 + m.lengthOf(table.get(0) as Ref) / 8),
          },
          { type: 'object', name: 'Point', bytes: 32 },
          { type: 'object', name: 'Node', bytes: 32 },
          { type: 'object', name: 'Refs', bytes: 24 },
        ])
      })
    })
  })

  it('root areas have ids of their own, the bytes of their slots, and weak slots weak edges', () => {
    withHeap(configuration, {}, (heap) => {
      const { node } = shapesOf(heap)
      heap.run((m) => {
        const stack = m.roots.stack('value', 4, { name: 'stack' })
        stack.top = 3
        const scope = m.scope()
        heap.weak(scope.new(node))
        const nodes = snapshotOf(heap)
        const [root, ...others] = nodes
        for (const { name, id } of others) expect([name, id % 2]).toEqual([name, name === 'Node' ? 1 : 0])
        const area = (called: string): Node =>
          root.edges.map(({ to }) => to).find(({ name }) => name === called) as Node
        expect(area('stack').bytes).toBe(24)
        const edges = (called: string) => area(called).edges.map(({ type, name, to }) => [type, name, to.name])
        expect(edges('weak handles')).toEqual([['weak', '0', 'Node']])
        expect(edges('scopes')).toEqual([['element', 0, 'Node']])
      })
    })
  })

  it('answers that are no texts are refused, and whatever text is written', () => {
    withHeap(configuration, {}, (heap) => {
      const { node } = shapesOf(heap)
      heap.run((m) => {
        const table = m.roots.table('ref', 1, { name: 'table' })
        table.set(0, m.alloc(node))
        m.setRef(table.get(0) as Ref, node.at.left, table.get(0))
        const file = join(folder, 'answers.heapsnapshot')
        for (const option of ['className', 'text', 'slotName']) {
          for (const [answer, shown] of [
            [5, '5'],
            [Symbol('x'), 'Symbol(x)'],
            [Promise.resolve('x'), 'a Promise'],
          ]) {
            expect(failure(() => heap.writeSnapshot(file, { [option]: () => answer }))).toEqual({
              code: 'ERR_BAD_VALUE',
              message: `${option} of heap.writeSnapshot returns a string or undefined; got ${String(shown)}`,
            })
          }
          for (const answer of ['', '\ud800', '__proto__', 'x'.repeat(1024)]) {
            const [, , { type, name, edges }] = snapshotOf(heap, { [option]: () => answer })
            expect(option === 'slotName' ? edges[0].name : name).toBe(answer)
            expect(type).toBe(option === 'text' ? 'string' : 'object')
          }
        }
        expect(existsSync(file)).toBe(false)
      })
    })
  })

  it('a function that changes the heap is told so, and there is no file', () => {
    withHeap(configuration, {}, (heap) => {
      const { node } = shapesOf(heap)
      heap.run((m) => {
        const table = m.roots.table('ref', 1)
        table.set(0, m.alloc(node))
        m.setRef(table.get(0) as Ref, node.at.left, table.get(0))
        const file = join(folder, 'changed.heapsnapshot')
        const className = (ref: Ref): undefined => void m.setRef(ref, node.at.left, 0)
        expect(failure(() => heap.writeSnapshot(file, { className }))).toEqual({
          code: 'ERR_BAD_VALUE',
          message:
            'a function given to heap.writeSnapshot has changed the heap: of 3 references 2 are left. It may read objects and root slots, not store into them',
        })
        expect(existsSync(file)).toBe(false)
      })
    })
  })

  it('a file that cannot be written is an error of the file system', () => {
    withHeap(configuration, {}, (heap) => {
      const missing = join(folder, 'missing', 'one.heapsnapshot')
      const { code, message } = failure(() => heap.writeSnapshot(missing))
      expect(code).toBe('ERR_SNAPSHOT')
      expect(message).toMatch(/^the snapshot .*missing.one\.heapsnapshot could not be written: ENOENT/)
      const taken = join(folder, 'taken')
      if (!existsSync(taken)) mkdirSync(taken)
      expect(failure(() => heap.writeSnapshot(taken)).message).toMatch(/could not be written: EISDIR/)
      expect(readdirSync(taken)).toEqual([])
      expect(existsSync(`${taken}.partial`)).toBe(false)
    })
  })

  it('a file that is replaced keeps its mode, a link its end, and nobody else is written over', () => {
    withHeap(configuration, {}, (heap) => {
      const own = mkdtempSync(join(folder, 'own-'))
      const [file, link, nothing] = ['a.heapsnapshot', 'link', 'nothing'].map((name) => join(own, name))
      writeFileSync(file, 'before')
      chmodSync(file, 0o600)
      writeFileSync(`${file}.partial`, 'of another program')
      symlinkSync(file, link)
      symlinkSync('/dev/null', nothing)
      symlinkSync('elsewhere', join(own, 'dangling'))
      heap.writeSnapshot(join(own, 'dangling'))
      expect(readlinkSync(join(own, 'dangling'))).toBe('elsewhere')
      for (const name of ['dangling', 'elsewhere']) rmSync(join(own, name))
      heap.writeSnapshot(link)
      expect(readlinkSync(link)).toBe(file)
      expect(readSnapshot(file)).toHaveLength(1)
      expect(statSync(file).mode & 0o777).toBe(0o600)
      heap.writeSnapshot(nothing)
      expect(readlinkSync(nothing)).toBe('/dev/null')
      expect(readFileSync(`${file}.partial`, 'utf8')).toBe('of another program')
      expect(readdirSync(own).sort()).toEqual(['a.heapsnapshot', 'a.heapsnapshot.partial', 'link', 'nothing'])
      // One inside the other: the outer one is complete last.
      const { node } = shapesOf(heap)
      heap.run((m) => m.roots.table('ref', 1, { name: 'table' }).set(0, m.alloc(node)))
      heap.writeSnapshot(file, { className: () => (heap.writeSnapshot(file), 'Outer') })
      expect(readSnapshot(file).map(({ name }) => name)).toContain('Outer')
    })
  })
})

it('a snapshot is handed on in pieces', () => {
  const pieces: (string | Uint8Array)[] = []
  const writer = new SnapshotWriter((piece) => pieces.push(piece), 10_000, 10_000)
  for (let i = 0; i < 10_000; i++) writer.node('object', `class ${i}`, i, 16, 1)
  writer.endNodes()
  for (let i = 0; i < 10_000; i++) writer.edge('property', 'next', i)
  writer.end()
  expect(pieces.length).toBeGreaterThan(5)
  for (const { length } of pieces) expect(length).toBeLessThan(70_000)
  const { nodes, edges, strings } = JSON.parse(pieces.map(String).join('')) as Record<string, unknown[]>
  expect([nodes.length, edges.length, strings.length]).toEqual([70_000, 30_000, 10_001])
})

it('what texts are cut from is not kept, nor are many texts, and each has its place', () => {
  // With a process's whole memory for V8: the heap has 200 MB of text, and 17 MB of that are written.
  const program = `
    import { Heap } from ${JSON.stringify(new URL('../../dist/index.js', import.meta.url).href)}
    const heap = Heap.create({ maxBytes: '256m', collector: 'none' })
    const text = heap.defineArray('Text', 'u8')
    heap.run((m) => {
      const table = m.roots.table('ref', 20_000)
      for (let i = 0; i < 20_000; i++) table.set(i, m.newString(text, \`text \${i} \`.padEnd(10_000, 'abc')))
    })
    heap.writeSnapshot(process.argv[1], {
      text: (ref, m) => m.readString(ref),
      slotName: () => undefined,
    })`
  const file = join(folder, 'texts.heapsnapshot')
  const args = ['--max-old-space-size=100', '--input-type=module', '-e', program, file]
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  const texts = readSnapshot(file).filter(({ type }) => type === 'string')
  expect(texts).toHaveLength(20_000)
  texts.forEach(({ name }, i) => expect(name).toBe(`text ${i} `.padEnd(1024, 'abc')))
})

it('a URL that names no file here is refused as such', () => {
  using heap = Heap.create({ maxBytes: '1m', collector: 'none' })
  for (const url of ['file://host/x.heapsnapshot', 'file:///a%2Fb', 'https://host/x.heapsnapshot']) {
    const { code, message } = failure(() => heap.writeSnapshot(new URL(url)))
    expect(code).toBe('ERR_BAD_VALUE')
    expect(message).toMatch(`heap.writeSnapshot takes the name of a file, or a file: URL; got "${url}"`)
  }
})

it('a snapshot has the fields and types of those that V8 writes', async () => {
  using heap = Heap.create({ maxBytes: '1m', collector: 'none' })
  const file = join(folder, 'meta.heapsnapshot')
  heap.writeSnapshot(file)
  const stream = getHeapSnapshot()
  let head = ''
  for await (const piece of stream) if ((head += String(piece)).includes('"nodes"')) break
  const [, meta] = /"meta":(\{.*?\}),\s*"node_count"/s.exec(head) as unknown as [string, string]
  const ours = JSON.parse(readFileSync(file, 'utf8')) as { snapshot: { meta: Record<string, unknown[]> } }
  const theirs = JSON.parse(meta) as Record<string, unknown[]>
  const lists = (of: Record<string, unknown[]>) => [
    // Left out by V8 13, where no allocations are traced; its reader goes by names.
    of['node_fields'].filter((field) => field !== 'trace_node_id').slice(0, 6),
    (of['node_types'] as string[][])[0].slice(0, 14),
    of['edge_fields'].slice(0, 3),
    of['edge_types'],
  ]
  expect(lists(ours.snapshot.meta)).toEqual(lists(theirs))
})
