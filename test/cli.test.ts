// The `glissade` program as a process: what it prints, where, and its exit status.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { wrap } from '../dist/cli/screen.js'

function glissade(args: string[], env: Record<string, string> = {}) {
  const run = spawnSync(process.execPath, ['dist/cli/main.js', ...args], {
    encoding: 'utf8',
    env: { ...process.env, NO_COLOR: '1', ...env },
  })
  return { status: run.status, out: run.stdout, err: run.stderr }
}

describe('glissade doctor', () => {
  it('--json prints one object with exactly the agreed keys, and nothing else', () => {
    const { status, out, err } = glissade(['doctor', '--json'])
    expect({ status, err }).toEqual({ status: 0, err: '' })
    const found = JSON.parse(out) as Record<string, Record<string, unknown>>
    expect(Object.keys(found).sort()).toEqual(['kernel', 'mode', 'reasons', 'remedies', 'userfaultfd'])
    expect(Object.keys(found.userfaultfd).sort()).toEqual(['available', 'move', 'sigbus', 'userModeOnly', 'wpAsync'])
    expect(Object.keys(found.mode).sort()).toEqual(['collector', 'faults', 'relocation'])
  })
  it('without native code it says so and names the mode that is left', () => {
    const found = JSON.parse(glissade(['doctor', '--json'], { GLISSADE_NATIVE: 'none' }).out) as {
      mode: { collector: string }
      reasons: string[]
    }
    expect(found.mode.collector).toBe('stop-the-world')
    expect(found.reasons[0]).toMatch(/GLISSADE_NATIVE=none/)
  })
  it('an addon that cannot be loaded is a reason, not a crash', () => {
    const { status, out } = glissade(['doctor'], { GLISSADE_NATIVE: `${process.cwd()}/package.json.node` })
    expect(status).toBe(0)
    expect(out).toMatch(/GLISSADE_NATIVE points to .*package\.json\.node,\s+which is not\s+there/)
  })
  it('plain text has no escape sequences under NO_COLOR', () => {
    const { status, out } = glissade(['doctor'])
    expect(status).toBe(0)
    expect(out).toMatch(/A heap would choose/)
    expect(out.includes('\x1b')).toBe(false)
  })
})

describe('wrong use exits 2 with a sentence', () => {
  it.each([
    [['doctor', '--jsn'], /unknown option '--jsn'[^]*--json/],
    [['docter'], /unknown command 'docter'[^]*doctor/],
    [['doctor', 'x'], /too many arguments/],
    [['help', 'docter'], /^glissade: no command is called 'docter': there are doctor, stress, bench\n$/],
    [[], /Usage: glissade/],
  ])('%j', (args, sentence) => {
    const { status, out, err } = glissade(args)
    expect(status).toBe(2)
    expect(out).toBe('')
    expect(err).toMatch(sentence)
  })
  it('help and version are fine', () => {
    expect(glissade(['--help']).status).toBe(0)
    expect(glissade(['help']).out).toMatch(/Usage: glissade/)
    expect(glissade(['help', 'doctor']).out).toMatch(/Usage: glissade doctor/)
    expect(glissade(['--version']).out).toMatch(/^\d+\.\d+\.\d+\n$/)
  })
})

it('what goes wrong that is nobody’s wrong use exits 1 with what it was', () => {
  const folder = mkdtempSync(join(tmpdir(), 'glissade-cli-'))
  try {
    symlinkSync(join(folder, 'a.json'), join(folder, 'a.json'))
    const { status, out, err } = glissade(['bench', '--from', folder])
    expect({ status, out }).toEqual({ status: 1, out: '' })
    expect(err).toMatch(/^glissade: ELOOP: .*a\.json' \(ELOOP\)\n$/)
    expect(glissade(['bench', '--from', folder], { GLISSADE_TRACE: '1' }).err).toMatch(/\n +at readReport/)
  } finally {
    rmSync(folder, { recursive: true })
  }
})

/** Its exit status, as the shell sees it, and what reaches standard error. */
function shell(command: string, env: Record<string, string> = {}): { status: string; err: string } {
  const script = `${command}; echo "status $?" >&2`
  const { stderr } = spawnSync('bash', ['-c', script, process.execPath], {
    encoding: 'utf8',
    env: { ...process.env, NO_COLOR: '1', ...env },
  })
  const [, err, status] = stderr.match(/^([^]*)status (\d+)\n$/) ?? []
  return { status, err }
}

it.runIf(existsSync('/dev/full'))('a full disk behind standard output is told, and exits 1', () => {
  const command = '"$0" dist/cli/main.js doctor > /dev/full'
  const { status, err } = shell(command)
  expect({ status, err }).toEqual({
    status: '1',
    err: 'glissade: ENOSPC: no space left on device, write (ENOSPC)\n',
  })
  expect(shell(command, { GLISSADE_TRACE: '1' }).err).toMatch(/\n +at /)
})

it('the exit status is the same where nobody reads what is wrong', () => {
  const closed = 'mkfifo "$1" && (exec 3<>"$1"; exec 4>"$1" 3>&-; "$0" dist/cli/main.js docter 2>&4)'
  const pipe = join(mkdtempSync(join(tmpdir(), 'glissade-cli-')), 'pipe')
  const { status } = spawnSync('bash', ['-c', closed, process.execPath, pipe], { encoding: 'utf8' })
  rmSync(dirname(pipe), { recursive: true })
  expect(status).toBe(2)
})

it('a terminal that does not know its size is taken for one of ordinary width', () => {
  const columns = Object.getOwnPropertyDescriptor(process.stdout, 'columns')
  Object.defineProperty(process.stdout, 'columns', { value: 0, configurable: true })
  try {
    expect(wrap('one two three', 4)).toBe('one two three')
  } finally {
    if (columns) Object.defineProperty(process.stdout, 'columns', columns)
    else Reflect.deleteProperty(process.stdout, 'columns')
  }
})
