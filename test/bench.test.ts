// `glissade bench`: the command works from end to end and writes rows of the documented shape.

import { execFile, spawn } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Heap } from 'glissade'
import { afterAll, describe, expect, it } from 'vitest'
import { configurations } from './conformance/configurations.js'

const run = promisify(execFile)
const program = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'glissade-bench-'))
afterAll(() => rmSync(folder, { recursive: true }))

interface Latency {
  count: number
  p50: number
  p99: number
  p999: number
  p9999: number
  max: number
}
type Row = { bench: string; workload: string; system: string; runs: number } & Record<string, number & Latency>

interface Report {
  machine: Record<string, unknown>
  rows: Row[]
  skipped: string[]
  failed: string[]
}
type Points = number[][]

/** Where it cannot be had some benchmarks have nothing to measure, and say so; their tests are skipped. */
const concurrent = configurations.some((c) => c.concurrent)
const unlessConcurrent = concurrent ? '' : ' (SKIPPED: the concurrent collector cannot be had here)'

/** All rows that the tests have seen, for the one that looks at their shape. */
const seen: Row[] = []

async function bench(...args: string[]): Promise<Report & { text: string }> {
  const file = join(folder, 'rows.json')
  const { stdout } = await run(process.execPath, [program, 'bench', ...args, '--quick', '--json', file])
  const report = JSON.parse(readFileSync(file, 'utf8')) as Report
  seen.push(...report.rows)
  return { ...report, text: stdout }
}
const seriesOf = (row: Row): Record<string, Points> => row['series'] as unknown as Record<string, Points>

describe('glissade bench', () => {
  it('micro gives nanoseconds of an operation, here and on plain objects', async () => {
    const { machine, rows, text } = await bench('micro', '--filter', 'allocate 16')
    expect(machine['node']).toBe(process.versions.node)
    expect(rows.map(({ system }) => system)).toEqual([expect.any(String), 'v8'])
    for (const row of rows) {
      expect(row).toMatchObject({ bench: 'micro', workload: 'allocate 16 bytes', runs: 1 })
      for (const figure of ['wallS', 'cpuS', 'peakRssMiB', 'nsPerOp']) expect(row[figure]).toBeGreaterThan(0)
    }
    expect(rows[0].overV8).toBeGreaterThan(0)
    expect(text).toContain('ns/op')
  })

  it('pauses have the stops of every system', async () => {
    const { rows } = await bench('pauses', '--filter', '16 MiB live; 10 handles', '--without', 'java')
    expect(rows.map(({ system }) => system)).toContain('v8')
    for (const row of rows) {
      expect(row.latencyUs.count).toBeGreaterThan(0)
      if (row.system !== 'concurrent') {
        expect(row[row.system === 'v8' ? 'v8StopUs' : 'stopUs'].count).toBeGreaterThan(0)
        continue
      }
      // Its pauses stop only whom they meet running: on a busy machine each may find the program waiting for memory. The
      // work of a pause is measured all the same, and every collection has a remark.
      expect(row.remarkUs.count).toBeGreaterThanOrEqual(row['collections'])
      // Two pauses a cycle: the second is the flip, or ends a cycle that needs none.
      expect(row.stopUs?.count ?? 0).toBeLessThanOrEqual(2 * row.remarkUs.count)
    }
  })

  it.runIf(concurrent)(
    `memory of a compaction: what the collector counts is what the kernel saw${unlessConcurrent}`,
    async () => {
      const { rows } = await bench('memory')
      const of = (system: string): Row => rows.find((row) => row.system === system) as Row
      const [collector, mutator] = [of('collector builds'), of('mutator touches a third')]
      for (const row of [collector, mutator]) {
        expect(row['heapMiB']).toBeGreaterThan(row['usedMiB'])
        expect(row['usedMiB']).toBeGreaterThan(60)
        expect(Math.abs(row['peakOverMiB'] - row['buffersMiB'])).toBeLessThan(4)
        expect(row['buffersPeakMiB']).toBeGreaterThanOrEqual(row['buffersMiB'])
      }
      // Whoever builds from one end frees as it goes; at random, sources wait for all that read them.
      expect(collector['builtByMutators']).toBe(0)
      expect(collector['buffersMiB']).toBeLessThan(2)
      expect(mutator['builtByMutators']).toBeGreaterThan(0.25)
      expect(mutator['builtByMutators']).toBeLessThan(0.6)
      // The overdraft: a thirty-second of what is compacted, 1 MiB at least for the collector and as much for mutators.
      expect(mutator['buffersMiB']).toBeGreaterThan(1)
      expect(mutator['buffersMiB']).toBeLessThan(3)
      expect(collector['tablesMiB']).toBeGreaterThan(1)
    },
  )

  it('a program’s rows have its steps, stalls as histograms, utilisation and a timeline', async () => {
    const { rows } = await bench('pusher', '--without', 'java; boehm; none')
    const systems = rows.map(({ system }) => system)
    expect(systems).toEqual(expect.arrayContaining(['floor', 'floor, two threads']))
    for (const row of rows) {
      const { latencyUs } = row
      const { latency, mmu, progress, timeline } = seriesOf(row)
      expect(latencyUs.p50).toBeGreaterThan(0)
      if (!row.system.startsWith('floor')) expect(latencyUs.count).toBe(200_000)
      // The curve ends in the longest step and rises on its way there.
      expect(latency.at(-1)?.[1]).toBeCloseTo(latencyUs.max, 0)
      expect(latency.map(([, us]) => us)).toEqual(latency.map(([, us]) => us).sort((a, b) => a - b))
      for (const [, share] of mmu) expect(share >= 0 && share <= 1).toBe(true)
      expect(progress.length).toBeGreaterThan(10)
      for (const [kind, points] of Object.entries(seriesOf(row))) {
        if (!kind.endsWith('Us') || row[kind] === undefined) continue
        expect(points.reduce((sum, [, n]) => sum + n, 0)).toBe(row[kind].count)
      }
      if (row.system !== 'concurrent') continue
      const phases = timeline.map(([, phase]) => phase)
      expect(phases).toContain(1)
      for (const [ms, , mib] of timeline) expect(ms >= 0 && mib >= 0 && mib <= row['heapMiB']).toBe(true)
    }
  })

  it('peers do the same work, or are skipped and named', async () => {
    const { rows, skipped } = await bench('binary-trees', '--filter', 'depth 14', '--without', 'none; stop-the-world')
    const own = rows.find(({ system }) => system === 'v8') as Row
    for (const [peer, prefix] of [
      ['no peers in Java', 'java '],
      ['no peer in C', 'boehm'],
    ]) {
      const found = rows.filter(({ system }) => system.startsWith(prefix))
      if (found.length === 0) expect(skipped.join()).toContain(peer)
      for (const row of found) {
        expect(row['steps']).toBe(own['steps'])
        expect(row.latencyUs.count).toBe(own.latencyUs.count)
        expect(row['cpuS']).toBeGreaterThan(0)
        expect(row['peakRssMiB']).toBeGreaterThan(5)
      }
    }
  })

  it.runIf(concurrent)(
    `results are taken together and written as a report without scripts and as Markdown${unlessConcurrent}`,
    async () => {
      const results = join(folder, 'results')
      mkdirSync(results)
      await bench('gcbench', '--filter', 'concurrent')
      renameSync(join(folder, 'rows.json'), join(results, 'a.json'))
      await bench('micro', '--filter', 'its number')
      renameSync(join(folder, 'rows.json'), join(results, 'b.json'))
      const [html, markdown] = [join(folder, 'report.html'), join(folder, 'tables.md')]
      await run(process.execPath, [program, 'bench', '--from', results, '--html', html, '--markdown', markdown])
      const page = readFileSync(html, 'utf8')
      expect(page).toContain('<section id="gcbench">')
      expect(page).toContain('<section id="micro">')
      expect(page).toContain('One run of the concurrent collector')
      expect(page).not.toMatch(/<script|<link|<img|https?:|NaN|undefined|Infinity/)
      const tables = readFileSync(markdown, 'utf8').split('\n')
      const at = tables.indexOf('### gcbench')
      expect(at).toBeGreaterThan(0)
      const width = (line: string): number => line.split('|').length
      const rows = tables.slice(at).filter((line) => line.startsWith('|'))
      expect(rows.length).toBeGreaterThanOrEqual(3)
      expect(width(rows[1])).toBe(width(rows[0]))
      expect(width(rows[2])).toBe(width(rows[0]))
    },
  )

  it.runIf(concurrent)(`relocation and barrier have the ratios that are compared${unlessConcurrent}`, async () => {
    using heap = Heap.create({ maxBytes: '1m', collector: 'concurrent' })
    const moves = heap.capabilities.relocation === 'move'
    const { rows } = await bench('relocation', '--filter', 'large objects, no references')
    const of = (system: string): Row[] => rows.filter((row) => row.system === system)
    expect(of('COPY')).toHaveLength(1)
    expect(of('MOVE')).toHaveLength(moves ? 1 : 0)
    for (const move of of('MOVE')) {
      for (const ratio of ['moveOverCopy', 'moveOverCopyByPage', 'placeMoveOverCopy'])
        expect(move[ratio]).toBeGreaterThan(0)
      const [copy] = of('COPY')
      expect(move['moveOverCopy']).toBeCloseTo(move['compactUsPerPage'] / copy['compactUsPerPage'], 1)
      // The same heap, the same pages; none of them could stay as it was.
      expect(move['pagesPlaced']).toBe(copy['pagesPlaced'])
      expect(move['keptShare']).toBeLessThan(0.05)
    }
    const faults = (await bench('barrier', '--filter', 'bare')).rows.filter(({ system }) => system === 'sigbus, MOVE')
    const figures = faults.map((row) => {
      const figure = row.workload.includes('one page') ? 'faultOverFirstTouch' : 'perPageWithFaultAround'
      expect(row[figure], row.workload).toBeGreaterThan(0)
      return figure
    })
    if (moves) expect(new Set(figures)).toEqual(new Set(['faultOverFirstTouch', 'perPageWithFaultAround']))
    for (const row of (await bench('barrier', '--filter', 'of numbers')).rows) {
      expect(row['firstTouchTimesUs'].p50, row.workload).toBeGreaterThan(0)
    }
  })

  it('every row has the documented shape', () => {
    expect(new Set(seen.map((row) => row.bench)).size).toBeGreaterThan(concurrent ? 6 : 3)
    const kinds = ['latencyUs', 'stopUs', 'faultUs', 'allocationStallUs', 'remarkUs', 'flipUs', 'v8StopUs']
    for (const row of seen) {
      for (const name of ['bench', 'workload', 'system']) expect(row[name]).toEqual(expect.any(String))
      expect(row.runs).toBe(1)
      expect(row['spread']).toBeUndefined()
      for (const figure of ['wallS', 'cpuS', 'peakRssMiB']) expect(row[figure], row.workload).toBeGreaterThan(0)
      for (const kind of kinds) {
        if (row[kind] === undefined) continue
        expect(Object.keys(row[kind])).toEqual(['count', 'p50', 'p99', 'p999', 'p9999', 'max'])
        const { count, p50, p99, p999, p9999, max } = row[kind]
        expect(count).toBeGreaterThan(0)
        expect([p50, p99, p999, p9999, max]).toEqual([p50, p99, p999, p9999, max].sort((a, b) => a - b))
      }
      // What is not there is absent: JSON has no other way to say it.
      for (const value of Object.values(row)) expect(value).not.toBeNull()
    }
  })

  it('every row that was written can be read', async () => {
    const file = join(folder, 'seen.json')
    writeFileSync(file, JSON.stringify({ machine: {}, rows: seen, skipped: [] }))
    const { stdout } = await run(process.execPath, [program, 'bench', '--from', file])
    for (const { bench } of seen) expect(stdout).toContain(bench)
  })

  it('several runs give medians and their spread', async () => {
    const { rows, text } = await bench('quads', '--runs', '3', '--filter', 'v8')
    expect(rows).toHaveLength(1)
    const { runs, wallS, spread } = rows[0] as unknown as {
      runs: number
      wallS: number
      spread: Record<string, number[]>
    }
    expect(runs).toBe(3)
    const [least, most] = spread['wallS']
    expect(least <= wallS && wallS <= most && least > 0).toBe(true)
    expect(spread['latencyUs.max'][1]).toBeGreaterThanOrEqual(rows[0].latencyUs.max)
    expect(text).toContain('medians of 3 runs')
    expect(text).toContain('of any run')
  })

  it('measures nothing that it could not write down', async () => {
    const nowhere = join(folder, 'no', 'such', 'folder.json')
    const unwritable = run(process.execPath, [program, 'bench', 'micro', '--quick', '--json', nowhere])
    await expect(unwritable).rejects.toMatchObject({ code: 2, stderr: expect.stringContaining(nowhere) as string })
  })

  it('reports what was run before it was interrupted', async () => {
    const file = join(folder, 'interrupted.json')
    const args = ['bench', 'quads', 'churn', '--quick', '--filter', 'stop-the-world', '--json', file]
    // A process group of its own: like Ctrl-C on a terminal, the signal reaches the case, too.
    const child = spawn(process.execPath, [program, ...args], { detached: true, stdio: ['ignore', 'pipe', 'ignore'] })
    let text = ''
    child.stdout.setEncoding('utf8').on('data', (more: string) => {
      // The first table: the second benchmark is about to begin.
      if (text === '') setTimeout(() => process.kill(-(child.pid as number), 'SIGINT'), 700)
      text += more
    })
    const status = await new Promise((resolve) => child.on('close', resolve))
    expect(status).toBe(1)
    const { rows, skipped } = JSON.parse(readFileSync(file, 'utf8')) as Report
    expect(rows.map((row) => row.bench)).toEqual(['quads'])
    expect(skipped.join()).toContain('stopped')
  })

  it('names a filter that leaves nothing', async () => {
    const nothing = run(process.execPath, [program, 'bench', 'quads', '--quick', '--filter', 'no such thing'])
    // Cases that are missing for another reason may be what was wanted: then that is what is said.
    const [code, said] = concurrent ? [2, '--filter'] : [1, "quads: skipped: collector 'concurrent' cannot be had here"]
    await expect(nothing).rejects.toMatchObject({ code, stderr: expect.stringContaining(said) as string })
  })

  describe('a peer', () => {
    /** A machine whose JVM does this. */
    function jvm(does: string): NodeJS.ProcessEnv {
      const home = mkdtempSync(join(folder, 'jvm-'))
      mkdirSync(join(home, 'bin'))
      writeFileSync(join(home, 'bin', 'javac'), '#!/bin/sh\n', { mode: 0o755 })
      const script = `#!/bin/sh\nfor a; do [ "$a" = -version ] && exit 0; done\n${does}\n`
      writeFileSync(join(home, 'bin', 'java'), script, { mode: 0o755 })
      return { ...process.env, JAVA_HOME: home, TMPDIR: mkdtempSync(join(folder, 'tmp-')) }
    }
    const args = [program, 'bench', 'binary-trees', '--quick', '--filter', 'depth 14 java ZGC', '--json']

    it('that fails is told as failed, not as left out, and the command fails', async () => {
      const file = join(folder, 'failed.json')
      const failing = run(process.execPath, [...args, file], { env: jvm('echo boom >&2; exit 3') })
      const told = 'depth 14 on java ZGC: status 1: Error: java ZGC ended with status 3: boom'
      const stderr = expect.stringContaining(`binary-trees: FAILED: ${told}`) as string
      await expect(failing).rejects.toMatchObject({ code: 1, stderr })
      const { rows, failed, skipped } = JSON.parse(readFileSync(file, 'utf8')) as Report
      expect([rows, failed, skipped]).toEqual([[], [`binary-trees: ${told}`], []])
    })

    it('is charged with the stops of its program, not with those before and after it', async () => {
      const file = join(folder, 'logged.json')
      const log = [90, 150, 250]
        .map((ms) => `[${(ms / 1000).toFixed(3)}s][info][safepoint] Total: ${ms}000 ns`)
        .join('\\n')
      const printed = {
        ...{
          wallS: 0.1,
          cpuS: 0.1,
          peakRssMiB: 9,
          steps: 1,
          elapsedMs: 100,
          maxNs: 1000,
          counts: [1, 1],
          bins: [0, 1],
        },
        ...{ grain: 1, skips: [], stopsUs: [], loggedMs: [100, 200] },
      }
      const env = jvm(`printf '${log}\\n' > gc.log; echo '${JSON.stringify(printed)}'`)
      await run(process.execPath, [...args, file], { env })
      const [row] = (JSON.parse(readFileSync(file, 'utf8')) as Report).rows
      expect(row['stopUs']).toMatchObject({ count: 1, max: 150 })
    })

    it.each(['SIGTERM', 'SIGINT'] as const)(
      'ends with the command when that gets %s, and leaves no files',
      async (signal) => {
        const pid = join(mkdtempSync(join(folder, 'pid-')), 'pid')
        const env = jvm(`echo $$ > ${pid}.part; mv ${pid}.part ${pid}; exec sleep 1000`)
        const child = spawn(process.execPath, [...args, join(folder, 'ended.json')], { env, stdio: 'ignore' })
        const ended = new Promise((resolve) => child.on('close', resolve))
        while (!existsSync(pid)) await new Promise((resolve) => setTimeout(resolve, 20))
        child.kill(signal)
        await ended
        const peer = Number(readFileSync(pid, 'utf8'))
        const state = (): string => {
          try {
            // Nobody waits for an orphan's end but init: a zombie has ended, too.
            return /^State:\s+(\w)/m.exec(readFileSync(`/proc/${peer}/status`, 'utf8'))?.[1] ?? ''
          } catch {
            return 'gone'
          }
        }
        await expect.poll(state, { timeout: 10_000 }).toMatch(/^(gone|Z|X)$/)
        expect(readdirSync(env['TMPDIR'] as string)).toEqual([])
      },
    )
  })

  it('compiles no peer that nobody asked for', async () => {
    // No compiler is found on this path: whoever looked for one would say so.
    const path = mkdtempSync(join(folder, 'path-'))
    const env = { ...process.env, PATH: path, JAVA_HOME: '' }
    const args = ['bench', 'quads', '--quick', '--filter', 'v8']
    const { stdout, stderr } = await run(process.execPath, [program, ...args], { env })
    expect(stdout).toContain('v8')
    expect(stderr).not.toContain('no peer')
    const both = await run(process.execPath, [program, 'bench', 'quads', '--quick', '--without', ' none; stop'], {
      env,
    })
    expect(both.stderr).toContain('no peers in Java')
    expect(both.stderr).toContain('no peer in C')
  })

  it('begins no run when the time is up, and says what was left out', async () => {
    const late = run(process.execPath, [program, 'bench', 'hashtable', '--quick', '--without', 'java', '--limit', '1'])
    const { stdout, stderr } = await late
    expect(stdout).toContain(concurrent ? 'concurrent' : 'stop-the-world')
    expect(stdout).not.toContain('v8')
    expect(stderr).toContain('the time was up')
  })

  it('lists in its help the benchmarks there are', async () => {
    const { stdout } = await run(process.execPath, [program, 'bench', '--help'])
    const suite = (await import(new URL('../dist/bench/suite.js', import.meta.url).href)) as {
      list(): { name: string }[]
    }
    const named = /Benchmarks: ([^.]*)\./.exec(stdout)?.[1].split(', ').sort()
    expect(named).toEqual(
      suite
        .list()
        .map(({ name }) => name)
        .sort(),
    )
  })

  it('names what it does not know', async () => {
    const wrong = run(process.execPath, [program, 'bench', 'macro'])
    await expect(wrong).rejects.toMatchObject({ code: 2, stderr: expect.stringContaining("'macro'") as string })
  })
})

describe('minimum mutator utilisation', () => {
  interface Clock {
    mmu(during?: Points): Points
  }
  /** A program of 100 units a millisecond for a second, with nothing done in `holes`. */
  async function clockWith(holes: Points, more: Record<string, unknown> = {}): Promise<Clock> {
    const { StepClock } = (await import(new URL('../dist/bench/step-clock.js', import.meta.url).href)) as {
      StepClock: { of(recorded: Record<string, unknown>, rate: number): Clock }
    }
    const bins: number[] = []
    for (let bin = 0; bin < 10_000; bin++)
      if (!holes.some(([from, to]) => bin >= from * 10 && bin < to * 10)) bins.push(bin, 10)
    return StepClock.of(
      { steps: 100_000, elapsedMs: 1000, maxNs: 1e6, counts: [], bins, grain: 1, skips: [], ...more },
      0,
    )
  }
  const share = (points: Points, ms: number): number | undefined => points.find(([window]) => window === ms)?.[1]

  it('is the work of the worst window, as a share of undisturbed work', async () => {
    const whole = (await clockWith([[300, 330]])).mmu()
    expect(share(whole, 10)).toBe(0)
    expect(share(whole, 100)).toBeCloseTo(0.7, 5)
    expect((await clockWith([])).mmu().every(([, found]) => found === 1)).toBe(true)
  })
  it('while compacting counts only windows that touch a compaction', async () => {
    const clock = await clockWith([
      [300, 380],
      [700, 720],
    ])
    expect(share(clock.mmu(), 100)).toBeCloseTo(0.2, 5)
    expect(share(clock.mmu([[690, 730]]), 100)).toBeCloseTo(0.8, 5)
    expect(share(clock.mmu([[850, 900]]), 10)).toBe(1)
    expect(clock.mmu([])).toEqual([])
  })
  it('leaves out what the program skipped, and windows too short for what it counts by', async () => {
    const clock = await clockWith([[300, 400]], { skips: [300, 400] })
    expect(share(clock.mmu(), 100)).toBe(1)
    const coarse = (await clockWith([], { grain: 40 })).mmu()
    expect(coarse.map(([ms]) => ms)).toEqual([10, 20, 50, 100])
  })
})

describe('labels of an axis', () => {
  it('never run into each other or out of the picture', async () => {
    const { linearAxis, microsAxis, ninesAxis, textWidth, ticksBetween } = (await import(
      new URL('../dist/bench/report/axes.js', import.meta.url).href
    )) as {
      linearAxis(title: string, largest: number, show: (v: number) => string): object
      microsAxis(title: string, values: number[]): object
      ninesAxis(largest: number): object
      textWidth(text: string): number
      ticksBetween(
        axis: object,
        start: number,
        end: number,
        left: number,
        right: number,
      ): { at: number; label: string; anchor: string }[]
    }
    const axes = [
      ...[1e-2, 1, 300, 5e6].flatMap((low) => [2, 40, 1e4, 1e9].map((factor) => microsAxis('', [low, low * factor]))),
      ...[1, 2, 3, 4, 5, 6, 7, 8].map((nines) => ninesAxis(1 - 10 ** -nines)),
      ...[0.03, 7, 123, 98765].map((largest) => linearAxis('', largest, (v) => v.toLocaleString('en-US'))),
    ]
    for (const axis of axes) {
      const ticks = ticksBetween(axis, 50, 390, 4, 396).filter(({ label }) => label !== '')
      expect(ticks.length).toBeGreaterThanOrEqual(2)
      let free = 4
      for (const { at, label, anchor } of ticks) {
        const width = textWidth(label)
        const from = anchor === 'start' ? at : anchor === 'end' ? at - width : at - width / 2
        expect(from).toBeGreaterThanOrEqual(free)
        free = from + width
        expect(free).toBeLessThanOrEqual(396.001)
      }
    }
  })
})
