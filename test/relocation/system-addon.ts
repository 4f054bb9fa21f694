// Compiles test/fixtures/system.cc, where there is a compiler.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'
import { configurations } from '../conformance/configurations.js'

/** Path of the addon; undefined where there is no compiler, or no concurrent collector to test with it. */
export function systemAddon(): string | undefined {
  if (!configurations.some(({ concurrent }) => concurrent)) return undefined
  const folder = mkdtempSync(join(tmpdir(), 'glissade-addon-'))
  afterAll(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'system.node')
  try {
    execFileSync('g++', ['-shared', '-fPIC', '-O1', 'test/fixtures/system.cc', '-o', path])
    return path
  } catch (error) {
    // A compiler that is there and refuses the fixture is a test that fails.
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    return undefined
  }
}
