// SIGBUS belongs to everybody: what is not a page of a heap goes to the handler that was there, or kills as before; what is
// put over the collector's handler does not keep it from its pages; profilers interrupt faults without harm.
//
// Each program is a process of its own, with a small addon (test/fixtures/system.cc) for what JavaScript cannot do.
import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { configurations } from '../conformance/configurations.js'
import { systemAddon } from './system-addon.js'

const here = configurations.some(({ concurrent }) => concurrent)
const folder = mkdtempSync(join(tmpdir(), 'glissade-signals-'))
afterAll(() => rmSync(folder, { recursive: true }))
const addon = systemAddon()

interface Ended {
  readonly status: number | null
  readonly signal: string | null
  /** What the program gave to `tell`, in order. */
  readonly told: readonly unknown[]
  readonly error: string
}

function run(program: string, flags: readonly string[] = []): Promise<Ended> {
  const source = `
    import { createRequire } from 'node:module'
    import { halfway } from '${new URL('../fixtures/halfway.mjs', import.meta.url).href}'
    import { Heap } from '${new URL('../../dist/index.js', import.meta.url).href}'
    const signals = ${addon === undefined ? 'null' : `createRequire('${addon}')('${addon}')`}
    const tell = (value) => console.log(JSON.stringify(value))
    ${program}`
  return start(['--expose-gc', ...flags, '--input-type=module', '-e', source])
}

function start(args: readonly string[]): Promise<Ended> {
  // A core file of a process that is meant to die is nobody's use.
  const child = spawn('sh', ['-c', 'ulimit -c 0; exec "$0" "$@"', process.execPath, ...args], { timeout: 120_000 })
  let out = ''
  let error = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (error += text))
  return new Promise((resolve) =>
    child.on('close', (status, signal) => {
      const lines = out.split('\n').filter((line) => line !== '')
      resolve({ status, signal, error, told: lines.map((line) => JSON.parse(line) as unknown) })
    }),
  )
}

const DEFAULT = 0
const THEIRS = 1
const OURS = 2

describe.runIf(addon !== undefined)('a handler of somebody else', () => {
  it('that was there first gets the bus errors that are not ours, none of our faults, and its place back', async () => {
    const ended = await run(`
      signals.install()
      let held = halfway()
      tell([signals.disposition(), held.wrong(0.5), held.faults() > 50, signals.count()])
      tell([signals.busError(), signals.count(), held.wrong(), signals.count()])
      held.finish()
      held.heap.close()
      held = undefined
      for (let i = 0; i < 100 && signals.disposition() !== ${THEIRS}; i++) {
        gc()
        await new Promise((resolve) => setTimeout(resolve, 10))
      }
      tell([signals.disposition(), signals.busError(), signals.count()])`)
    expect(ended).toMatchObject({ status: 0, error: '' })
    expect(ended.told).toEqual([
      [OURS, 0, true, 0],
      [0, 1, 0, 1],
      [THEIRS, 0, 2],
    ])
  })

  it('that was put over ours does not keep us from the faults of the next cycle, and gets its own', async () => {
    const ended = await run(`
      const held = halfway()
      held.finish()
      signals.install()
      tell(signals.disposition())
      held.again()
      tell([signals.disposition(), held.wrong(), held.faults() > 50, signals.count()])
      tell([signals.busError(), signals.count()])
      held.finish()`)
    expect(ended).toMatchObject({ status: 0, error: '' })
    expect(ended.told).toEqual([THEIRS, [OURS, 0, true, 0], [0, 1]])
  })
})

describe.runIf(addon !== undefined)('without one', () => {
  it.each([
    ['a bus error', 'signals.busError()'],
    ['a SIGBUS that was sent', `process.kill(process.pid, 'SIGBUS'); for (;;) held?.wrong(0.1)`],
  ])('%s kills the process as it would without a heap', async (_name, cause) => {
    const [bare, heap] = await Promise.all([
      run(`const held = null; tell(signals.disposition()); ${cause}; tell('alive')`),
      run(`const held = halfway(); tell([signals.disposition(), held.wrong(0.5)]); ${cause}; tell('alive')`),
    ])
    expect(bare).toMatchObject({ signal: 'SIGBUS', told: [DEFAULT] })
    expect(heap).toMatchObject({ signal: 'SIGBUS', told: [[OURS, 0]] })
  })
})

describe.runIf(here)("process.on('SIGBUS')", () => {
  it('hears what was sent, and no fault, though it comes and goes in the middle of a compaction', async () => {
    const ended = await run(`
      const listeners = () => process.listenerCount('newListener') + process.listenerCount('removeListener')
      const before = listeners()
      const held = halfway()
      let heard = 0
      const listener = () => heard++
      // Timers come before what the signal's handler has written for the loop: on a busy machine the first may come too early.
      const soon = async (wanted) => {
        for (let i = 0; i < 5 || (heard < wanted && i < 2000); i++) await new Promise((resolve) => setTimeout(resolve, 10))
      }
      tell(held.wrong(0.2))
      process.on('SIGBUS', listener)
      tell(held.wrong(0.4))
      process.kill(process.pid, 'SIGBUS')
      await soon(1)
      tell([heard, held.wrong(0.6)])
      process.off('SIGBUS', listener)
      tell([held.wrong(0.8), held.faults() > 50])
      process.once('SIGBUS', listener)
      held.finish()
      held.again()
      tell(held.wrong(0.5))
      process.kill(process.pid, 'SIGBUS')
      await soon(2)
      tell([heard, held.wrong()])
      held.finish()
      held.heap.close()
      tell(listeners() - before)`)
    expect(ended).toMatchObject({ status: 0, signal: null, error: '' })
    expect(ended.told).toEqual([0, 0, [1, 0], [0, true], 0, [2, 0], 0])
  })

  it('takes no fault from the heap of another thread that the main thread has attached', async () => {
    const ended = await run(`
      import { once } from 'node:events'
      import { Worker } from 'node:worker_threads'
      const listeners = () => process.listenerCount('newListener') + process.listenerCount('removeListener')
      const before = listeners()
      const worker = new Worker(\`
        import { parentPort } from 'node:worker_threads'
        import { halfway } from '${new URL('../fixtures/halfway.mjs', import.meta.url).href}'
        const held = halfway()
        parentPort.postMessage(held.heap.share())
        parentPort.on('message', (part) => parentPort.postMessage([held.wrong(part), held.faults() > 50]))
      \`, { eval: true })
      const [token] = await once(worker, 'message')
      const [first, second] = [Heap.attach(token), Heap.create({ maxBytes: '1m', collector: 'concurrent' })]
      const wrong = async (part) => {
        worker.postMessage(part)
        tell((await once(worker, 'message'))[0])
      }
      const listener = () => {}
      process.on('SIGBUS', listener)
      process.off('SIGBUS', listener)
      second.close()
      await wrong(0.4)
      process.on('SIGBUS', listener)
      await wrong(1)
      process.off('SIGBUS', listener)
      first.close()
      tell(listeners() - before)
      process.exit(0)`)
    expect(ended).toMatchObject({ status: 0, signal: null, error: '' })
    expect(ended.told).toEqual([[0, true], [0, true], 0])
  })

  it('and its removal leaves the default action, for others, when the heap is gone', async () => {
    const ended = await run(`
      const held = halfway()
      const listener = () => {}
      process.on('SIGBUS', listener)
      process.off('SIGBUS', listener)
      held.finish()
      held.heap.close()
      tell('closed')
      process.kill(process.pid, 'SIGBUS')
      setTimeout(() => tell('alive'), 1000)`)
    expect(ended).toMatchObject({ signal: 'SIGBUS', told: ['closed'] })
  })
})

describe.runIf(addon !== undefined)('a thread with SIGBUS blocked', () => {
  it('is refused when it first runs, and served when it has unblocked it', async () => {
    const ended = await run(`
      signals.block()
      const heap = Heap.create({ maxBytes: '4m', collector: 'concurrent' })
      const node = heap.defineShape('Node', { next: 'ref' })
      try { heap.run((m) => m.alloc(node)) } catch ({ code, message }) { tell([code, message]) }
      signals.unblock()
      heap.run((m) => m.alloc(node))
      heap.collectSync()
      heap.assertValid()
      tell('end')`)
    expect(ended).toMatchObject({ status: 0, error: '' })
    expect(ended.told).toEqual([
      ['ERR_SIGBUS_BLOCKED', expect.stringMatching(/SIGBUS is blocked in this thread/)],
      'end',
    ])
  })

  it('does as well as any with faults served by a thread', async () => {
    const ended = await run(`
      signals.block()
      const held = halfway({ faults: 'thread' })
      tell([held.wrong(), held.faults() > 50])
      held.finish()`)
    expect(ended).toMatchObject({ status: 0, error: '', told: [[0, true]] })
  })
})

describe.runIf(here)('profilers', () => {
  const given = JSON.stringify({
    seconds: 0.5,
    relocation: 'auto',
    faults: 'sigbus',
    inject: 'delay:compact=300us',
    least: 50,
  })
  it.each([
    ['--cpu-prof', ['--cpu-prof', '--cpu-prof-interval', '100', '--cpu-prof-dir', join(folder, 'cpu')], 'cpu'],
    ['--prof', ['--prof', '--no-logfile-per-isolate', `--logfile=${join(folder, 'prof', 'v8.log')}`], 'prof'],
  ])('%s interrupts threads that fault, and nothing is lost', async (_name, flags, where) => {
    execFileSync('mkdir', ['-p', join(folder, where)])
    const ended = await start([...flags, 'test/fixtures/atomicity.mjs', given])
    expect(ended).toMatchObject({ status: 0, signal: null, error: '' })
    const [{ wrong, barrierFaults }] = ended.told as { wrong: string[]; barrierFaults: number }[]
    expect(wrong).toEqual([])
    expect(barrierFaults).toBeGreaterThan(0)
    const profiles = readdirSync(join(folder, where)).map((name) => readFileSync(join(folder, where, name), 'utf8'))
    expect(profiles.join('')).toMatch(/atomicity\.mjs/)
  })
})
