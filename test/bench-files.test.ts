// Files of `glissade bench`: what --json wrote is read back, one file or many, and what is no such file is told as what it is.

import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, describe, expect, it } from 'vitest'

const run = promisify(execFile)
const program = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'glissade-bench-files-'))
afterAll(() => rmSync(folder, { recursive: true }))

describe('glissade bench', () => {
  const good = { bench: 'quads', workload: 'w', system: 'v8', runs: 1, wallS: 1, cpuS: 1, peakRssMiB: 1 }
  const latencyUs = { count: 1, p50: 1, p99: 1, p999: 1, p9999: 1, max: 1 }
  const whole = (...rows: unknown[]): string => JSON.stringify({ machine: {}, rows, skipped: [] })
  it.each<[string, RegExp]>([
    ['no JSON', /' is not JSON: .*no JSON/],
    ['{"a":1}', /' is not what --json writes: 'machine' is no object/],
    ['null', /: it is no object/],
    [whole(good, 7), /: row 2: it is no object/],
    [whole({ ...good, bench: undefined }), /: row 1 \(w, v8\): 'bench' is missing/],
    [whole({ ...good, bench: 'quad' }), /: row 1 \(quad, w, v8\): no benchmark is called 'quad'/],
    [whole(good, { ...good, wallS: '1' }), /: row 2 \(quads, w, v8\): 'wallS' is not a number/],
    [whole({ ...good, peakRssMiB: undefined }), /'peakRssMiB' is missing/],
    [whole({ ...good, stepsPerS: null }), /'stepsPerS' is not a number/],
    [whole({ ...good, latencyUs: 5 }), /'latencyUs' is not count, p50, /],
    [whole({ ...good, latencyUs: { ...latencyUs, max: undefined } }), /'latencyUs\.max' is missing/],
    [whole({ ...good, ownUs: { ...latencyUs, p50: 'a' } }), /'ownUs\.p50' is not a number/],
    [whole({ ...good, latencyUs, spread: { wallS: 3 } }), /'spread' is not the smallest and the largest/],
    [whole({ ...good, latencyUs, series: { mmu: [1] } }), /'series.mmu' is no list of points of 2 numbers/],
    [whole({ ...good, series: { latency: [[]] } }), /'series.latency' is no list of points of 2 numbers/],
    [
      whole({ ...good, heapMiB: 1, series: { timeline: [[1, 2]] } }),
      /'series.timeline' is no list of points of 5 numbers/,
    ],
    [whole({ ...good, series: { timeline: [[0, 1, 2, 3, 4]] } }), /'heapMiB' is missing/],
    [whole(good, good), /' has twice quads, w, v8: a case can be taken from one/],
    ['{"machine":{},"rows":[],"skipped":[],"failed":7}', /'failed' is no list of texts/],
  ])('reads nothing else than its own: %s', async (text, why) => {
    const other = join(folder, 'other.json')
    const html = join(folder, 'other.html')
    writeFileSync(other, text)
    const unreadable = run(process.execPath, [program, 'bench', '--from', other, '--html', html])
    const { code, stderr } = (await unreadable.catch((error: unknown) => error)) as { code: number; stderr: string }
    expect(code).toBe(2)
    expect(stderr).toContain(`glissade: --from: '${other}'`)
    expect(stderr).toMatch(why)
    // Nothing stays of a file that was to be written.
    expect(existsSync(html)).toBe(false)
  })

  it('says what of --from left nothing', async () => {
    const file = join(folder, 'quads.json')
    // A benchmark's own durations are read like those of all.
    writeFileSync(file, whole({ ...good, latencyUs, firstTouchTimesUs: latencyUs }))
    const said = async (...args: string[]): Promise<string> => {
      const read = run(process.execPath, [program, 'bench', '--from', file, ...args])
      return read.then(
        ({ stdout }) => stdout,
        ({ code, stderr }: { code: number; stderr: string }) => `${code} ${stderr}`,
      )
    }
    expect(await said('pauses')).toBe(`2 glissade: --from: '${file}' has no rows of pauses; it has quads\n`)
    expect(await said('quads', '--filter', 'none')).toMatch(/^2 .* is left by --filter and --without/)
    expect(await said('quads')).toContain('one run of each')
  })

  it('writes the other files, and says which not, where one cannot be written', async () => {
    const file = join(folder, 'full.json')
    const html = join(folder, 'full.html')
    writeFileSync(file, whole(good))
    const args = ['bench', '--from', file, '--json', '/dev/full', '--html', html]
    const full = run(process.execPath, [program, ...args])
    const said = expect.stringContaining("the rows could not be written to '/dev/full'") as string
    await expect(full).rejects.toMatchObject({ code: 1, stderr: said })
    expect(readFileSync(html, 'utf8')).toContain('quads')
  })

  it('takes several files for what they are: of which machines, and no case twice', async () => {
    const parts = mkdtempSync(join(folder, 'parts-'))
    const part = (name: string, machine: object, bench: string): void =>
      writeFileSync(join(parts, name), JSON.stringify({ machine, rows: [{ ...good, bench }], skipped: [] }))
    part('a.json', { model: 'one', node: '20', date: '2026-01-02' }, 'quads')
    part('b.json', { model: 'other', node: '20', date: '2026-01-01' }, 'pusher')
    mkdirSync(join(parts, 'folder.json'))
    symlinkSync('nowhere', join(parts, 'dangling.json'))
    const markdown = join(folder, 'parts.md')
    await run(process.execPath, [program, 'bench', '--from', parts, '--markdown', markdown])
    expect(readFileSync(markdown, 'utf8')).toContain('model one and other · node 20 · date 2026-01-01 to 2026-01-02')
    part('c.json', {}, 'pusher')
    const twins = run(process.execPath, [program, 'bench', '--from', parts])
    const said = expect.stringMatching(/'.*b\.json' and '.*c\.json' both have pusher, w, v8/) as string
    await expect(twins).rejects.toMatchObject({ code: 2, stderr: said })
  })

  it('compares rows that were measured in steps as if they were of one run', async () => {
    const parts = mkdtempSync(join(folder, 'steps-'))
    const row = { bench: 'micro', workload: 'an operation', runs: 1, wallS: 1, cpuS: 1, peakRssMiB: 1 }
    writeFileSync(join(parts, 'ours.json'), whole({ ...row, system: 'concurrent', nsPerOp: 3 }))
    writeFileSync(join(parts, 'v8.json'), whole({ ...row, system: 'v8', nsPerOp: 2 }))
    const { stdout } = await run(process.execPath, [program, 'bench', '--from', parts])
    expect(stdout).toContain('× V8')
    expect(stdout).toMatch(/concurrent +3\.00 +1\.50 /)
  })

  it('says what failed when it was measured, of the benchmarks that are asked for', async () => {
    const file = join(folder, 'failed.json')
    writeFileSync(
      file,
      JSON.stringify({ machine: {}, rows: [good], skipped: [], failed: ['churn: w on v8: it crashed'] }),
    )
    const all = run(process.execPath, [program, 'bench', '--from', file])
    await expect(all).rejects.toMatchObject({ code: 1, stderr: 'FAILED: churn: w on v8: it crashed\n' })
    const { stderr } = await run(process.execPath, [program, 'bench', '--from', file, 'quads'])
    expect(stderr).toBe('')
  })

  it('writes no two things to one file', async () => {
    const file = join(folder, 'both')
    const both = run(process.execPath, [
      program,
      'bench',
      'micro',
      '--quick',
      '--json',
      file,
      '--html',
      join(folder, '.', 'both'),
    ])
    const said = expect.stringMatching(
      /^glissade: --json and --html are both '.*both': each needs a file of its own/,
    ) as string
    await expect(both).rejects.toMatchObject({ code: 2, stderr: said })
    expect(existsSync(file)).toBe(false)
  })
})
