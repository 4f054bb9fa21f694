// Which collector is chosen, with which reasons and remedies, for every kind of probe: no kernel is asked.
import { constants } from 'node:os'
import { describe, expect, it } from 'vitest'
import { chooseMode, type Probe } from '../dist/gc/capabilities.js'
import { loadNative } from '../dist/gc/native-loader.js'
import { openCollector } from '../dist/gc/open-collector.js'
import { parseOptions } from '../dist/heap/options.js'

type Found = Partial<Probe['userfaultfd']>

function machine(found: Found = {}, rest: Partial<Probe> = {}): Probe {
  const userfaultfd = {
    available: true,
    errno: 0,
    step: '',
    userModeOnly: true,
    move: true,
    moveErrno: 0,
    sigbus: true,
    wpAsync: true,
    ...found,
  }
  return { kernel: '6.8.0', userfaultfd, mremapDontunmap: true, mremapErrno: 0, ...rest }
}
const { EPERM, ENOSYS, EINVAL, EMFILE, ENOMEM } = constants.errno
const denied = machine({ available: false, errno: EPERM, step: 'open', move: false, sigbus: false })

describe('with everything there', () => {
  it('auto is concurrent, by moving, with SIGBUS, and misses nothing', () => {
    const { mode, reasons, remedies, refusal } = chooseMode(machine())
    expect(mode).toEqual({ collector: 'concurrent', relocation: 'move', faults: 'sigbus' })
    expect(reasons.length).toBeGreaterThan(0)
    expect(remedies).toEqual([])
    expect(refusal).toBeUndefined()
  })
  it('a relocation and a way of faults that are asked for are chosen', () => {
    expect(chooseMode(machine(), { relocation: 'copy', faults: 'thread' }).mode).toEqual({
      collector: 'concurrent',
      relocation: 'copy',
      faults: 'thread',
    })
  })
  it.each(['stop-the-world', 'none'] as const)("collector '%s' is chosen where it is asked for", (collector) => {
    const choice = chooseMode(machine(), { collector })
    expect(choice.mode).toMatchObject({ collector, faults: 'none' })
    expect(choice.reasons).toEqual([`collector '${collector}' was asked for`])
    expect(choice.refusal).toBeUndefined()
  })
})

describe('with something missing', () => {
  it.each([
    ['EPERM', EPERM, /not allowed/, /seccomp/],
    ['ENOSYS', ENOSYS, /no userfaultfd/, /CONFIG_USERFAULTFD/],
    ['EMFILE', EMFILE, /descriptor/, /ulimit/],
    ['ENOMEM', ENOMEM, /memory/, /memory/],
    ['EINVAL', EINVAL, /register step/, /6\.8/],
  ])('%s: stop-the-world takes over, with reason and remedy', (_name, errno, reason, remedy) => {
    const choice = chooseMode(machine({ available: false, errno, step: 'register' }))
    expect(choice.mode).toEqual({ collector: 'stop-the-world', relocation: 'copy', faults: 'none' })
    expect(choice.reasons[0]).toMatch(reason)
    expect(choice.remedies[0]).toMatch(remedy)
    expect(choice.refusal).toBeUndefined()
  })
  it('no MOVE: pages are copied, and the remedy names the kernel', () => {
    const choice = chooseMode(machine({ move: false, moveErrno: EINVAL }))
    expect(choice.mode).toEqual({ collector: 'concurrent', relocation: 'copy', faults: 'sigbus' })
    expect(choice.reasons.join()).toMatch(/EINVAL/)
    expect(choice.remedies.join()).toMatch(/Linux 6\.8/)
  })
  it('no SIGBUS: a thread serves the faults', () => {
    const choice = chooseMode(machine({ sigbus: false }))
    expect(choice.mode.faults).toBe('thread')
    expect(choice.remedies).toHaveLength(1)
  })
  it('no MREMAP_DONTUNMAP: no flip, so no concurrent collector', () => {
    const choice = chooseMode(machine({}, { mremapDontunmap: false, mremapErrno: EINVAL }))
    expect(choice.mode.collector).toBe('stop-the-world')
    expect(choice.remedies.join()).toMatch(/5\.7/)
  })
  it('not Linux', () => {
    const choice = chooseMode({ platform: 'darwin', reason: 'the native collector needs Linux; this is darwin' })
    expect(choice.mode.collector).toBe('stop-the-world')
    expect(choice.reasons[0]).toMatch(/darwin/)
    expect(choice.remedies).toHaveLength(1)
  })
  it('addon not built, or not loadable', () => {
    const unbuilt = chooseMode({ platform: 'linux', reason: 'the native addon has not been built' })
    expect(unbuilt.remedies[0]).toMatch(/npm run build:native/)
    expect(unbuilt.remedies[0]).toMatch(/node-gyp && npm explore glissade -- npm run build:native/)
    const broken = chooseMode({ platform: 'linux', reason: 'the native addon could not be loaded: wrong ELF class' })
    expect(broken.reasons[0]).toMatch(/wrong ELF class/)
    expect(broken.remedies[0]).toMatch(/rebuild/)
    const disabled = 'Cannot load native addon because loading addons is disabled.' // as Node says
    const refused = chooseMode({ platform: 'linux', reason: `the native addon could not be loaded: ${disabled}` })
    expect(refused.remedies[0]).toMatch(/^let Node load addons: no --no-addons/)
  })
})

describe('what was asked for explicitly and cannot be had is refused, not replaced', () => {
  it("collector 'concurrent' without userfaultfd", () => {
    expect(chooseMode(denied, { collector: 'concurrent' }).refusal).toMatch(/'concurrent' cannot be had here.*EPERM/)
  })
  it("relocation 'move' without MOVE", () => {
    expect(chooseMode(machine({ move: false, moveErrno: EINVAL }), { relocation: 'move' }).refusal).toMatch(/'move'/)
    expect(chooseMode(denied, { relocation: 'move' }).refusal).toMatch(/EPERM/)
    expect(chooseMode(denied, { protect: true }).refusal).toMatch(/^protect: true cannot be had here: .*EPERM/)
  })
  it('a portable collector asked for is never refused', () => {
    expect(chooseMode(denied, { collector: 'stop-the-world', relocation: 'move' }).refusal).toBeUndefined()
  })
})

it('a heap is made with what the probe has found missing', () => {
  const native = loadNative()
  if (native.exports === undefined) return
  const { probe, create } = native.exports
  const made: { readonly relocation: number; readonly faults: number }[] = []
  Object.assign(native.exports, {
    create: (options: (typeof made)[0]) => {
      made.push(options)
      throw new Error('made')
    },
  })
  try {
    for (const found of [{}, { move: false, moveErrno: EINVAL }, { sigbus: false }]) {
      Object.assign(native.exports, { probe: () => machine(found) })
      for (const options of [{}, { relocation: 'copy' }, { faults: 'thread' }] as const) {
        expect(() => openCollector(parseOptions(options))).toThrow('made')
      }
    }
  } finally {
    Object.assign(native.exports, { probe, create })
  }
  const auto = 0
  const copy = 2
  const [signal, thread] = [0, 1]
  expect(made.map(({ relocation, faults }) => [relocation, faults])).toEqual([
    ...[
      [auto, signal],
      [copy, signal],
      [auto, thread],
    ],
    ...[
      [copy, signal],
      [copy, signal],
      [copy, thread],
    ],
    ...[
      [auto, thread],
      [copy, thread],
      [auto, thread],
    ],
  ])
})
