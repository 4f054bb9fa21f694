// A worker thread of a stress run: attaches to the heap of each episode, does its part, leaves.

import { setImmediate } from 'node:timers/promises'
import { parentPort } from 'node:worker_threads'
import { Heap } from '../../index.js'
import { Driver } from './driver.js'
import type { ThreadResult, ThreadTask } from './episode.js'
import { emptyTally } from './tally.js'

async function work({ token, plan, thread, exchange }: ThreadTask): Promise<ThreadResult> {
  const heap = Heap.attach(token)
  try {
    const driver = new Driver(heap, plan, thread, exchange)
    const end = performance.now() + plan.ms
    while (performance.now() < end && !driver.finished) {
      driver.slice()
      await setImmediate()
    }
    await driver.finish()
    return { tally: driver.tally }
  } catch (error) {
    return { tally: emptyTally(), failure: `in thread ${thread}: ${(error as Error).stack ?? String(error)}` }
  } finally {
    heap.close()
  }
}

parentPort?.on('message', (task: ThreadTask) => {
  void work(task).then((result) => parentPort?.postMessage(result))
})
