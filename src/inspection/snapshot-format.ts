// The file format of `v8.writeHeapSnapshot`, as a stream of nodes and then edges.
//
// One JSON object: a head that names the fields and says how many rows there are, the rows as flat arrays of numbers, and the texts
// that they refer to by index. Edges follow each other in the order of the nodes they begin at, and name the node they lead to by
// the index of its first number. Nothing here knows heaps.

// V8's own lists (heap-snapshot-generator.cc); a test compares them with a snapshot that V8 writes.
const NODE_FIELDS = ['type', 'name', 'id', 'self_size', 'edge_count', 'trace_node_id', 'detachedness'] as const
const NODE_TYPES = [
  'hidden',
  'array',
  'string',
  'object',
  'code',
  'closure',
  'regexp',
  'number',
  'native',
  'synthetic',
  'concatenated string',
  'sliced string',
  'symbol',
  'bigint',
  'object shape',
] as const
const EDGE_FIELDS = ['type', 'name_or_index', 'to_node'] as const
const EDGE_TYPES = ['context', 'element', 'property', 'internal', 'hidden', 'shortcut', 'weak'] as const

const HEAD = {
  meta: {
    node_fields: NODE_FIELDS,
    node_types: [NODE_TYPES, 'string', 'number', 'number', 'number', 'number', 'number'],
    edge_fields: EDGE_FIELDS,
    edge_types: [EDGE_TYPES, 'string_or_number', 'node'],
    trace_function_info_fields: ['function_id', 'name', 'script_name', 'script_id', 'line', 'column'],
    trace_node_fields: ['id', 'function_info_index', 'count', 'size', 'children'],
    sample_fields: ['timestamp_us', 'last_assigned_id'],
    location_fields: ['object_index', 'script_id', 'line', 'column'],
  },
}

export type NodeType = (typeof NODE_TYPES)[number]
export type EdgeType = (typeof EDGE_TYPES)[number]

/** Characters that are collected before they are handed on. */
const PIECE = 1 << 16
/** Characters of texts that are remembered, to be written once. */
const MOST_REMEMBERED = 1 << 24

export class SnapshotWriter {
  readonly #write: (piece: string | Uint8Array) => void
  /** The table at the end, so far as JSON: outside V8's heap, which the texts of a large one would fill. */
  readonly #table: Uint8Array[] = []
  #tableEnd = ''
  /** Index of the latest texts in that table. */
  readonly #texts = new Map<string, number>()
  #remembered = 0
  #nextText = 0
  #piece = ''
  #separator = ''

  /** `write` takes the JSON in pieces. */
  constructor(write: (piece: string | Uint8Array) => void, nodes: number, edges: number) {
    this.#write = write
    const head = { ...HEAD, node_count: nodes, edge_count: edges, trace_function_count: 0 }
    this.#add(`{"snapshot":${JSON.stringify(head)},\n"nodes":[`)
  }

  /** The first one is the root. `edges` begin at it. */
  node(type: NodeType, name: string, id: number, bytes: number, edges: number): void {
    this.#row(`${NODE_TYPES.indexOf(type)},${this.#text(name)},${id},${bytes},${edges},0,0`)
  }
  endNodes(): void {
    this.#separator = ''
    this.#add('],\n"edges":[')
  }
  /** `name`: an element's index, everything else's text; `to`: the number of a node. */
  edge(type: EdgeType, name: string | number, to: number): void {
    const index = typeof name === 'number' ? name : this.#text(name)
    this.#row(`${EDGE_TYPES.indexOf(type)},${index},${to * NODE_FIELDS.length}`)
  }
  end(): void {
    this.#add('],\n"trace_function_infos":[],"trace_tree":[],"samples":[],"locations":[],\n"strings":[')
    this.#write(this.#piece)
    for (const piece of this.#table) this.#write(piece)
    this.#write(`${this.#tableEnd}]}\n`)
    this.#piece = this.#tableEnd = ''
    this.#table.length = 0
  }

  #text(text: string): number {
    return this.#texts.get(text) ?? this.#newText(text)
  }
  #newText(text: string): number {
    const row = JSON.stringify(text)
    this.#tableEnd += this.#nextText === 0 ? row : `,\n${row}`
    if (this.#tableEnd.length >= PIECE) {
      this.#table.push(Buffer.from(this.#tableEnd))
      this.#tableEnd = ''
    }
    this.#remembered += row.length
    if (this.#remembered > MOST_REMEMBERED) {
      this.#texts.clear()
      this.#remembered = row.length
    }
    // A copy: V8 keeps the whole of a text for a part of it.
    this.#texts.set(JSON.parse(row) as string, this.#nextText)
    return this.#nextText++
  }
  #row(row: string): void {
    this.#add(this.#separator + row)
    this.#separator = ',\n'
  }
  #add(text: string): void {
    this.#piece += text
    if (this.#piece.length < PIECE) return
    this.#write(this.#piece)
    this.#piece = ''
  }
}
