// What a command of the `glissade` program is: one object, in one file, entered in the table of commands.ts.
//
// A command returns its exit status: 0 fine, 1 what it checked does not hold. Usage errors (2) are thrown as
// UsageError or found by the option parser before the command runs. Standard output carries the result only;
// progress and complaints go to standard error.

export interface CliOption {
  /** As commander writes it: `--seconds <n>`, `--json`, `--html <file>`. */
  readonly flags: string
  readonly description: string
  /** From the text given; throws UsageError. */
  readonly parse?: (text: string) => unknown
  readonly default?: unknown
}

export interface CliCommand {
  readonly name: string
  /** One line for the list of commands. */
  readonly summary: string
  /** Operands as commander writes them: `[names...]`. */
  readonly operands?: string
  readonly options: readonly CliOption[]
  /** Shown below the help of the command. */
  readonly notes?: string
  run(options: Readonly<Record<string, unknown>>, operands: readonly string[]): number | Promise<number>
}

/** The caller's mistake, in a sentence. */
export class UsageError extends Error {
  override name = 'UsageError'
}

/** A parser for whole numbers of a range, for `CliOption.parse`. */
export function integer(name: string, min: number, max = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (text.trim() === '' || !Number.isInteger(value)) {
      throw new UsageError(`${name} takes a whole number; got '${text}'`)
    }
    if (value < min || value > max) {
      const range = max === Number.MAX_SAFE_INTEGER ? `from ${min}` : `between ${min} and ${max}`
      throw new UsageError(`${name} takes a whole number ${range}; got ${text}`)
    }
    return value
  }
}
