// Starts the process that runs the episodes, feeds it with plans until the time is over, and notices when it crashes, hangs
// or reports a violation. The first failure ends the run.

import { fork, type ChildProcess } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { planEpisode, seedAfter, type EpisodePlan, type StressOptions } from './plan.js'
import type { Message } from './process.js'
import { add, emptyTally, type Tally } from './tally.js'

/** Without a sign of life for so long the process hangs. Machines that run stress are often overloaded. */
const HANG_MS = 60_000
const SHORTEST_MS = 250

export interface Failure {
  /** Replays the episode as its first one. */
  readonly seed: number
  readonly what: string
  readonly plan: EpisodePlan
}

export interface StressResult {
  readonly tally: Tally
  readonly episodes: number
  readonly failures: readonly Failure[]
  /** Ended before its time; the episode under way is not counted. */
  readonly interrupted: boolean
}

export async function supervise(
  options: StressOptions,
  names: readonly string[],
  stopping: AbortSignal,
  progress: (plan: EpisodePlan, tally: Tally, elapsedMs: number) => void,
): Promise<StressResult> {
  const begin = performance.now()
  const tally = emptyTally()
  const child = fork(fileURLToPath(new URL('./process.js', import.meta.url)), {
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  })
  let complaints = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => void (complaints = (complaints + text).slice(-4000)))
  let episodes = 0
  try {
    for (let seed = options.seed; ; seed = seedAfter(seed)) {
      const elapsed = performance.now() - begin
      const left = options.seconds * 1000 - elapsed
      if (episodes > 0 && left < SHORTEST_MS) break
      // Long enough for collections to repeat, short enough for many configurations; a single episode gets all there is.
      const ms = Math.max(SHORTEST_MS, Math.min(left, Math.max(1500, options.seconds * 50)))
      const plan = planEpisode(options, seed, names, ms)
      const show = (): void => progress(plan, tally, performance.now() - begin)
      show()
      const outcome = await runOne(child, plan, stopping, show)
      if (outcome.kind === 'stopped') {
        child.kill('SIGKILL')
        return { tally, episodes, failures: [], interrupted: true }
      }
      episodes++
      if (outcome.kind === 'done') {
        add(tally, outcome.tally)
        continue
      }
      const what = [outcome.what, complaints.trim()].filter((text) => text !== '').join('\n')
      return { tally, episodes, failures: [{ seed, what, plan }], interrupted: false }
    }
    return { tally, episodes, failures: [], interrupted: false }
  } finally {
    await stop(child)
  }
}

type Outcome = Exclude<Message, { kind: 'beat' }> | { readonly kind: 'stopped' }

function runOne(child: ChildProcess, plan: EpisodePlan, stopping: AbortSignal, beat: () => void): Promise<Outcome> {
  return new Promise((resolve) => {
    let alarm: NodeJS.Timeout
    const settle = (outcome: Outcome): void => {
      clearTimeout(alarm)
      child.off('message', receive).off('exit', exited)
      stopping.removeEventListener('abort', stopped)
      resolve(outcome)
    }
    const watch = (): void => {
      clearTimeout(alarm)
      const what = `no sign of life for ${HANG_MS / 1000} seconds: a deadlock, or a thread that waits for a page for ever`
      alarm = setTimeout(() => settle({ kind: 'failed', what }), HANG_MS)
    }
    const receive = (message: Message): void => {
      if (message.kind !== 'beat') return settle(message)
      watch()
      beat()
    }
    const stopped = (): void => settle({ kind: 'stopped' })
    // Ctrl-C on a terminal reaches that process as well, and may be noticed there first.
    const exited = (code: number | null, signal: string | null): void =>
      signal === 'SIGINT'
        ? stopped()
        : settle({ kind: 'failed', what: `the process died: ${signal ?? `exit status ${code}`}` })
    child.on('message', receive).on('exit', exited)
    stopping.addEventListener('abort', stopped)
    watch()
    if (stopping.aborted) stopped()
    else child.send(plan)
  })
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = new Promise<void>((resolve) => void child.once('exit', () => resolve()))
  if (child.connected) child.send('stop')
  const alarm = setTimeout(() => child.kill('SIGKILL'), 2000)
  await gone
  clearTimeout(alarm)
}
