import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import ts from 'typescript'
import { expect, it } from 'vitest'

const readme = readFileSync('README.md', 'utf8')

it('every TypeScript example of the README runs as it stands', () => {
  const examples = [...readme.matchAll(/```ts\n([^]*?)```/g)].map((match) => match[1])
  expect(examples.length).toBeGreaterThan(0)
  for (const example of examples) {
    const options = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext }
    const { outputText } = ts.transpileModule(example, { compilerOptions: options })
    const run = spawnSync(process.execPath, ['--input-type=module', '-'], { input: outputText, encoding: 'utf8' })
    expect(run.stderr).toBe('')
    expect(run.status).toBe(0)
  }
})

it('every script that the README names exists', () => {
  const { scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as { scripts: Record<string, string> }
  const named = [...readme.matchAll(/npm (?:run )?([\w:]+)/g)].map((match) => match[1]).filter((name) => name !== 'ci')
  expect(named).toContain('demo')
  for (const name of named) expect(scripts, name).toHaveProperty([name])
})

it('stays short', () => {
  expect(Buffer.byteLength(readme)).toBeLessThanOrEqual(6000)
})
