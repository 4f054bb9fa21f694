// From a tree to JavaScript that is ready to run.

import { Script } from 'node:vm'
import { CodeMap } from '../runtime/code-map.js'
import type { Enter } from '../runtime/layouts.js'
import { STACK_BYTES_PER_SLOT } from '../runtime/machine.js'
import type { Runtime } from '../runtime/runtime.js'
import { Sites } from '../runtime/sites.js'
import type { FunctionNode } from '../syntax/ast.js'
import { OUTER_VIEWS } from './frame-writer.js'
import { Program, type FunctionInfo } from './program.js'
import { StatementWriter } from './statement-writer.js'

/** V8's frame of a generated function in its first tier, and of a constructor or method entry between two of them. */
const FRAME_BYTES = 280
const LOCAL_BYTES = 8

/** How many slots a frame must have so that the value stack ends before V8's does. */
const slotsFor = (frames: { count: number; locals: number }): number =>
  Math.ceil((frames.count * (FRAME_BYTES + frames.locals * LOCAL_BYTES)) / STACK_BYTES_PER_SLOT)

/** Generates and links the code of a script; the result runs it, with `sp` as its frame. */
export function generate(runtime: Runtime, script: FunctionNode): Enter {
  const program = new Program(runtime, script)
  const name = `lox:${runtime.machine.id}:${runtime.nextText++}`
  const head = `(function (environment) {
'use strict'
// ${name}
const { ${Object.keys(runtime.environment).join(', ')} } = environment
const { sites, cache, targets } = environment
${OUTER_VIEWS}`
  const parts = [head]
  let line = head.split('\n').length + 1
  const starts: number[] = []
  for (const info of program.functions) {
    const text = writeFunction(program, info)
    starts.push(line)
    line += text.split('\n').length
    parts.push(text)
  }
  parts.push(`return [${program.functions.map(({ text }) => text).join(', ')}]`, '})')
  const text = parts.join('\n')

  const { onText } = runtime
  if (onText) runtime.machine.m.parked(() => onText(text))
  const map = new CodeMap(text)
  program.functions.forEach(({ node }, i) => map.addFunction(starts[i], node.name))
  runtime.machine.codeMaps.set(name, map)

  const make = new Script(text, { filename: name }).runInThisContext() as (environment: object) => Enter[]
  const sites = new Sites(program.siteNames, runtime.nameIds(program.siteNames))
  const functions = make({ ...runtime.environment, sites, cache: sites.cache, targets: sites.targets })
  program.functions.forEach((info, i) => runtime.link(info, functions[i]))
  return functions[0]
}

/** Writes a function, and once more if its frame turns out to need more slots than a first guess. */
function writeFunction(program: Program, info: FunctionInfo): string {
  const sites = program.siteNames.length
  const guess = slotsFor({ count: 1, locals: 8 })
  const first = new StatementWriter(program, info, guess)
  const text = first.write()
  const needed = slotsFor(first.frames)
  if (needed <= guess || info.node.kind === 'script') return text
  program.siteNames.length = sites
  return new StatementWriter(program, info, needed).write()
}
