// One token of lookahead, and the reporting of errors.
//
// After an error the parser is in *panic*: it reports nothing more until `synchronize` has found the start of a
// statement. The first error therefore decides what else is said; the order of messages is part of the language.

import { Scanner, type Token, type TokenType } from './scanner.js'

const STATEMENT_STARTS = new Set<TokenType>(['class', 'fun', 'var', 'for', 'if', 'while', 'print', 'return'])

/**
 * How deeply code may nest. Whatever reads a program is recursive: this parser, the generator, and V8, which compiles a
 * function only when it is called. The first of them comes to the end of its stack at a thousand.
 */
const MAX_DEPTH = 600

/** Code nests too deeply. */
export class NestingError extends Error {}

export class TokenStream {
  readonly #scanner: Scanner
  readonly #report: (line: string) => void
  #panic = false
  #failed = false
  #depth = 0
  protected current: Token = { type: 'eof', lexeme: '', line: 1 }
  protected previous: Token = this.current

  constructor(source: string, report: (line: string) => void) {
    this.#scanner = new Scanner(source)
    this.#report = report
    this.advance()
  }

  get failed(): boolean {
    return this.#failed
  }
  /** The parser met the end of the text where it wanted more: a REPL asks for another line. */
  protected wantedMore = false

  /** Begins what may hold another of its kind; `ascend` ends it. */
  protected descend(): void {
    if (++this.#depth > MAX_DEPTH) throw new NestingError()
  }
  protected ascend(): void {
    this.#depth--
  }

  protected advance(): void {
    this.previous = this.current
    for (;;) {
      this.current = this.#scanner.next()
      if (this.current.type !== 'error') return
      this.errorAtCurrent(this.current.lexeme)
    }
  }
  protected check(type: TokenType): boolean {
    return this.current.type === type
  }
  protected match(type: TokenType): boolean {
    if (this.current.type !== type) return false
    this.advance()
    return true
  }
  protected consume(type: TokenType, message: string): void {
    if (this.current.type === type) this.advance()
    else this.errorAtCurrent(message)
  }

  protected error(message: string): void {
    this.#errorAt(this.previous, message)
  }
  protected errorAtCurrent(message: string): void {
    this.#errorAt(this.current, message)
  }
  #errorAt(token: Token, message: string): void {
    if (this.#panic) return
    if (!this.#failed) this.wantedMore = token.type === 'eof' || message === 'Unterminated string.'
    this.#panic = true
    this.#failed = true
    const where = token.type === 'error' ? '' : token.type === 'eof' ? ' at end' : ` at '${token.lexeme}'`
    this.#report(`[line ${token.line}] Error${where}: ${message}`)
  }

  /** Leaves panic by skipping to what looks like the start of a statement. */
  protected synchronize(): void {
    if (!this.#panic) return
    this.#panic = false
    while (this.current.type !== 'eof') {
      if (this.previous.type === ';' || STATEMENT_STARTS.has(this.current.type)) return
      this.advance()
    }
  }
}
