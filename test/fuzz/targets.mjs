// The targets by name. A target is { name, seeds, words, generate, run }: `run` takes a text of one character per byte and
// throws what is wrong; `seeds` are inputs to begin with beside the corpus; `words` are pieces for mutation, unless
// `generate` makes inputs in its own way.
import { commandLine, sizes, injection } from './targets/command-line.mjs'
import { lox } from './targets/lox.mjs'
import { attach, options } from './targets/options.mjs'
import { shapes } from './targets/shapes.mjs'

/** Fails on purpose: by it the fuzzer itself is tested. */
const planted = {
  name: 'planted',
  hidden: true,
  seeds: ['a harmless input'],
  words: ['needle'],
  run(input) {
    if (input.includes('needle')) throw new Error('found the needle')
    if (input.includes('crash')) process.kill(process.pid, 'SIGKILL')
  },
}

export const TARGETS = [lox, shapes, options, attach, sizes, injection, commandLine, planted]
