import { accessSync, constants, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { expect, it } from 'vitest'

// What a consumer sees of the package from outside: its entry points exist and load.
const require = createRequire(import.meta.url)
const manifest = JSON.parse(readFileSync('package.json', 'utf8')) as {
  exports: Record<string, string | { types: string; default: string }>
  bin: Record<string, string>
}

it('every entry of "exports" points at a file that the build writes', () => {
  for (const entry of Object.values(manifest.exports)) {
    for (const file of typeof entry === 'string' ? [entry] : [entry.types, entry.default]) {
      expect(readFileSync(file, 'utf8').length, file).toBeGreaterThan(0)
    }
  }
})

it('every command in "bin" is a file that can be run', () => {
  for (const file of Object.values(manifest.bin)) {
    expect(readFileSync(file, 'utf8'), file).toMatch(/^#!\/usr\/bin\/env node\n/)
    expect(() => accessSync(file, constants.X_OK), file).not.toThrow()
  }
})

it('the package can be imported by its own name', async () => {
  expect(require.resolve('glissade/package.json')).toMatch(/package\.json$/)
  await expect(import('glissade')).resolves.toBeDefined()
  await expect(import('glissade/testing')).resolves.toBeDefined()
})
