// Snapshots that tests write, read as their heads describe them.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Heap, SnapshotOptions } from 'glissade'
import { afterAll, expect } from 'vitest'

/** Where the tests of one file write; gone when they are done. */
export const folder = mkdtempSync(join(tmpdir(), 'glissade-snapshots-'))
afterAll(() => rmSync(folder, { recursive: true }))

export interface Node {
  readonly type: string
  readonly name: string
  readonly id: number
  readonly bytes: number
  readonly edges: { readonly type: string; readonly name: string | number; readonly to: Node }[]
}
/** A file in V8's format, read as its head describes it. */
export function readSnapshot(file: string): Node[] {
  const { snapshot, nodes, edges, strings } = JSON.parse(readFileSync(file, 'utf8')) as {
    snapshot: { meta: Record<string, [string[]]>; node_count: number; edge_count: number; trace_function_count: number }
    nodes: number[]
    edges: number[]
    strings: string[]
  }
  const rowsOf = (numbers: number[], fields: string[]): Record<string, number>[] => {
    expect(numbers.length % fields.length).toBe(0)
    // The developer tools read them into unsigned 32-bit numbers.
    expect(numbers.every((number) => number >>> 0 === number)).toBe(true)
    return Array.from({ length: numbers.length / fields.length }, (_, row) =>
      Object.fromEntries(fields.map((field, k) => [field, numbers[row * fields.length + k]])),
    )
  }
  const { meta } = snapshot
  // Else the developer tools look for traces.
  expect(snapshot.trace_function_count).toBe(0)
  const nodeFields = meta['node_fields'] as unknown as string[]
  const nodeRows = rowsOf(nodes, nodeFields)
  const edgeRows = rowsOf(edges, meta['edge_fields'] as unknown as string[])
  expect([nodeRows.length, edgeRows.length]).toEqual([snapshot.node_count, snapshot.edge_count])
  const read = nodeRows.map((row) => ({
    type: meta['node_types'][0][row['type']],
    name: strings[row['name']],
    id: row['id'],
    bytes: row['self_size'],
    edges: [] as Node['edges'],
  }))
  let next = 0
  nodeRows.forEach(({ edge_count }, from) => {
    for (const row of edgeRows.slice(next, (next += edge_count))) {
      const type = meta['edge_types'][0][row['type']]
      expect(row['to_node'] % nodeFields.length).toBe(0)
      const name = type === 'element' ? row['name_or_index'] : strings[row['name_or_index']]
      read[from].edges.push({ type, name, to: read[row['to_node'] / nodeFields.length] })
    }
  })
  expect(next).toBe(edgeRows.length)
  expect(new Set(read.map(({ id }) => id)).size).toBe(read.length)
  return read
}
export const snapshotOf = (heap: Heap, options: SnapshotOptions = {}): Node[] => {
  const file = join(folder, 'one.heapsnapshot')
  heap.writeSnapshot(file, options)
  return readSnapshot(file)
}
