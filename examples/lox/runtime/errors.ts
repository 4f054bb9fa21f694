// Run-time errors, with Lox's stack trace read off V8's own stack.
//
// Generated code keeps no line numbers at run time and no list of frames: a Lox call is a JavaScript call, so V8 knows
// them. Each line of generated text that can fail starts with a comment that says which Lox line it stands for; a frame
// whose text has no such comment is machinery and is left out. Errors are rare, so all the work is done here.

import type { CodeMap } from './code-map.js'

export class LoxError extends Error {
  readonly trace: readonly string[]

  constructor(message: string, maps: ReadonlyMap<string, CodeMap>) {
    super(message)
    this.name = 'LoxError'
    this.trace = readStack(maps)
  }

  /** What Lox prints on standard error. */
  report(): string {
    return [this.message, ...this.trace].join('\n') + '\n'
  }
}

/** The program needs more of something than there is. The heap has errors of its own for that; this is for the rest. */
export class LimitError extends Error {
  constructor(readonly what: 'memory' | 'program') {
    super(`no more room: ${what}`)
    this.name = 'LimitError'
  }
}

function readStack(maps: ReadonlyMap<string, CodeMap>): string[] {
  const { stackTraceLimit, prepareStackTrace } = Error
  const holder: { stack?: string[] } = {}
  try {
    Error.stackTraceLimit = Infinity
    Error.prepareStackTrace = (_, frames) =>
      frames
        .map((frame) => maps.get(frame.getScriptNameOrSourceURL() ?? '')?.describe(frame.getLineNumber() ?? 0))
        .filter((line) => line !== undefined)
    Error.captureStackTrace(holder, readStack)
    return holder.stack ?? []
  } finally {
    Error.stackTraceLimit = stackTraceLimit
    Error.prepareStackTrace = prepareStackTrace
  }
}
