// The process in which episodes run: a collector that crashes or hangs takes this one with it, and not the report.

import { runEpisode, stopThreads } from './episode.js'
import type { EpisodePlan } from './plan.js'
import type { Tally } from './tally.js'

/** What this process says to its supervisor. */
export type Message =
  | { readonly kind: 'beat' }
  | { readonly kind: 'done'; readonly tally: Tally }
  | { readonly kind: 'failed'; readonly what: string }

const send = (message: Message): void => void process.send?.(message)

let lastBeat = 0
function beat(): void {
  const now = performance.now()
  if (now - lastBeat < 200) return
  lastBeat = now
  send({ kind: 'beat' })
}

process.on('message', (plan: EpisodePlan | 'stop') => {
  if (plan === 'stop') {
    void stopThreads().then(() => process.disconnect())
    return
  }
  runEpisode(plan, beat).then(
    (tally) => send({ kind: 'done', tally }),
    (error: unknown) =>
      send({ kind: 'failed', what: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
  )
})
