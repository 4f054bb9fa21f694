// The read-eval-print loop: an input is as many lines as it takes until the text could be a program.

import { createInterface } from 'node:readline/promises'
import { Lox } from './lox.js'
import type { Output } from './runtime/output.js'

export async function repl(lox: Lox, output: Output): Promise<void> {
  const { stdin, stdout } = process
  const isTerminal = Boolean(stdin.isTTY && stdout.isTTY)
  const lines = createInterface({ input: stdin, output: isTerminal ? stdout : undefined, terminal: isTerminal })
  const prompt = (text: string): void => {
    if (!isTerminal) return
    lines.setPrompt(text)
    lines.prompt()
  }

  let text = ''
  prompt('> ')
  for await (const line of lines) {
    // Lox text is bytes; readline gives characters.
    text += Buffer.from(line + '\n').toString('latin1')
    if (line.trim() !== '' && Lox.isIncomplete(text)) {
      prompt('| ')
      continue
    }
    lox.run(text)
    output.flush()
    text = ''
    prompt('> ')
  }
  if (text !== '') lox.run(text)
  if (isTerminal) output.newline()
  output.flush()
}
