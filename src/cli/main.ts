#!/usr/bin/env node
// The `glissade` program: finds the command, parses its options, and turns what it does into an exit status.
//
//   0  fine      1  what the command checks does not hold, or it failed      2  it was used wrongly      130  interrupted

import { readFileSync } from 'node:fs'
import { Command, CommanderError, InvalidArgumentError } from 'commander'
import { UsageError, type CliCommand, type CliOption } from './command.js'
import { commands } from './commands.js'

const manifest = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }

function program(): Command {
  const root = new Command('glissade')
    .description('a managed heap with a concurrent compacting collector: see what it can do here, and test it')
    .version(manifest.version)
    .exitOverride()
    .configureHelp({ showGlobalOptions: false })
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'glissade: ')) })
  for (const command of commands) addCommand(root, command)
  return root
}

function addCommand(root: Command, command: CliCommand): void {
  const built = root.command(command.name).description(command.summary).exitOverride()
  built.copyInheritedSettings(root)
  if (command.operands) built.argument(command.operands)
  for (const option of command.options) addOption(built, option)
  if (command.notes) built.addHelpText('after', `\n${command.notes}`)
  built.action(async (...received: unknown[]) => {
    const operands = command.operands ? [received[0] ?? []].flat() : []
    process.exitCode = await command.run(built.opts(), operands as string[])
  })
}

function addOption(built: Command, option: CliOption): void {
  const { flags, description, parse } = option
  const initial = option.default as string | undefined
  if (!parse) {
    built.option(flags, description, initial)
    return
  }
  const parser = (text: string): unknown => {
    try {
      return parse(text)
    } catch (error) {
      if (error instanceof UsageError) throw new InvalidArgumentError(error.message)
      throw error
    }
  }
  built.option(flags, description, parser as (text: string) => string, initial)
}

// A reader that has seen enough (`glissade … | head`) is not an error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(process.exitCode ?? 0)
  fail(error)
  process.exit(1)
})
// Nobody hears what goes there: the exit status still says it.
process.stderr.on('error', () => {})

function fail(error: unknown): void {
  const known = error instanceof Error && 'code' in error ? ` (${String(error.code)})` : ''
  process.stderr.write(`glissade: ${error instanceof Error ? error.message : String(error)}${known}\n`)
  if (process.env['GLISSADE_TRACE'] && error instanceof Error) process.stderr.write(`${error.stack}\n`)
}

/** `help` of a command that there is not: commander would list all of them, and not say why. */
function checkHelp([name, topic]: readonly string[]): void {
  if (name !== 'help' || topic === undefined || topic === 'help') return
  const names = commands.map((command) => command.name)
  if (topic.startsWith('-') || names.includes(topic)) return
  throw new UsageError(`no command is called '${topic}': there are ${names.join(', ')}`)
}

try {
  checkHelp(process.argv.slice(2))
  await program().parseAsync()
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : 2
  } else if (error instanceof UsageError) {
    process.stderr.write(`glissade: ${error.message}\n`)
    process.exitCode = 2
  } else {
    fail(error)
    process.exitCode = 1
  }
}
