// Machines that lack something, made of this one: processes under real seccomp filters (test/fixtures/deny.py) and of
// another user. `auto` takes the next best and says so; what was asked for by name and cannot be had is an error.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it, type TestContext } from 'vitest'
import type { Capabilities, HeapOptions } from 'glissade'
import type { Diagnosis } from '../../dist/cli/doctor.js'
import { configurations } from '../conformance/configurations.js'

const here = configurations.some(({ concurrent }) => concurrent)
const python = spawnSync('python3', ['-c', 'import ctypes'], { encoding: 'utf8' }).status === 0
const possible = here && process.arch === 'x64' && python
const CANNOT = 77
const selftest = fileURLToPath(new URL('../../build/Release/selftest', import.meta.url))

interface Opened {
  readonly capabilities: Capabilities
  readonly intact: boolean
  readonly pages: { readonly moved: number; readonly copied: number }
  readonly fallbacks: { readonly [errno: string]: number }
  readonly code?: string
  readonly message: string
}

function under(denied: readonly string[], test: TestContext, ...program: string[]): string {
  const run = spawnSync('python3', ['test/fixtures/deny.py', ...denied, '--', process.execPath, ...program], {
    encoding: 'utf8',
    timeout: 120_000,
  })
  if (run.status === CANNOT) test.skip(`this process may not ${denied.join(' ')}`)
  expect(run.stderr).toBe('')
  expect(run.status).toBe(0)
  return run.stdout
}

function open(denied: readonly string[], test: TestContext, ...options: HeapOptions[]): Opened[] {
  return JSON.parse(under(denied, test, 'test/fixtures/opens.mjs', JSON.stringify(options))) as Opened[]
}

interface Machine {
  readonly name: string
  readonly denied: readonly string[]
  readonly reason: RegExp
  readonly remedy: RegExp
}

describe.runIf(possible && existsSync(selftest))('the bare barrier benchmark', () => {
  it('measures on a kernel without MOVE what there is, and comes to an end', (test) => {
    const args = ['test/fixtures/deny.py', 'move=EINVAL', '--', selftest, '--bench', 'barrier']
    const { status, stdout } = spawnSync('python3', args, { encoding: 'utf8', timeout: 120_000 })
    if (status === CANNOT) test.skip('this process may not deny MOVE')
    expect(status).toBe(0)
    const names = Object.keys(JSON.parse(stdout) as object)
    expect(names).toContain('sigbus COPY 1')
    expect(names.filter((name) => name.includes('MOVE'))).toEqual([])
  })
})

describe.runIf(possible)('without userfaultfd', () => {
  const machines: readonly Machine[] = [
    {
      name: 'denied by seccomp',
      denied: ['userfaultfd=EPERM'],
      reason: /not allowed.*EPERM/,
      remedy: /seccomp profile/,
    },
    {
      name: 'a kernel that has none',
      denied: ['userfaultfd=ENOSYS'],
      reason: /no userfaultfd.*ENOSYS/,
      remedy: /CONFIG_USERFAULTFD/,
    },
    {
      name: 'a kernel without its user mode, and a user whom the sysctl keeps out',
      denied: ['user-mode-only=EINVAL', 'user=65534'],
      reason: /not allowed.*EPERM/,
      remedy: /sysctl -w vm\.unprivileged_userfaultfd=1/,
    },
    { name: 'no memory to register with', denied: ['register=ENOMEM'], reason: /out of memory/, remedy: /memory/ },
    {
      name: 'no MREMAP_DONTUNMAP',
      denied: ['dontunmap=EINVAL'],
      reason: /MREMAP_DONTUNMAP: EINVAL/,
      remedy: /Linux 5\.7/,
    },
  ]
  it.for(machines)('$name: auto stops the world and says why; by name it is an error', (machine, test) => {
    const [auto, concurrent, move] = open(machine.denied, test, {}, { collector: 'concurrent' }, { relocation: 'move' })
    expect(auto).toMatchObject({
      capabilities: { collector: 'stop-the-world', relocation: 'copy', faults: 'none', sharing: false },
      intact: true,
      fallbacks: {},
    })
    expect(auto.pages.copied).toBeGreaterThan(0)
    const { reasons, remedies } = auto.capabilities
    expect(reasons[0]).toMatch(machine.reason)
    expect(reasons.join()).toMatch(/stop-the-world collector takes over/)
    expect(remedies.join()).toMatch(machine.remedy)
    for (const refused of [concurrent, move]) {
      expect(refused.code).toBe('ERR_USERFAULTFD_UNAVAILABLE')
      expect(refused.message).toMatch(machine.reason)
      expect(refused.message).toMatch(machine.remedy)
    }
    expect(concurrent.message).toMatch(/^collector 'concurrent' cannot be had here/)
    expect(move.message).toMatch(/^relocation 'move' cannot be had here/)
  })

  it('doctor tells the same', (test) => {
    const told = under(['userfaultfd=EPERM'], test, 'dist/cli/main.js', 'doctor', '--json')
    const { userfaultfd, mode, reasons, remedies } = JSON.parse(told) as Diagnosis
    expect(userfaultfd.available).toBe(false)
    expect(mode.collector).toBe('stop-the-world')
    expect(reasons[0]).toMatch(/EPERM/)
    expect(remedies[0]).toMatch(/seccomp/)
  })
})

describe.runIf(possible)('with a part of userfaultfd', () => {
  it('no MOVE (Linux 5.11 to 6.7): pages are copied, none is tried to be moved; strict moving is an error', (test) => {
    const [auto, copy, move] = open(['move=EINVAL'], test, {}, { relocation: 'copy' }, { relocation: 'move' })
    for (const opened of [auto, copy]) {
      expect(opened).toMatchObject({
        capabilities: { collector: 'concurrent', relocation: 'copy' },
        intact: true,
        pages: { moved: 0 },
        fallbacks: {},
      })
      expect(opened.pages.copied).toBeGreaterThan(0)
    }
    expect(auto.capabilities.reasons.join()).toMatch(/UFFDIO_MOVE does not work \(EINVAL\)/)
    expect(auto.capabilities.remedies.join()).toMatch(/Linux 6\.8/)
    expect(move.code).toBe('ERR_USERFAULTFD_UNAVAILABLE')
    expect(move.message).toMatch(/strict.*Linux 6\.8.*relocation 'auto'/)
  })

  it('no SIGBUS mode: a thread serves the faults', (test) => {
    const [auto] = open(['sigbus=EINVAL'], test, {})
    expect(auto).toMatchObject({ capabilities: { collector: 'concurrent', faults: 'thread' }, intact: true })
    expect(auto.pages.moved).toBeGreaterThan(0)
    expect(auto.capabilities.reasons.join()).toMatch(/cannot deliver faults as SIGBUS/)
  })

  it('an ordinary user, whatever the sysctl says, needs no privilege', (test) => {
    const [auto] = open(['user=65534'], test, { collector: 'concurrent', relocation: 'move' })
    expect(auto).toMatchObject({ capabilities: { collector: 'concurrent', relocation: 'move' }, intact: true })
    expect(auto.pages.moved).toBeGreaterThan(0)
  })
})
