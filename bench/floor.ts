// The machine's own floor: what a program sees that allocates nothing while a second thread keeps another processor busy.
//
// The step clock runs as it does in every workload, over steps that do nothing. Whatever is above a microsecond here is
// the scheduler, the hypervisor or another tenant, and is in everybody's figures.

import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { StepClock } from './step-clock.js'

export const FLOOR = 'floor'

export async function spin(clock: StepClock, seconds: number): Promise<void> {
  const stop = new Int32Array(new SharedArrayBuffer(4))
  const worker = new Worker(
    `const stop = new Int32Array(require('node:worker_threads').workerData)
     while (Atomics.load(stop, 0) === 0);`,
    { eval: true, workerData: stop.buffer },
  )
  await once(worker, 'online')
  clock.start()
  for (;;) {
    if (!clock.due()) continue
    clock.step()
    if (clock.over(seconds)) break
  }
  Atomics.store(stop, 0, 1)
  await once(worker, 'exit')
}
