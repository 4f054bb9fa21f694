// Source text to tokens, on demand.
//
// Text is *bytes in a string*: one character per byte of the file, code 0–255 (latin1). Lox strings are byte strings, and
// so is everything that is echoed in a message: whatever bytes come in go out again, valid UTF-8 or not.

const KEYWORDS = [
  'and',
  'class',
  'else',
  'false',
  'for',
  'fun',
  'if',
  'nil',
  'or',
  'print',
  'return',
  'super',
  'this',
  'true',
  'var',
  'while',
] as const

type Keyword = (typeof KEYWORDS)[number]
type Punctuation =
  '(' | ')' | '{' | '}' | ',' | '.' | '-' | '+' | ';' | '/' | '*' | '!' | '!=' | '=' | '==' | '>' | '>=' | '<' | '<='

/** Keywords and punctuation are their own type; the others are classes of lexemes. */
export type TokenType = Keyword | Punctuation | 'identifier' | 'string' | 'number' | 'error' | 'eof'

export interface Token {
  readonly type: TokenType
  /** The text itself; for an `error` token, the message. */
  readonly lexeme: string
  /** The line on which the token ends. */
  readonly line: number
}

const keywords = new Map<string, TokenType>(KEYWORDS.map((word) => [word, word]))

const isDigit = (c: number): boolean => c >= 48 && c <= 57
const isAlpha = (c: number): boolean => (c >= 97 && c <= 122) || (c >= 65 && c <= 90) || c === 95

const NEWLINE = 10
const SLASH = 47
const QUOTE = 34
const DOT = 46

export class Scanner {
  readonly #source: string
  #start = 0
  #current = 0
  #line = 1

  /** A zero byte ends the text, as it ends a C string. */
  constructor(source: string) {
    const zero = source.indexOf('\0')
    this.#source = zero < 0 ? source : source.slice(0, zero)
  }

  next(): Token {
    this.#skipBlanks()
    this.#start = this.#current
    if (this.#current >= this.#source.length) return this.#token('eof')
    const c = this.#source.charCodeAt(this.#current++)
    if (isAlpha(c)) return this.#identifier()
    if (isDigit(c)) return this.#number()
    if (c === QUOTE) return this.#string()
    const char = this.#source[this.#start]
    switch (char) {
      case '(':
      case ')':
      case '{':
      case '}':
      case ',':
      case '.':
      case '-':
      case '+':
      case ';':
      case '/':
      case '*':
        return this.#token(char)
      case '!':
      case '=':
      case '<':
      case '>':
        if (this.#source[this.#current] !== '=') return this.#token(char)
        this.#current++
        return this.#token(`${char}=`)
    }
    return this.#error('Unexpected character.')
  }

  #skipBlanks(): void {
    const source = this.#source
    for (;;) {
      const c = source.charCodeAt(this.#current)
      if (c === NEWLINE) this.#line++
      else if (c === SLASH && source.charCodeAt(this.#current + 1) === SLASH) {
        const end = source.indexOf('\n', this.#current)
        this.#current = end < 0 ? source.length : end
        continue
      } else if (c !== 32 && c !== 9 && c !== 13) return
      this.#current++
    }
  }

  #identifier(): Token {
    let c = this.#peek()
    while (isAlpha(c) || isDigit(c)) c = this.#advance()
    return this.#token(keywords.get(this.#source.slice(this.#start, this.#current)) ?? 'identifier')
  }

  #number(): Token {
    let c = this.#peek()
    while (isDigit(c)) c = this.#advance()
    // A dot belongs to the number only when a digit follows it.
    if (c === DOT && isDigit(this.#source.charCodeAt(this.#current + 1))) {
      do c = this.#advance()
      while (isDigit(c))
    }
    return this.#token('number')
  }

  #string(): Token {
    const end = this.#source.indexOf('"', this.#current)
    const stop = end < 0 ? this.#source.length : end
    for (let i = this.#current; (i = this.#source.indexOf('\n', i)) >= 0 && i < stop; i++) this.#line++
    if (end < 0) {
      this.#current = stop
      return this.#error('Unterminated string.')
    }
    this.#current = end + 1
    return this.#token('string')
  }

  #peek(): number {
    return this.#source.charCodeAt(this.#current)
  }
  #advance(): number {
    return this.#source.charCodeAt(++this.#current)
  }
  #token(type: TokenType): Token {
    return { type, lexeme: this.#source.slice(this.#start, this.#current), line: this.#line }
  }
  #error(message: string): Token {
    return { type: 'error', lexeme: message, line: this.#line }
  }
}
