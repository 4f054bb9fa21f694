// The heap with its collector: the one place where src/heap and src/gc meet.

import { openCollector, type Capabilities } from './gc/open-collector.js'
import { HeapBase } from './heap/heap.js'
import { parseOptions, type HeapOptions } from './heap/options.js'

/** A managed heap. `using heap = Heap.create()`, or call `close()`. */
export class Heap extends HeapBase {
  /** What this heap can do and why: which collector, how pages move, how faults arrive. */
  readonly capabilities: Capabilities

  private constructor(options: HeapOptions | undefined) {
    const parsed = parseOptions(options)
    const { collector, capabilities } = openCollector(parsed)
    super({ collector, options: parsed, owner: true, retrace: null })
    this.capabilities = capabilities
  }

  /** Creates a heap. Throws ERR_OPTION for anything wrong in `options`, ERR_USERFAULTFD_UNAVAILABLE, ERR_ADDRESS_SPACE. */
  static create(options?: HeapOptions): Heap {
    return new Heap(options)
  }
}
