// ARCHITECTURE.md names every file of the collector and the heap, and no other; the folders of native/core import one way.
import { readdirSync, readFileSync } from 'node:fs'
import { expect, it } from 'vitest'

const architecture = readFileSync('ARCHITECTURE.md', 'utf8')
const core = filesIn('native/core')
/** As the table of native/core has them, lowest first. */
const folders = [...section('## A collection, file by file').matchAll(/^\| `([a-z]+)` \|/gm)].map(([, name]) => name)
/** Their implementations do not know what a heap is. */
const withoutHeap = ['kernel', 'statistics', 'memory', 'threads']

it('names every file of native/core in the row of its folder, and no file that is not there', () => {
  expect([...folders].sort()).toEqual(
    readdirSync('native/core', { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [entry.name] : [])),
  )
  let folder = ''
  const named: string[] = []
  for (const [, first, files] of section('## A collection, file by file').matchAll(/^\|(.*?)\|.*\|(.*)\|$/gm)) {
    const begins = /`([a-z/]+)`/.exec(first)?.[1]
    if (begins !== undefined) folder = begins === 'native/core' ? '' : `${begins}/`
    named.push(...namesIn(files).map((name) => folder + name))
  }
  expect(named.sort()).toEqual(core)
})

it('names every file of src/heap, src/gc and src/inspection', () => {
  const named = namesIn(section("## The mutator's side, file by file"))
  const files = ['src/heap', 'src/gc', 'src/inspection'].flatMap(filesIn).map((file) => file.replace(/.*\//, ''))
  expect([...new Set(named)].sort()).toEqual([...new Set(files)].sort())
})

it('lets the headers of a folder of native/core include their own and lower ones, and heap.h all', () => {
  for (const file of core) {
    const own = folders.indexOf(folderOf(file))
    for (const [, included] of read(file).matchAll(/^#include "(.*)"$/gm)) {
      expect(included, file).toMatch(/^core\//)
      const target = included.slice('core/'.length)
      expect(core, file).toContain(target)
      const heap = target === 'heap.h'
      if (withoutHeap.includes(folderOf(file))) expect(heap, `${file} includes heap.h`).toBe(false)
      if (own < 0 || heap || !file.endsWith('.h')) continue
      expect(folders.indexOf(folderOf(target)), `${file} includes ${target}`).toBeLessThanOrEqual(own)
    }
  }
})

it('keeps heap.h out of the headers that it includes', () => {
  const seen = new Set<string>()
  const visit = (file: string): void => {
    if (seen.has(file)) return
    seen.add(file)
    for (const [, included] of read(file).matchAll(/^#include "core\/(.*)"$/gm)) {
      expect(included, file).not.toBe('heap.h')
      visit(included)
    }
  }
  visit('heap.h')
  expect(seen.size).toBeGreaterThan(30)
})

it('keeps Node out of native/core', () => {
  for (const file of core) expect(read(file), file).not.toMatch(/#include [<"](node|napi|v8|uv|js_native)/)
})

function read(file: string): string {
  return readFileSync(`native/core/${file}`, 'utf8')
}

function folderOf(file: string): string {
  return file.includes('/') ? file.replace(/\/.*/, '') : ''
}

function filesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.(h|cc|ts)$/.test(name))
    .sort()
}

function section(heading: string): string {
  const begin = architecture.indexOf(heading)
  return architecture.slice(begin, architecture.indexOf('\n## ', begin + 1))
}

/** `a.{h,cc}`, `b.h`: the files that a text names. */
function namesIn(text: string): string[] {
  return [...text.matchAll(/`([a-z-]+)\.(?:\{h,cc\}|(h|cc|ts))`/g)].flatMap(([, name, extension]) =>
    extension === undefined ? [`${name}.h`, `${name}.cc`] : [`${name}.${extension}`],
  )
}
