// From a line of generated text back to Lox: `[line 7] in fib()`.
//
// The text is its own table: a line that can fail begins with the comment `/*7*/`. Nothing is indexed until an error asks.

/** Marks a generated line as standing for Lox line `line`. */
export const lineMark = (line: number): string => `/*${line}*/`

const MARK = /^\s*\/\*(\d+)\*\//

export class CodeMap {
  readonly #text: string
  readonly #functions: { readonly firstLine: number; readonly name: string }[] = []
  #lines: string[] | null = null

  constructor(text: string) {
    this.#text = text
  }

  /** Lox function `name` (empty: the script) begins on this line of the text; calls come in ascending order. */
  addFunction(firstLine: number, name: string): void {
    this.#functions.push({ firstLine, name })
  }

  describe(line: number): string | undefined {
    this.#lines ??= this.#text.split('\n')
    const mark = MARK.exec(this.#lines[line - 1] ?? '')
    if (!mark) return undefined
    const { name } = this.#functions.findLast((f) => f.firstLine <= line)!
    return `[line ${mark[1]}] in ${name === '' ? 'script' : `${name}()`}`
  }
}
