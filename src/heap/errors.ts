// The one error class and the one table of its codes.
//
// Every message says what was wrong, what was received, the rule, and what to do about it; `code` is stable and is what
// programs test. The code tells the base meaning, the message the instance: tests pin both.

/** All codes of {@link HeapError}, each with the rule it stands for. */
export const ERROR_CODES = {
  ERR_OPTION: 'an option is unknown, misspelled or out of range',
  ERR_HEAP_CLOSED: 'the heap was closed; nothing of it may be used afterwards',
  ERR_NOT_RUNNING: 'heap memory may be touched only inside heap.run()',
  ERR_RUNNING: 'this may not be done inside heap.run()',
  ERR_NO_SAFEPOINT: 'while the heap is inspected the program may read it, and not allocate, poll or collect',
  ERR_ASYNC_RUN: 'heap.run(), m.scoped() and m.parked() take synchronous functions only',
  ERR_HEAP_EXHAUSTED:
    'live data does not fit into maxBytes, even after a full collection, or a large object finds no free addresses in one piece',
  ERR_ROOTS_EXHAUSTED: 'the root region (maxRootBytes) or the table of root areas is full',
  ERR_SHAPE_CONFLICT: 'a shape of this name was already defined differently',
  ERR_BAD_SHAPE: 'a shape definition is not valid',
  ERR_BAD_REF: 'a Ref is not the address of a live object',
  ERR_STALE_REF: 'a Ref was kept across a safepoint: collections move objects',
  ERR_WRONG_SHAPE: 'the object has another shape than the operation expects',
  ERR_BOUNDS: 'an index, length or size is out of range, or what it is for was given back',
  ERR_BAD_VALUE: 'a value does not fit into its slot, or an argument is not what the call takes',
  ERR_HANDLE_DEAD: 'the scope of the handle has ended, or the global was released',
  ERR_FOREIGN_HANDLE: 'the handle belongs to another heap',
  ERR_NO_SCOPE: 'a handle is made in a scope, and none is open',
  ERR_STACK_LIMIT_TAKEN: 'one root stack per mutator can own the stack-limit word',
  ERR_NO_SHARING: 'only the concurrent collector can share a heap between threads',
  ERR_USERFAULTFD_UNAVAILABLE: 'the concurrent collector cannot run here',
  ERR_SIGBUS_BLOCKED: 'SIGBUS is blocked in this thread: its first page fault would kill the process',
  ERR_EXTERNAL_BUFFERS: 'this JavaScript engine does not allow external array buffers',
  ERR_NATIVE_HEAP: 'the system refused memory, a thread or a descriptor to the concurrent collector',
  ERR_RELOCATION: 'a page could not be relocated as the options demand',
  ERR_ADDRESS_SPACE: 'the address space of the heap could not be reserved',
  ERR_MUTATORS: 'all mutator blocks of the heap are taken',
  ERR_INVALID_HEAP: 'the heap is damaged: verification found it, or a collection was cut off half way',
  ERR_SNAPSHOT: 'the file system refused to write a snapshot; `cause` is its error',
  ERR_INTERNAL: 'a rule of the collector itself was broken: please report it',
} as const

export type ErrorCode = keyof typeof ERROR_CODES

/**
 * What every misuse and every failure of a heap throws, but for what JavaScript itself throws of it: the end of the stack, and
 * code from strings where that is forbidden. Test `code`; show `message`.
 */
export class HeapError extends Error {
  readonly code: ErrorCode
  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.code = code
  }
}
// Not by assignment, which fails where the program has frozen Error.prototype.
Object.defineProperty(HeapError.prototype, 'name', { value: 'HeapError', writable: true, configurable: true })

const MOST_SHOWN = 60
const shortened = (text: string): string => (text.length > MOST_SHOWN ? text.slice(0, MOST_SHOWN - 3) + '…' : text)

/** How a received value appears in a message: short, never the content of heap memory, and no error of its own. */
export function show(value: unknown): string {
  try {
    if (typeof value === 'string') return JSON.stringify(shortened(value))
    return shortened(typeof value === 'object' && value !== null ? showObject(value) : showPlain(value))
  } catch {
    // A getter of the program's, a name that is none, a revoked Proxy.
    return typeof value === 'function' ? 'a function' : 'an object'
  }
}
function showPlain(value: unknown): string {
  if (typeof value === 'bigint') return `${value}n`
  if (typeof value !== 'function') return String(value)
  return value.name ? `function ${value.name}` : 'a function'
}
function showObject(value: object): string {
  if (Array.isArray(value)) return `an array of ${value.length}`
  const type = value.constructor
  return type !== Object && type?.name ? `a ${type.name}` : 'an object'
}

/** The closest of `known` to `name` within two edits, or a quarter of its length (case is none), for "did you mean". */
export function suggest(name: string, known: readonly string[]): string | undefined {
  let best: string | undefined
  let bestDistance = Math.max(2, Math.floor(name.length / 4)) + 1
  for (const candidate of known) {
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase())
    if (distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

/** What to do about a name that is none of `known`: the one that was meant, most likely, or all of them after `list`. */
export function remedyFor(name: unknown, known: readonly string[], list: string): string {
  const near = typeof name === 'string' ? suggest(name, known) : undefined
  return near === undefined ? `${list} ${known.join(', ')}` : `did you mean '${near}'?`
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const substitution = row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(next[j - 1] + 1, row[j] + 1, substitution))
    }
    row = next
  }
  return row[b.length]
}
