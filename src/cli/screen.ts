// How the commands look on a terminal: colours that respect NO_COLOR and pipes, a status line that erases itself.

import { styleText } from 'node:util'

type Style = Parameters<typeof styleText>[0]

function coloured(stream: NodeJS.WriteStream): boolean {
  if (process.env['NO_COLOR']) return false
  if (process.env['FORCE_COLOR'] && process.env['FORCE_COLOR'] !== '0') return true
  return stream.isTTY === true && process.env['TERM'] !== 'dumb'
}

/** Styles for standard output; plain text where no colour is wanted. */
export function painter(stream: NodeJS.WriteStream = process.stdout): (style: Style, text: string) => string {
  return coloured(stream) ? (style, text) => styleText(style, text) : (_style, text) => text
}

/** A terminal that does not know its size says 0. */
const columnsOf = (stream: NodeJS.WriteStream, otherwise: number): number => stream.columns || otherwise

/** A line on standard error that is written over, when that is a terminal; nothing otherwise. */
export class StatusLine {
  #shown = false
  #last = 0

  /** Shows `text`, at most 20 times a second. */
  update(text: () => string): void {
    if (!process.stderr.isTTY) return
    const now = performance.now()
    if (now - this.#last < 50) return
    this.#last = now
    const width = columnsOf(process.stderr, 80) - 1
    process.stderr.write(`\r\x1b[2K${text().slice(0, width)}`)
    this.#shown = true
  }

  clear(): void {
    if (this.#shown) process.stderr.write('\r\x1b[2K')
    this.#shown = false
  }
}

/** `text` broken at spaces into lines of at most `width`, the later ones indented. */
export function wrap(text: string, indent: number, width = Math.min(columnsOf(process.stdout, 100), 100)): string {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && indent + line.length + 1 + word.length > width) {
      lines.push(line)
      line = word
    } else {
      line = line === '' ? word : `${line} ${word}`
    }
  }
  lines.push(line)
  return lines.join(`\n${' '.repeat(indent)}`)
}
