// Opens the collector that the options ask for, and says what was chosen and why.

import { HeapError } from '../heap/errors.js'
import { createPortableMemory } from '../heap/memory.js'
import type { ParsedOptions } from '../heap/options.js'
import { chooseMode, STOP_THE_WORLD, TAKES_OVER, type Mode } from './capabilities.js'
import type { Collector, CollectorName } from './collector.js'
import { ConcurrentCollector } from './concurrent.js'
import type { NativeBinding } from './native.js'
import { loadNative, probeHere } from './native-loader.js'
import { NoCollector } from './portable/none.js'
import { anyOf, refusalOf } from './refusals.js'
import { StopTheWorldCollector } from './portable/stop-the-world.js'

/** What a heap can do here, and the reasons. */
export interface Capabilities {
  readonly collector: CollectorName
  readonly relocation: Mode['relocation']
  readonly faults: Mode['faults']
  /** Whether `heap.share()` works. */
  readonly sharing: boolean
  /** Why this collector, in sentences. */
  readonly reasons: readonly string[]
  /** How to get more, in sentences; empty when nothing is missing. */
  readonly remedies: readonly string[]
}

export interface OpenedCollector {
  readonly collector: Collector
  readonly capabilities: Capabilities
}

export function openCollector(options: ParsedOptions): OpenedCollector {
  const choice = chooseMode(probeHere(), options)
  if (choice.refusal !== undefined) {
    const remedy = choice.remedies[0] ?? "use collector 'auto', which falls back to stop-the-world"
    const sentence = remedy[0].toUpperCase() + remedy.slice(1)
    throw new HeapError('ERR_USERFAULTFD_UNAVAILABLE', `${choice.refusal}. ${sentence}`)
  }
  const { mode, reasons, remedies } = choice
  try {
    return opened(open(mode, options), mode, reasons, remedies)
  } catch (error) {
    const refusal = mayFallBack(options) ? refusalOf((error as HeapError).cause, options) : undefined
    if (refusal === undefined) throw error
    return opened(
      open(STOP_THE_WORLD, options),
      STOP_THE_WORLD,
      [...reasons, `no concurrent heap was to be had, though: ${refusal.reason}`, TAKES_OVER],
      [...(refusal.remedies.length > 0 ? [anyOf(refusal.remedies)] : []), ...remedies],
    )
  }
}

/** Whether another collector will do, where the system refuses what a concurrent heap needs. */
function mayFallBack({ collector, relocation, protect, stepping }: ParsedOptions): boolean {
  return collector === 'auto' && relocation !== 'move' && !protect && !stepping
}

function opened(
  collector: Collector,
  mode: Mode,
  reasons: readonly string[],
  remedies: readonly string[],
): OpenedCollector {
  return { collector, capabilities: { ...mode, sharing: mode.collector === 'concurrent', reasons, remedies } }
}

/** The collector of a heap that another isolate of this process has open. */
export function reopenCollector(id: number, capabilities: Capabilities): OpenedCollector {
  const { exports, reason } = loadNative()
  if (exports === undefined) {
    throw new HeapError('ERR_USERFAULTFD_UNAVAILABLE', `no native code in this thread: ${reason}`)
  }
  const binding = exports as unknown as NativeBinding
  return { collector: ConcurrentCollector.open(binding, id, capabilities.faults), capabilities }
}

function open({ collector, relocation, faults }: Mode, options: ParsedOptions): Collector {
  if (collector === 'concurrent') {
    // What the probe found missing is not tried again page by page, or asked of the kernel when the heap is made.
    return ConcurrentCollector.create(loadNative().exports as unknown as NativeBinding, {
      ...options,
      relocation: relocation === 'copy' ? 'copy' : options.relocation,
      faults: faults === 'thread' ? 'thread' : options.faults,
    })
  }
  const memory = createPortableMemory(options.maxBytes, options.maxRootBytes, options.checked)
  return collector === 'none' ? new NoCollector(memory, options.maxBytes) : new StopTheWorldCollector(memory, options)
}
