// The process in which the inputs of one target run: corpus first, then mutations of it until the time is over.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { Session } from 'node:inspector'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { Random } from '../../dist/testing.js'
import { mutate } from './mutate.mjs'
import { TARGETS } from './targets.mjs'

/** The blocks of the built library that have run: V8 tells each once. */
class Coverage {
  #session = new Session()
  #seen = new Set()
  constructor() {
    this.#session.connect()
    this.#session.post('Profiler.enable')
    this.#session.post('Profiler.startPreciseCoverage', { callCount: false, detailed: true })
    this.grew()
  }
  /** Whether anything ran since the last call that had not run before. */
  grew() {
    let grew = false
    this.#session.post('Profiler.takePreciseCoverage', (_error, { result }) => {
      for (const { url, functions } of result) {
        if (!url.includes('/dist/')) continue
        for (const { ranges } of functions) {
          for (const { startOffset, endOffset, count } of ranges) {
            const key = `${url}:${startOffset}:${endOffset}:${count > 0}`
            if (this.#seen.has(key)) continue
            this.#seen.add(key)
            grew = true
          }
        }
      }
    })
    return grew
  }
}

const readCorpus = (folder) =>
  existsSync(folder)
    ? readdirSync(folder)
        .sort()
        .map((file) => readFileSync(join(folder, file), 'latin1'))
    : []

async function work({ name, ms, seed, corpus, current, replay }) {
  const target = TARGETS.find((target) => target.name === name)
  const random = new Random(seed)
  let runs = 0
  /** Undefined, or what is wrong. */
  const attempt = async (input) => {
    runs++
    writeFileSync(current, input, 'latin1')
    try {
      await target.run(input)
      return undefined
    } catch (error) {
      const what = (error instanceof Error ? error.stack : String(error)).slice(0, 4000)
      process.send({ kind: 'failed', what })
      return what
    }
  }
  if (replay !== undefined) {
    if ((await attempt(replay)) === undefined) process.send({ kind: 'done' })
    return
  }
  const begin = performance.now()
  const pool = [...target.seeds, ...readCorpus(corpus)]
  const coverage = new Coverage()
  for (const input of pool) {
    if ((await attempt(input)) !== undefined) return
    process.send({ kind: 'beat' })
  }
  // What the corpus reaches is not new.
  coverage.grew()
  const kept = []
  for (let beat = 0; performance.now() - begin < ms;) {
    const input = target.generate?.(random, pool) ?? mutate(random, pool, target.words)
    if ((await attempt(input)) !== undefined) return
    if (coverage.grew()) {
      pool.push(input)
      kept.push(input)
    }
    if (performance.now() > beat) {
      beat = performance.now() + 500
      process.send({ kind: 'report', runs, kept })
      await setImmediate()
    }
  }
  process.send({ kind: 'report', runs, kept })
  process.send({ kind: 'done' })
}

process.once('message', (task) => {
  void work(task).finally(() => process.disconnect())
})
