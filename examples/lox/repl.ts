// The read-eval-print loop: an input is as many lines as it takes until the text could be a program.

import { createInterface } from 'node:readline/promises'
import { Lox } from './lox.js'
import type { Output } from './runtime/output.js'
import { BlockTracker } from './syntax/block-tracker.js'

export async function repl(lox: Lox, output: Output): Promise<void> {
  const { stdin, stdout } = process
  const isTerminal = Boolean(stdin.isTTY && stdout.isTTY)
  // Lox text is bytes, one character each, as it is where a file is read.
  if (!isTerminal) stdin.setEncoding('latin1')
  const lines = createInterface({ input: stdin, output: isTerminal ? stdout : undefined, terminal: isTerminal })
  const prompt = (text: string): void => {
    if (!isTerminal) return
    lines.setPrompt(text)
    lines.prompt()
  }
  const run = (text: string): void => {
    // While readline reads keys one by one, ^C is one of them: a running program could not be stopped.
    const { isRaw } = stdin
    if (isTerminal) stdin.setRawMode(false)
    try {
      lox.run(text)
      output.flush()
    } finally {
      if (isTerminal) stdin.setRawMode(isRaw)
    }
  }

  let text = ''
  let blankLines = 0
  let blocks = new BlockTracker()
  /** Asking the parser at each line takes time with the square of the text: of a pipe's text it is asked between blocks. */
  const isIncomplete = (line: string): boolean => {
    blankLines = line.trim() === '' ? blankLines + 1 : 0
    // Who types cannot take a line back, but give up: two empty lines end an input that would go on.
    if (isTerminal) return blankLines < 2 && Lox.isIncomplete(text)
    blocks.line(line)
    return blocks.isOpen || Lox.isIncomplete(text)
  }

  prompt('> ')
  for await (const line of lines) {
    // From a terminal come characters.
    text += isTerminal ? Buffer.from(line + '\n').toString('latin1') : line + '\n'
    if (isIncomplete(line)) {
      prompt('| ')
      continue
    }
    run(text)
    text = ''
    blankLines = 0
    blocks = new BlockTracker()
    prompt('> ')
  }
  if (text !== '') run(text)
  if (isTerminal) output.newline()
  output.flush()
}
