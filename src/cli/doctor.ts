// `glissade doctor`: what this machine can do, what mode a heap would choose here, why, and how to get more.
//
// Exit status 0 whatever it finds: a machine with the portable collector only is not an error.

import { release } from 'node:os'
import { chooseMode, isProbe, type Mode, type NoProbe, type Probe } from '../gc/capabilities.js'
import { probeHere } from '../gc/native-loader.js'
import type { CliCommand } from './command.js'
import { painter, wrap } from './screen.js'

/** What `doctor --json` prints. */
export interface Diagnosis {
  readonly kernel: string
  readonly userfaultfd: {
    readonly available: boolean
    readonly userModeOnly: boolean
    readonly move: boolean
    readonly sigbus: boolean
    readonly wpAsync: boolean
  }
  readonly mode: Mode
  readonly reasons: readonly string[]
  readonly remedies: readonly string[]
}

function diagnose(probe: Probe | NoProbe): Diagnosis {
  const { mode, reasons, remedies } = chooseMode(probe)
  const nothing = { available: false, userModeOnly: false, move: false, sigbus: false, wpAsync: false }
  const { available, userModeOnly, move, sigbus, wpAsync } = isProbe(probe) ? probe.userfaultfd : nothing
  return {
    kernel: isProbe(probe) ? probe.kernel : release(),
    userfaultfd: { available, userModeOnly, move, sigbus, wpAsync },
    mode,
    reasons,
    remedies,
  }
}

function render(diagnosis: Diagnosis): string {
  const paint = painter()
  const { kernel, userfaultfd, mode, reasons, remedies } = diagnosis
  const lines: string[] = []
  const row = (name: string, value: string): void => void lines.push(`  ${paint('dim', name.padEnd(16))}${value}`)
  const yes = (holds: boolean, what: string): string =>
    `${holds ? paint('green', '✓') : paint('red', '✗')} ${holds ? what : paint('dim', what)}`
  const list = (mark: string, items: readonly string[]): void => {
    for (const item of items) lines.push(`  ${mark} ${wrap(item, 4)}`)
  }

  lines.push('', paint('bold', 'This machine'))
  row('kernel', `${process.platform} ${kernel}`)
  row('node', `${process.versions.node} ${process.arch}`)
  row('userfaultfd', yes(userfaultfd.available, 'a range can be registered and a page placed in it'))
  if (userfaultfd.available) {
    row('', yes(userfaultfd.move, 'UFFDIO_MOVE: pages are moved, not copied'))
    row('', yes(userfaultfd.sigbus, 'SIGBUS: faults arrive on the thread that faults'))
    row('', yes(userfaultfd.wpAsync, 'WP_ASYNC: the kernel can track writes'))
    const scope = userfaultfd.userModeOnly
      ? 'user mode only, which needs no privilege'
      : 'with kernel faults (privileged)'
    row('', `${paint('dim', '·')} ${scope}`)
  }

  lines.push('', paint('bold', 'A heap would choose'))
  const best = mode.collector === 'concurrent' && mode.relocation === 'move' && mode.faults === 'sigbus'
  row('collector', paint(best ? 'green' : 'yellow', mode.collector))
  row('relocation', mode.relocation)
  row('faults', mode.faults)

  lines.push('', paint('bold', 'Because'))
  list(paint('dim', '·'), reasons)
  if (remedies.length > 0) {
    lines.push('', paint('bold', 'To get more'))
    list(paint('yellow', '→'), remedies)
  }
  lines.push('')
  return lines.join('\n')
}

export const doctor: CliCommand = {
  name: 'doctor',
  summary: 'what this machine can do, what mode a heap would choose, why, and how to get more',
  options: [{ flags: '--json', description: 'print one JSON object and nothing else' }],
  run({ json }) {
    const diagnosis = diagnose(probeHere())
    console.log(json ? JSON.stringify(diagnosis, null, 2) : render(diagnosis))
    return 0
  },
}
