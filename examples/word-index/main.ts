#!/usr/bin/env node
// A demo: a word index over real text, in a 64 MiB heap, while the collector behind it moves its objects.
//
//   npm run demo:index [-- FILES…] [--rounds N] [--window POSTINGS] [--heap SIZE] [--collector NAME] [--seed N] [--json]
//
// Files stream through a window that holds the newest ones, each round in another order; what leaves the window
// becomes garbage. At the end the index is compared, place by place, with one made from plain Maps. Exit status: 0 when
// both are the same, 1 when they are not, 2 when it was used wrongly.

import { existsSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Heap, HeapError, type HeapOptions } from 'glissade'
import { declarationFiles, readFiles, shuffled, type TextFile } from './corpus.js'
import { HeapIndex } from './heap-index.js'
import { differences, indexWithMaps, type Numbered } from './model.js'
import { Progress, render, type Report } from './screen.js'

interface Settings {
  readonly files: readonly string[]
  readonly rounds: number
  readonly window: number
  readonly seed: number
  readonly heap: HeapOptions
  readonly json: boolean
}

class UsageError extends Error {}

function settings(): Settings {
  const options = {
    rounds: { type: 'string', default: '10' },
    window: { type: 'string', default: '400000' },
    seed: { type: 'string', default: '1' },
    heap: { type: 'string', default: '64m' },
    collector: { type: 'string', default: 'auto' },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  } as const
  let parsed
  try {
    parsed = parseArgs({ options, allowPositionals: true })
  } catch (error) {
    throw new UsageError((error as Error).message.split('. ')[0])
  }
  const { values, positionals } = parsed
  if (values.help) {
    console.log(
      'usage: npm run demo:index [-- FILES…] [--rounds N] [--window POSTINGS] [--heap SIZE] [--collector NAME] [--seed N] [--json]',
    )
    process.exit(0)
  }
  const whole = (name: string, text: string, min: number): number => {
    const value = Number(text)
    if (text.trim() !== '' && Number.isInteger(value) && value >= min) return value
    throw new UsageError(`--${name} takes a whole number from ${min}; got '${text}'`)
  }
  for (const path of positionals) {
    if (!existsSync(path)) throw new UsageError(`there is no file '${path}'`)
  }
  return {
    files: positionals,
    rounds: whole('rounds', values.rounds, 1),
    window: whole('window', values.window, 0),
    seed: whole('seed', values.seed, 0),
    // Unknown names and sizes are the heap's to refuse: its sentences are better than any made here.
    heap: { maxBytes: values.heap, collector: values.collector as HeapOptions['collector'] },
    json: values.json,
  }
}

/** Every `.d.ts` that installing this package brought. */
function defaultFiles(): string[] {
  let folder = dirname(fileURLToPath(import.meta.url))
  while (!existsSync(join(folder, 'node_modules'))) {
    const parent = dirname(folder)
    if (parent === folder) throw new UsageError('no node_modules to read: name the files to index')
    folder = parent
  }
  return declarationFiles(join(folder, 'node_modules')).map((path) => relative(process.cwd(), path))
}

function run(settings: Settings, files: readonly TextFile[]): Report {
  using heap = Heap.create(settings.heap)
  const index = new HeapIndex(heap)
  const window: (Numbered & { readonly words: number })[] = []
  const progress = new Progress(files.length * settings.rounds)
  const started = performance.now()
  let words = 0
  let bytes = 0
  for (let round = 0; round < settings.rounds; round++) {
    for (const chosen of shuffled(files.length, settings.seed + round)) {
      const file = files[chosen]
      const number = round * files.length + chosen
      const found = index.add(file, number)
      window.push({ file, number, words: found })
      words += found
      bytes += file.bytes.length
      while (index.postings > settings.window && window.length > 1) {
        index.removeOldest()
        window.shift()
      }
      progress.update(index, words, () => heap.stats())
    }
  }
  const seconds = (performance.now() - started) / 1000
  const stats = heap.stats()
  progress.comparing(index)
  const model = indexWithMaps(window)
  const found = differences(index, model)
  progress.end()
  return {
    files: files.length,
    rounds: settings.rounds,
    bytes,
    words,
    seconds,
    window: { files: index.files, postings: index.postings, words: index.words },
    capabilities: heap.capabilities,
    maxBytes: settings.heap.maxBytes ?? '',
    stats,
    differences: found,
    matches: found.length === 0 && index.words === model.size,
  }
}

try {
  const chosen = settings()
  const report = run(chosen, readFiles(chosen.files.length > 0 ? chosen.files : defaultFiles()))
  if (chosen.json) {
    const { stats, matches, differences, capabilities, files, rounds, bytes, words, seconds, window } = report
    const demo = { files, rounds, bytes, words, seconds, window, capabilities, differences }
    console.log(JSON.stringify({ ...stats, matches, demo }, null, 2))
  } else {
    console.log(render(report))
  }
  process.exitCode = report.matches ? 0 : 1
} catch (error) {
  if (error instanceof UsageError || (error instanceof HeapError && error.code === 'ERR_OPTION')) {
    console.error(`demo: ${error.message}`)
    process.exitCode = 2
  } else if (error instanceof HeapError) {
    console.error(`demo: ${error.message} (${error.code})`)
    if (error.code === 'ERR_HEAP_EXHAUSTED') console.error('demo: a larger --heap or a smaller --window would fit')
    process.exitCode = 1
  } else {
    throw error
  }
}
