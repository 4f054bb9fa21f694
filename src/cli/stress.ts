// `glissade stress`: random programs against shadow models, under injected errors, verification and many configurations.
//
// Success prints what was exercised. A failure prints what was wrong, the seed, and the one command that replays it: the
// same command line with the seed of the failing episode. Threads still race, so a replay makes the same program, not
// the same interleaving: a rare one may need to run for longer.

import { parseSize } from '../heap/options.js'
import { chooseMode } from '../gc/capabilities.js'
import { loadNative, probeHere } from '../gc/native-loader.js'
import type { NativeBinding } from '../gc/native.js'
import { HeapError } from '../index.js'
import { seedFromEnvironment } from '../testing.js'
import { integer, UsageError, type CliCommand } from './command.js'
import { painter, StatusLine } from './screen.js'
import { describePlan, type StressOptions } from './stress/plan.js'
import { supervise, type StressResult } from './stress/supervisor.js'
import { WORKLOADS } from './stress/workloads.js'

/** What `stress --json` prints. */
export interface StressReport {
  readonly passed: boolean
  readonly seed: number
  readonly collections: number
  readonly pagesMoved: number
  readonly pagesCopied: number
  readonly barrierFaults: number
  readonly injected: number
  readonly verifications: number
  readonly failures: readonly { readonly seed: number; readonly what: string; readonly replay: string }[]
}

const seedNumber = (name: string): ((text: string) => number) => integer(name, 0, 2 ** 32 - 1)
const NAMES = [...WORKLOADS.map(({ name }) => name), 'differential']

export const stress: CliCommand = {
  name: 'stress',
  summary: 'random programs against shadow models, under fault injection and verification',
  options: [
    { flags: '--seconds <n>', description: 'how long', parse: integer('--seconds', 1, 1_000_000), default: 60 },
    {
      flags: '--seed <n>',
      description: 'replays a run (default: GLISSADE_SEED, or from the clock)',
      parse: seedNumber('--seed'),
    },
    {
      flags: '--mutators <n>',
      description: 'threads that use the heap (default: 1 to 3)',
      parse: integer('--mutators', 1, 32),
    },
    { flags: '--heap <size>', description: 'such as 16m (default: 4m to 64m)', parse: size },
    {
      flags: '--collector <name>',
      description: 'auto, concurrent, stop-the-world or none',
      parse: choice('--collector', ['auto', 'concurrent', 'stop-the-world', 'none']),
      default: 'auto',
    },
    {
      flags: '--faults <name>',
      description: 'sigbus or thread (default: both)',
      parse: choice('--faults', ['sigbus', 'thread']),
    },
    {
      flags: '--relocation <name>',
      description: 'auto, move or copy (default: auto and copy)',
      parse: choice('--relocation', ['auto', 'move', 'copy']),
    },
    {
      flags: '--inject <rules>',
      description: "errors and delays, such as 'move:EBUSY=0.01,delay:fault=50us'; '' for none",
      parse: rules,
    },
    {
      flags: '--verify <level>',
      description: '0 to 4: how much the collector checks itself',
      parse: integer('--verify', 0, 4),
    },
    { flags: '--workload <names>', description: `of ${NAMES.join(', ')}; separated by commas`, parse: workloads },
    {
      flags: '--checked',
      description: 'a checked heap: every access is checked, every collection moves all objects but the large ones',
    },
    { flags: '--protect', description: 'freed memory is out of reach at once: a stale reference ends the process' },
    { flags: '--json', description: 'print one JSON object and nothing else' },
  ],
  notes: [
    'Workloads:',
    ...WORKLOADS.map(({ name, summary }) => `  ${name.padEnd(15)} ${summary}`),
    `  ${'differential'.padEnd(15)} short programs that must compute the same over every collector there is here`,
    '',
    'What is not given (but for --collector, --checked and --protect) is drawn anew for each episode, a twentieth of the run and 1.5 seconds at least.',
    'Exit status: 0 all held, 1 a violation, 2 wrong use,',
    '130 interrupted (Ctrl-C), with what was done so far.',
  ].join('\n'),
  run,
}

async function run(given: Readonly<Record<string, unknown>>): Promise<number> {
  const options: StressOptions = {
    seconds: given['seconds'] as number,
    seed: (given['seed'] as number | undefined) ?? seedOfEnvironment(),
    collector: given['collector'] as StressOptions['collector'],
    workloads: (given['workload'] as string[] | undefined) ?? [],
    checked: given['checked'] === true,
    protect: given['protect'] === true,
    mutators: given['mutators'] as number | undefined,
    heap: given['heap'] as number | undefined,
    inject: given['inject'] as string | undefined,
    verify: given['verify'] as number | undefined,
    faults: given['faults'] as StressOptions['faults'],
    relocation: given['relocation'] as StressOptions['relocation'],
  }
  checkPromises(options)
  const line = new StatusLine()
  // The first Ctrl-C says what has been done, the second ends everything.
  const stopping = new AbortController()
  process.once('SIGINT', () => stopping.abort())
  const result = await supervise(options, NAMES, stopping.signal, (plan, tally, ms) =>
    line.update(
      () =>
        `${Math.round(ms / 1000)} of ${options.seconds} s · ${tally.collections} collections · ${tally.barrierFaults} faults · ${describePlan(plan)}`,
    ),
  )
  line.clear()
  const report = reportOf(options.seed, result)
  console.log(given['json'] ? JSON.stringify(report, null, 2) : render(result, report))
  return !report.passed ? 1 : result.interrupted ? 130 : 0
}

/** What this machine, or the collector that was asked for, cannot keep is refused; a run without it would prove something else. */
function checkPromises({ collector, relocation, faults, mutators = 1, protect }: StressOptions): void {
  const { mode, refusal, reasons } = chooseMode(probeHere(), {
    collector,
    relocation: relocation ?? 'auto',
    faults: faults ?? 'sigbus',
  })
  const portable = collector === 'stop-the-world' || collector === 'none'
  const what = mutators > 1 ? `--mutators ${mutators}` : protect ? '--protect' : '--relocation move'
  const wanted = mutators > 1 || protect || relocation === 'move'
  if (portable && mutators > 1) {
    throw new UsageError(`the ${collector} collector serves one thread: --mutators takes 1 with it`)
  }
  if (portable && wanted) {
    throw new UsageError(`${what} is for the concurrent collector: leave it out, or --collector ${collector}`)
  }
  if (refusal !== undefined) throw new UsageError(`${refusal}; \`glissade doctor\` says more`)
  if (mode.collector !== 'concurrent' && wanted) {
    throw new UsageError(
      `${what} is for the concurrent collector, which cannot be had here: ${reasons[0]}; \`glissade doctor\` says more`,
    )
  }
}

function reportOf(seed: number, { tally, failures }: StressResult): StressReport {
  return {
    passed: failures.length === 0,
    seed,
    collections: tally.collections,
    pagesMoved: tally.pagesMoved,
    pagesCopied: tally.pagesCopied,
    barrierFaults: tally.barrierFaults,
    injected: tally.injected,
    verifications: tally.modelChecks + tally.heapChecks + tally.selfChecks + tally.programs,
    failures: failures.map(({ seed, what }) => ({ seed, what, replay: replayCommand(seed) })),
  }
}

/** This command line with another seed. */
function replayCommand(seed: number): string {
  const words: string[] = []
  const given = process.argv.slice(process.argv.indexOf('stress') + 1)
  for (let i = 0; i < given.length; i++) {
    if (given[i] === '--seed') i++
    else if (!given[i].startsWith('--seed=')) words.push(/^[\w.,:=/-]+$/.test(given[i]) ? given[i] : `'${given[i]}'`)
  }
  return ['npx glissade stress', ...words, `--seed ${seed}`].join(' ')
}

function render({ tally, episodes, failures, interrupted }: StressResult, report: StressReport): string {
  const paint = painter()
  const count = (n: number): string => n.toLocaleString('en-US')
  const lines: string[] = ['']
  const row = (name: string, text: string): void => void lines.push(`  ${paint('dim', name.padEnd(16))}${text}`)
  if (interrupted)
    lines.push(`${paint('yellow', '–')} ${paint('bold', 'interrupted')}, nothing wrong in what was complete`)
  else if (report.passed) lines.push(`${paint('green', '✓')} ${paint('bold', 'everything held')}`)
  else lines.push(`${paint('red', '✗')} ${paint('bold', 'a violation')}`)
  row('seed', String(report.seed))
  row('episodes', `${count(episodes)}, with ${count(tally.heaps)} heaps and ${count(tally.steps)} steps`)
  row(
    'collections',
    `${count(tally.collections)}, of which ${count(tally.flips)} moved objects and ${count(tally.youngCycles)} traced only what was new`,
  )
  row(
    'pages',
    `${count(tally.pagesMoved)} moved, ${count(tally.pagesKept)} unchanged, ${count(tally.pagesCopied)} copied, ${count(tally.pagesZeroFilled)} zero-filled`,
  )
  row('faults', `${count(tally.barrierFaults)} served`)
  row('injected', `${count(tally.injected)} errors and delays`)
  row(
    'verified',
    `${count(tally.modelChecks)} structures against models, ${count(tally.heapChecks)} heaps from outside, ${count(tally.selfChecks)} times from inside, ${count(tally.programs)} programs over every collector there is here`,
  )
  if (tally.programs > 0) row('', `${count(Math.round((tally.programs / tally.programMs) * 1000))} programs a second`)
  if (tally.exhausted > 0) row('heap full', `${count(tally.exhausted)} times, and went on`)
  for (const failure of failures) {
    lines.push('', paint('bold', 'What was wrong'))
    lines.push(...failure.what.split('\n').map((text) => `  ${text}`))
    lines.push('', paint('bold', 'In'), `  ${describePlan(failure.plan)}`)
  }
  for (const { replay } of report.failures) lines.push('', paint('bold', 'Replay it'), `  ${replay}`)
  lines.push('')
  return lines.join('\n')
}

/** The range is that of --seed: a seed that was cut would be another one than was given. */
function seedOfEnvironment(): number {
  const { GLISSADE_SEED } = process.env
  return GLISSADE_SEED ? seedNumber('GLISSADE_SEED')(GLISSADE_SEED) : seedFromEnvironment()
}

function size(text: string): number {
  try {
    const bytes = parseSize('--heap', text)
    if (bytes < 2 ** 20 || bytes > 2 ** 32) throw new UsageError(`--heap lies between 1m and 4g; got '${text}'`)
    return bytes
  } catch (error) {
    if (error instanceof HeapError) throw new UsageError(error.message.replace(/^option /, ''))
    throw error
  }
}

function choice(name: string, choices: readonly string[]): (text: string) => string {
  return (text) => {
    if (choices.includes(text)) return text
    throw new UsageError(`${name} is one of ${choices.join(', ')}; got '${text}'`)
  }
}

function rules(text: string): string {
  if (text.trim() === '') return ''
  const binding = loadNative().exports as unknown as NativeBinding | undefined
  if (binding === undefined) throw new UsageError(`--inject needs native code, and ${loadNative().reason}`)
  const wrong = binding.configureInjection(text, 0)
  binding.configureInjection('', 0)
  if (wrong !== undefined) throw new UsageError(wrong)
  return text
}

function workloads(text: string): string[] {
  const names = text.split(',').map((name) => name.trim())
  for (const name of names) {
    if (!NAMES.includes(name)) throw new UsageError(`--workload is of ${NAMES.join(', ')}; got '${name}'`)
  }
  return names
}
