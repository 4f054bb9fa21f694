// The collector that does not collect: allocates until the heap is full. The baseline of every overhead figure.
//
// `collect` completes without freeing or moving anything and is not counted as a cycle.

import { Word } from '../../heap/layout.js'
import { PortableCollector } from './portable-collector.js'

export class NoCollector extends PortableCollector {
  readonly name = 'none' as const

  collect(): number {
    return this.views.control[Word.Cycles]
  }
  async collectAsync(): Promise<void> {}
  protected allocateOrCollect(mutator: number, shapeId: number, word1: number, granules: number): number {
    return this.space.allocate(mutator, shapeId, word1, granules, this.space.maxBytes)
  }
}
