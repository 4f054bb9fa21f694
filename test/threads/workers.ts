// Threads that open a shared heap.
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { Heap } from 'glissade'

export const entry = new URL('../../dist/index.js', import.meta.url).href

interface Report {
  readonly failures?: number
  readonly rounds?: number
  readonly ready?: boolean
}
export function start(
  heap: Heap,
  stop: SharedArrayBuffer,
  terminateMe = false,
  slots = 0,
): { worker: Worker; report: Promise<Report> } {
  const workerData = { entry, token: heap.share(), stop, terminateMe, slots }
  const worker = new Worker(new URL('../fixtures/attach.mjs', import.meta.url), { workerData })
  const report = new Promise<Report>((resolve, reject) => worker.once('message', resolve).once('error', reject))
  return { worker, report }
}

/** A thread that runs a function of what glissade exports, the heap's token and the port to here, and posts what it returns. */
export function inThread(heap: Heap, body: string): Worker {
  const program = `import(${JSON.stringify(entry)}).then(async (glissade) => {
    const { workerData, parentPort } = require('node:worker_threads')
    parentPort.postMessage(await (${body})(glissade, workerData, parentPort))
  })`
  return new Worker(program, { eval: true, workerData: heap.share() })
}
export async function reportOf(heap: Heap, body: string): Promise<unknown> {
  const worker = inThread(heap, body)
  const [report] = (await once(worker, 'message')) as unknown[]
  await worker.terminate()
  return report
}
