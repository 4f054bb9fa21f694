// Texts from a command line: sizes, injection rules, options of both programs.
import { parseOptions as parseLox, UsageError as LoxUsageError } from '../../../dist/examples/lox/options.js'
import { UsageError } from '../../../dist/cli/command.js'
import { commands } from '../../../dist/cli/commands.js'
import { loadNative } from '../../../dist/gc/native-loader.js'
import { parseOptions, showSize } from '../../../dist/heap/options.js'
import { accept, demand, isSentence } from '../check.mjs'

const CONTROL = '[\\u0000-\\u001f]'
const NUMBERS = ['0', '1', '64', '-5', '1.5', '0x10', '1e3', ' 7 ', '99999999999999999999', 'NaN', 'Infinity', '']

export const sizes = {
  name: 'sizes',
  seeds: ['64m', '1g', '4g', '5g', '0', '-64m', '64x', '', ' 2 MiB ', '1.5m', '65536k', '1048576', '1e6', '64mb'],
  words: [...NUMBERS, 'k', 'm', 'g', 'K', 'M', 'G', 'ib', 'b', '.', '-', '+', '\n', '\u00a0', '\u0000'],
  run(input) {
    const { value, refused } = accept(() => parseOptions({ maxBytes: input }).maxBytes, ['ERR_OPTION'])
    if (refused !== undefined) {
      demand(refused.message.startsWith('option maxBytes'), `does not name the option: ${refused.message}`)
      return
    }
    demand(Number.isInteger(value) && value >= 2 ** 20 && value <= 2 ** 32, `${JSON.stringify(input)} is ${value}`)
    const shown = showSize(value).replace(' bytes', '')
    demand(parseOptions({ maxBytes: shown }).maxBytes === value, `${value} is shown as ${shown}`)
  },
}

export const injection = {
  name: 'injection',
  seeds: [
    'move:EBUSY=0.01',
    'move:EAGAIN=every:7,mremap:ENOMEM=once',
    'delay:compact=200us;delay:fault=1ms',
    'delay:mark=1.5ms',
    '',
    ' , ;, ',
    'move:EBUSY=2',
    'copy:EWHAT=once',
    'delay:=1us',
    ':::===',
    'move:EBUSY=every:0',
  ],
  words: [
    ...['move', 'copy', 'zeropage', 'register', 'unregister', 'mremap', 'delay', 'compact', 'fault', 'EBUSY', 'EAGAIN'],
    ...['once', 'every:', ':', '=', ',', ';', 'us', 'ms', '.', ' ', '\n', '\u0000', 'x'.repeat(200), ...NUMBERS],
  ],
  run(input) {
    const binding = loadNative().exports
    if (binding === undefined) return
    const wrong = binding.configureInjection(input, 1)
    try {
      if (wrong !== undefined) {
        demand(wrong.startsWith('injection') && wrong.length < 300, `message: ${JSON.stringify(wrong)}`)
        demand(Object.keys(binding.injectionCounts()).length === 0, 'a refused text installed rules')
        return
      }
      for (const count of Object.values(binding.injectionCounts())) demand(count === 0, 'a new rule has fired')
    } finally {
      binding.configureInjection('', 0)
    }
  },
}

const parsers = commands.flatMap(({ name, options }) =>
  options.filter(({ parse }) => parse !== undefined).map(({ flags, parse }) => ({ flag: `${name} ${flags}`, parse })),
)

/** A line is one command line of `lox`, its words separated by spaces; each word is also given to every option here. */
export const commandLine = {
  name: 'command-line',
  seeds: [
    '--heap 64m --gc-stress file.lox',
    '--stats=json --checked -',
    '--heap=1g --collector none x',
    '--help',
    '--heap',
    'a b',
    '--nope',
    'constructor',
    '--stats=text',
    'lists,graphs',
    '7 1g concurrent move:EBUSY=1 pauses',
  ],
  words: [
    ...['--heap', '--collector', '--stats', '--gc-log', '--gc-stress', '--checked', '--show-code', '--help', '='],
    ...['auto', 'concurrent', 'none', 'lists,', 'differential', '__proto__', 'toString', ' ', '-', ',', ...NUMBERS],
  ],
  run(input) {
    const words = input.slice(0, 500).split(/[\s,]+/)
    try {
      const parsed = parseLox(words)
      demand(parsed.file === null || words.includes(parsed.file), `file ${parsed.file}`)
      demand(['none', 'text', 'json'].includes(parsed.stats), `stats ${parsed.stats}`)
    } catch (error) {
      if (!(error instanceof LoxUsageError)) throw error
      demand(error.message.length > 5, `message: ${error.message}`)
    }
    for (const word of words) {
      for (const { flag, parse } of parsers) {
        try {
          demand(parse(word) !== undefined, `${flag} gave nothing for ${JSON.stringify(word)}`)
        } catch (error) {
          if (!(error instanceof UsageError)) throw error
          // What was typed comes back as it was typed.
          const own = error.message.replaceAll(word, '').replaceAll(new RegExp(CONTROL, 'g'), '')
          demand(isSentence(own), `${flag}: message ${JSON.stringify(error.message)}`)
        }
      }
    }
  },
}
