import { spawnSync } from 'node:child_process'
import { accessSync, constants, cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
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

it('what the README links to is in the package', () => {
  const run = spawnSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { encoding: 'utf8' })
  const [{ files }] = JSON.parse(run.stdout) as [{ files: { path: string }[] }]
  const packed = files.map(({ path }) => path)
  const links = [...readFileSync('README.md', 'utf8').matchAll(/\]\((?!https?:)([^)#]+)/g)].map(([, link]) => link)
  expect(links.length).toBeGreaterThan(5)
  expect(links.filter((link) => !packed.includes(link))).toEqual([])
})

it('every command in "bin" is a file that can be run', () => {
  for (const file of Object.values(manifest.bin)) {
    expect(readFileSync(file, 'utf8'), file).toMatch(/^#!\/usr\/bin\/env node\n/)
    expect(() => accessSync(file, constants.X_OK), file).not.toThrow()
  }
})

it('benchmarks of an installed package say what is in the repository only', () => {
  const installed = mkdtempSync(join(tmpdir(), 'glissade-installed-'))
  try {
    for (const file of ['dist', 'package.json']) cpSync(file, join(installed, file), { recursive: true })
    symlinkSync(join(process.cwd(), 'node_modules'), join(installed, 'node_modules'))
    const addon = join(process.cwd(), 'build', 'Release', 'glissade.node')
    const bench = (name: string): string =>
      spawnSync(process.execPath, [join(installed, 'dist/cli/main.js'), 'bench', name, '--filter', 'nothing'], {
        encoding: 'utf8',
        env: { ...process.env, GLISSADE_NATIVE: existsSync(addon) ? addon : 'none' },
      }).stderr
    expect(bench('lox')).toMatch(/^lox: skipped: .* in a checkout of the repository only$/m)
    const barrier = bench('barrier')
    if (!barrier.includes('cannot be had here'))
      expect(barrier).toMatch(/the bare part is in a checkout of the repository only/)
  } finally {
    rmSync(installed, { recursive: true })
  }
})

it('the package can be imported by its own name', async () => {
  expect(require.resolve('glissade/package.json')).toMatch(/package\.json$/)
  expect((await import('glissade')).Heap).toBeTypeOf('function')
  expect((await import('glissade/testing')).tuned).toBeTypeOf('function')
})
