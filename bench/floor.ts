// The machine's own floor: what a program sees that allocates nothing, alone, and while a second thread keeps another processor busy.
//
// The step clock runs as it does in every workload, over steps that do nothing. Whatever is above a microsecond here is
// the scheduler, the hypervisor or another tenant. A program whose collector works beside it lies between the two: who takes every
// processor has to make room for whatever else the machine does.

import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { StepClock } from './step-clock.js'

/** With one thread; and with two, which take both processors of the machines that these benchmarks are for. */
export const FLOORS = ['floor', 'floor, two threads'] as const
export const isFloor = (system: string): boolean => (FLOORS as readonly string[]).includes(system)

export async function spin(clock: StepClock, seconds: number, system: string): Promise<void> {
  if (system === FLOORS[0]) return spinAlone(clock, seconds)
  const stop = new Int32Array(new SharedArrayBuffer(4))
  const worker = new Worker(
    `const stop = new Int32Array(require('node:worker_threads').workerData)
     while (Atomics.load(stop, 0) === 0);`,
    { eval: true, workerData: stop.buffer },
  )
  await once(worker, 'online')
  spinAlone(clock, seconds)
  Atomics.store(stop, 0, 1)
  await once(worker, 'exit')
}

function spinAlone(clock: StepClock, seconds: number): void {
  clock.start()
  for (;;) {
    if (!clock.due()) continue
    clock.step()
    if (clock.over(seconds)) break
  }
}
