// What the documents promise: their examples compile and run, their commands and links exist, the tables are the code's.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { Heap } from 'glissade'
import ts from 'typescript'
import { afterAll, describe, expect, it } from 'vitest'

const readme = readFileSync('README.md', 'utf8')

interface Example {
  /** `docs/guide.md:120`: the line of its fence. */
  readonly where: string
  readonly text: string
}
function examplesOf(file: string): Example[] {
  const text = readFileSync(file, 'utf8')
  return [...text.matchAll(/^```ts\n([^]*?)^```/gm)].map((match) => ({
    where: `${file}:${text.slice(0, match.index).split('\n').length}`,
    text: match[1],
  }))
}

const folder = mkdtempSync(join(tmpdir(), 'glissade-examples-'))
afterAll(() => rmSync(folder, { recursive: true }))

describe.each(['README.md', 'docs/guide.md'])('%s', (file) => {
  const examples = examplesOf(file)

  it('has examples', () => {
    expect(examples.length).toBeGreaterThan(0)
  })

  it.each(examples)('runs the example at $where as it stands', ({ text }) => {
    const options = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext }
    const { outputText } = ts.transpileModule(text, { compilerOptions: options })
    // What an example leaves in the folder for such files may be another user's there.
    const env = { ...process.env, TMPDIR: folder }
    const run = spawnSync(process.execPath, ['--input-type=module', '-'], { input: outputText, encoding: 'utf8', env })
    expect(run.stderr).toBe('')
    expect(run.status).toBe(0)
  })

  it('has examples that compile in strict mode', () => {
    const virtual = new Map(examples.map(({ text }, i) => [join(process.cwd(), `${file}.${i}.ts`), text]))
    const options: ts.CompilerOptions = {
      target: ts.ScriptTarget.ES2022,
      module: ts.ModuleKind.NodeNext,
      moduleResolution: ts.ModuleResolutionKind.NodeNext,
      lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'],
      types: ['node'],
      strict: true,
      noEmit: true,
      skipLibCheck: true,
    }
    const host = ts.createCompilerHost(options)
    const { fileExists, readFile, getSourceFile } = host
    host.fileExists = (name) => virtual.has(name) || fileExists(name)
    host.readFile = (name) => virtual.get(name) ?? readFile(name)
    host.getSourceFile = (name, ...rest) => {
      const text = virtual.get(name)
      return text === undefined ? getSourceFile(name, ...rest) : ts.createSourceFile(name, text, rest[0])
    }
    const program = ts.createProgram([...virtual.keys()], options, host)
    const diagnostics = ts.getPreEmitDiagnostics(program).map((diagnostic) => {
      const example = examples[[...virtual.keys()].indexOf(diagnostic.file?.fileName ?? '')]
      return `${example?.where}: ${ts.flattenDiagnosticMessageText(diagnostic.messageText, '\n')}`
    })
    expect(diagnostics).toEqual([])
  })
})

it('docs/reference.md says what the tables in the code say', () => {
  const run = spawnSync(process.execPath, ['scripts/write-reference.mjs', '--check'], { encoding: 'utf8' })
  expect(run.stderr).toBe('')
  expect(run.status).toBe(0)
})

it('docs/reference.md has every counter and histogram that a concurrent heap reports', () => {
  using heap = Heap.create({ maxBytes: '1m' })
  const reference = readFileSync('docs/reference.md', 'utf8')
  const { counters, histograms } = heap.stats().raw
  if (heap.capabilities.collector !== 'concurrent') return
  for (const name of [...Object.keys(counters), ...Object.keys(histograms)]) {
    expect(reference, name).toContain(`| \`${name}\` |`)
  }
})

it('every script that the README names exists', () => {
  const { scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as { scripts: Record<string, string> }
  const named = [...readme.matchAll(/npm (?:run )?([\w:]+)/g)].map((match) => match[1]).filter((name) => name !== 'ci')
  expect(named).toContain('demo')
  for (const name of named) expect(scripts, name).toHaveProperty([name])
})

it('every command that the documents name exists', async () => {
  const { commands } = (await import('../dist/cli/commands.js')) as { commands: readonly { name: string }[] }
  for (const file of documents()) {
    for (const [, name] of readFileSync(file, 'utf8').matchAll(/npx glissade ([a-z]+)/g)) {
      expect(
        commands.map((command) => command.name),
        file,
      ).toContain(name)
    }
  }
  for (const { name } of commands) expect(readme).toContain(`npx glissade ${name}`)
})

it('every link from one document to another leads somewhere', () => {
  for (const file of documents()) {
    const prose = readFileSync(file, 'utf8').replace(/^```[^]*?^```|`[^`\n]*`/gm, '')
    const links = prose.matchAll(/\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]*))?\)/g)
    for (const [link, path, anchor] of links) {
      const target = path === '' ? file : join(dirname(file), path)
      expect(existsSync(target), `${file}: ${link}`).toBe(true)
      if (anchor !== undefined) expect(anchorsOf(target), `${file}: ${link}`).toContain(anchor)
    }
  }
})

it('stays short', () => {
  expect(Buffer.byteLength(readme)).toBeLessThanOrEqual(6000)
})

function documents(): string[] {
  const docs = readdirSync('docs').filter((name) => name.endsWith('.md'))
  return ['README.md', 'ARCHITECTURE.md', ...docs.map((name) => `docs/${name}`)]
}

/** Anchors of the headings, as web views of Markdown make them. */
function anchorsOf(file: string): string[] {
  return [...readFileSync(file, 'utf8').matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\- ]/gu, '')
      .replaceAll(' ', '-'),
  )
}
