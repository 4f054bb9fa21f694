// Where the addon is looked for, and what is said where it is not: by GLISSADE_NATIVE, without descriptors, from a bundle.
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { rolldown } from 'rolldown'
import type { Capabilities } from 'glissade'
import { configurations } from './conformance/configurations.js'

const root = process.cwd()
const addon = join(root, 'build', 'Release', 'glissade.node')
const concurrent = configurations.some((c) => c.concurrent)

let folder: string
beforeAll(() => void (folder = mkdtempSync(join(tmpdir(), 'glissade-loader-'))))
afterAll(() => rmSync(folder, { recursive: true }))

/** What a program that has `Heap` prints as JSON. `shell` runs it as `"$0"`. */
function outcome(
  program: string,
  env: Record<string, string> = {},
  shell = 'exec "$0" --input-type=module -',
): unknown {
  const run = spawnSync('bash', ['-c', shell, process.execPath], {
    cwd: folder,
    encoding: 'utf8',
    env: { ...process.env, ...env },
    input: `const { Heap } = await import('${join(root, 'dist', 'index.js')}')\n${program}`,
  })
  expect(run.stderr).toBe('')
  return JSON.parse(run.stdout)
}
const CAPABILITIES = 'console.log(JSON.stringify(Heap.create().capabilities))'

describe('GLISSADE_NATIVE', () => {
  it.runIf(concurrent)('is a path from the working directory where it is not from the root', () => {
    const found = outcome(CAPABILITIES, { GLISSADE_NATIVE: relative(folder, addon) })
    expect((found as Capabilities).collector).toBe('concurrent')
  })
  it.runIf(process.platform === 'linux')('is named, with what it leads to, where that is no addon', () => {
    writeFileSync(join(folder, 'text.node'), 'no addon')
    writeFileSync(join(folder, 'other.cjs'), 'exports.a = 1')
    for (const [file, what] of [
      ['none.node', /, which is not there$/],
      ['text.node', /, which could not be loaded: /],
      ['other.cjs', /, which is no addon of glissade$/],
    ] as const) {
      const { collector, reasons, remedies } = outcome(CAPABILITIES, { GLISSADE_NATIVE: file }) as Capabilities
      expect(collector).toBe('stop-the-world')
      expect(reasons[0].startsWith(`GLISSADE_NATIVE points to ${join(folder, file)}, `)).toBe(true)
      expect(reasons[0]).toMatch(what)
      expect(remedies[0]).toMatch(/^let GLISSADE_NATIVE name an addon .* or unset it$/)
    }
  })
})

it.runIf(concurrent)('a process that is out of descriptors for a while has the addon afterwards', () => {
  const [during, afterwards] = outcome(
    `import { closeSync, openSync } from 'node:fs'
    const open = []
    try {
      for (;;) open.push(openSync('/dev/null'))
    } catch (error) {
      if (error.code !== 'EMFILE') throw error
    }
    const during = Heap.create().capabilities
    open.forEach((file) => closeSync(file))
    console.log(JSON.stringify([during, Heap.create().capabilities]))`,
    {},
    'ulimit -n 200 && exec "$0" --input-type=module -',
  ) as Capabilities[]
  expect(during.collector).toBe('stop-the-world')
  expect(during.reasons[0]).toMatch(/too many open files/i)
  expect(during.remedies).toEqual(['raise the limit on open files: ulimit -n'])
  expect(afterwards.collector).toBe('concurrent')
})

it.runIf(process.platform === 'linux')('a heap that needs addons where Node loads none says so in sentences', () => {
  const program = `try { Heap.create({ collector: 'concurrent' }) } catch ({ message }) { console.log(JSON.stringify(message)) }`
  expect(outcome(program, {}, 'exec "$0" --no-addons --input-type=module -')).toMatch(
    /[^.]\. Let Node load addons: no --no-addons, and/,
  )
})

describe('in a bundle', () => {
  /** An application that glissade has become part of; `cjs` as esbuild makes it, which leaves `import.meta` empty. */
  async function bundled(name: string, format: 'esm' | 'cjs'): Promise<string> {
    const app = join(folder, name)
    mkdirSync(app)
    writeFileSync(join(app, 'package.json'), '{ "name": "app" }')
    const input = join(app, 'source.mjs')
    writeFileSync(
      input,
      `import { Heap } from '${join(root, 'dist', 'index.js')}'
      const heap = Heap.create({ stress: { everySite: true } })
      const Node = heap.defineShape('Node', { next: 'ref' })
      const one = (m) => m.alloc(Node)
      const other = (m) => m.alloc(Node)
      heap.run((m) => {
        for (let i = 0; i < 10; i++) one(m)
        for (let i = 0; i < 10; i++) other(m)
      })
      console.log(JSON.stringify({ ...heap.capabilities, collections: heap.stats().collections }))`,
    )
    const empty = { name: 'esbuild', transform: (code: string) => code.replaceAll('import.meta', '({})') }
    const bundle = await rolldown({
      input,
      platform: 'node',
      logLevel: 'warn',
      plugins: format === 'cjs' ? [empty] : [],
    })
    const file = join(app, format === 'cjs' ? 'bundle.cjs' : 'bundle.mjs')
    await bundle.write({ file, format })
    await bundle.close()
    return file
  }
  function run(file: string): Capabilities & { collections: number } {
    const { stdout, stderr } = spawnSync(process.execPath, [file], { cwd: dirname(file), encoding: 'utf8' })
    expect(stderr).toBe('')
    return JSON.parse(stdout) as Capabilities & { collections: number }
  }

  it.runIf(process.platform === 'linux').each(['esm', 'cjs'] as const)(
    'of format %s it works, tells sites apart, and says what the addon needs',
    async (format) => {
      const file = await bundled(format, format)
      const { collector, reasons, remedies, collections } = run(file)
      expect(collector).toBe('stop-the-world')
      expect(reasons[0]).toBe('glissade runs from a bundle, and does not find its addon')
      expect(remedies).toEqual(['mark glissade as external where it is bundled, or let GLISSADE_NATIVE name its addon'])
      // Frames of glissade count there, which are not the same the first time.
      expect([2, 3, 4]).toContain(collections)
      if (!concurrent) return
      mkdirSync(join(dirname(file), 'node_modules'))
      symlinkSync(root, join(dirname(file), 'node_modules', 'glissade'))
      expect(run(file).collector).toBe('concurrent')
    },
  )
})
