// The benchmark of relocation compares like with like, and gives the ratios that people quote.
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, describe, expect, it } from 'vitest'
import { configurations } from '../conformance/configurations.js'

const here = configurations.some(({ concurrent }) => concurrent)
const folder = mkdtempSync(join(tmpdir(), 'glissade-bench-'))
afterAll(() => rmSync(folder, { recursive: true }))

type Row = { readonly workload: string; readonly system: string } & { readonly [figure: string]: number }

async function bench(name: string, filter: string): Promise<readonly Row[]> {
  const file = join(folder, `${name}.json`)
  const args = ['dist/cli/main.js', 'bench', name, '--quick', '--filter', filter, '--json', file]
  await promisify(execFile)(process.execPath, args)
  return (JSON.parse(readFileSync(file, 'utf8')) as { rows: Row[] }).rows
}

describe.runIf(here)('glissade bench', () => {
  it('relocation gives MOVE, COPY and COPY page by page the same pages to place', async () => {
    const rows = await bench('relocation', 'large objects, sparse references')
    expect(rows.map(({ system }) => system)).toEqual(['MOVE', 'COPY', 'COPY page by page'])
    const [move, copy, byPage] = rows
    expect(move['pagesPlaced']).toBeGreaterThan(1000)
    for (const row of rows) {
      for (const same of ['pagesPlaced', 'collections']) expect(row[same]).toBe(move[same])
      for (const figure of ['buildUsPerPage', 'placeUsPerPage', 'compactUsPerPage'])
        expect(row[figure]).toBeGreaterThan(0)
    }
    expect(move['bytesCopied']).toBe(0)
    expect(copy['bytesCopied']).toBe(copy['pagesPlaced'] * 4096)
    expect(copy['pagesPerCall']).toBeGreaterThan(1)
    expect(byPage['pagesPerCall']).toBe(1)
    expect(move['pagesRecycled']).toBeGreaterThan(0)
    for (const ratio of ['moveOverCopy', 'moveOverCopyByPage', 'placeMoveOverCopy'])
      expect(move[ratio]).toBeGreaterThan(0)
  })
})
