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

export class SnapshotWriter {
  readonly #write: (piece: string) => void
  /** Index of each text in the table at the end. */
  readonly #texts = new Map<string, number>()
  #piece = ''
  #separator = ''

  /** `write` takes the JSON in pieces. */
  constructor(write: (piece: string) => void, nodes: number, edges: number) {
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
    this.#separator = ''
    this.#add('],\n"trace_function_infos":[],"trace_tree":[],"samples":[],"locations":[],\n"strings":[')
    for (const text of this.#texts.keys()) this.#row(JSON.stringify(text))
    this.#add(']}\n')
    this.#write(this.#piece)
    this.#piece = ''
  }

  #text(text: string): number {
    let index = this.#texts.get(text)
    if (index === undefined) this.#texts.set(text, (index = this.#texts.size))
    return index
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
