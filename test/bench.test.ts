// `glissade bench`: the command works from end to end and writes rows of the documented shape.

import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, describe, expect, it } from 'vitest'

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

async function bench(...args: string[]): Promise<{ machine: Record<string, unknown>; rows: Row[]; text: string }> {
  const file = join(folder, 'rows.json')
  const { stdout } = await run(process.execPath, [program, 'bench', ...args, '--quick', '--json', file])
  return {
    ...(JSON.parse(readFileSync(file, 'utf8')) as { machine: Record<string, unknown>; rows: Row[] }),
    text: stdout,
  }
}

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

  it('a row has percentiles in order for every kind of stall it has', async () => {
    const { rows } = await bench('pauses', '--filter', '16 MiB live; 10 handles')
    expect(rows.length).toBeGreaterThan(0)
    for (const row of rows) {
      for (const kind of ['latencyUs', 'stopUs']) {
        const { count, p50, p99, p999, p9999, max } = row[kind]
        expect(count).toBeGreaterThan(0)
        expect([p50, p99, p999, p9999, max]).toEqual([p50, p99, p999, p9999, max].sort((a, b) => a - b))
      }
    }
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
