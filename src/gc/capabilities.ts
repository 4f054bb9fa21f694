// Which collector a heap gets, and why: a pure function of what the probe found and what was asked for.
//
// The probe (native/core/kernel/probe.cc) registers a range, moves a page and copies one; no decision here rests on a
// version number. Reasons say what was chosen and why; remedies say how to get more, one sentence each, and are
// empty when nothing is missing. `heap.capabilities` and `glissade doctor` show both.

import { getSystemErrorName } from 'node:util'

/** What native `probe()` returns. Errnos are positive, 0 for none. */
export interface Probe {
  readonly kernel: string
  readonly userfaultfd: {
    readonly available: boolean
    readonly errno: number
    /** The step that failed: open, register or copy; empty if none did. */
    readonly step: string
    readonly userModeOnly: boolean
    readonly move: boolean
    readonly moveErrno: number
    readonly sigbus: boolean
    readonly wpAsync: boolean
  }
  readonly mremapDontunmap: boolean
  readonly mremapErrno: number
}

/** What stands in for a probe where there is no native code to make one. */
export interface NoProbe {
  readonly platform: string
  /** Why there is no native code. */
  readonly reason: string
}

export interface ModeRequest {
  readonly collector?: 'auto' | 'concurrent' | 'stop-the-world' | 'none'
  readonly relocation?: 'auto' | 'move' | 'copy'
  readonly faults?: 'sigbus' | 'thread'
  readonly protect?: boolean
}

/** The mode a heap would run in. Portable collectors relocate by copying and take no faults. */
export interface Mode {
  readonly collector: 'concurrent' | 'stop-the-world' | 'none'
  readonly relocation: 'move' | 'copy' | 'none'
  readonly faults: 'sigbus' | 'thread' | 'none'
}

export interface Choice {
  readonly mode: Mode
  readonly reasons: readonly string[]
  readonly remedies: readonly string[]
  /** Set when what was asked for explicitly cannot be had here: creating such a heap is an error. */
  readonly refusal: string | undefined
}

export const STOP_THE_WORLD: Mode = { collector: 'stop-the-world', relocation: 'copy', faults: 'none' }
/** The reason that is last where the concurrent collector cannot be had. */
export const TAKES_OVER = 'the portable stop-the-world collector takes over: same API, pauses grow with live data'

export function isProbe(probe: Probe | NoProbe): probe is Probe {
  return 'userfaultfd' in probe
}

export function chooseMode(probe: Probe | NoProbe, request: ModeRequest = {}): Choice {
  const wanted = request.collector ?? 'auto'
  const obstacles = whatPreventsConcurrent(probe, request)
  const reasons: string[] = []
  const remedies: string[] = obstacles.map((obstacle) => obstacle.remedy).filter((remedy) => remedy !== '')
  const portable = (collector: 'stop-the-world' | 'none', refusal?: string): Choice => ({
    mode: collector === 'none' ? { collector, relocation: 'none', faults: 'none' } : STOP_THE_WORLD,
    reasons,
    remedies,
    refusal,
  })

  if (wanted === 'stop-the-world' || wanted === 'none') {
    reasons.push(`collector '${wanted}' was asked for`)
    remedies.length = 0
    return portable(wanted)
  }
  if (obstacles.length > 0) {
    for (const obstacle of obstacles) reasons.push(obstacle.reason)
    if (wanted === 'auto' && request.relocation !== 'move' && request.protect !== true) {
      reasons.push(TAKES_OVER)
      return portable('stop-the-world')
    }
    const option = request.protect === true ? 'protect: true' : "relocation 'move'"
    const asked = wanted === 'concurrent' ? "collector 'concurrent'" : option
    return portable('stop-the-world', `${asked} cannot be had here: ${obstacles[0].reason}`)
  }

  const found = (probe as Probe).userfaultfd
  reasons.push('userfaultfd works for this user: a range was registered and a page placed in it')
  let relocation: Mode['relocation'] = 'move'
  if (request.relocation === 'copy') {
    relocation = 'copy'
    reasons.push("relocation 'copy' was asked for")
  } else if (found.move) {
    reasons.push('UFFDIO_MOVE works: a page was moved')
  } else {
    relocation = 'copy'
    reasons.push(`UFFDIO_MOVE does not work (${errorName(found.moveErrno)}): pages are copied instead`)
    remedies.push(
      'Linux 6.8 or later moves pages instead of copying them, which makes compaction several times cheaper',
    )
  }
  let faults: Mode['faults'] = request.faults ?? 'sigbus'
  if (faults === 'thread') {
    reasons.push("faults 'thread' was asked for")
  } else if (found.sigbus) {
    reasons.push('faults can arrive as SIGBUS on the faulting thread')
  } else {
    faults = 'thread'
    reasons.push('this kernel cannot deliver faults as SIGBUS: a thread of the collector serves them')
    remedies.push('Linux 4.14 or later delivers faults on the faulting thread, without a hand-over to another one')
  }
  return { mode: { collector: 'concurrent', relocation, faults }, reasons, remedies, refusal: undefined }
}

interface Obstacle {
  readonly reason: string
  readonly remedy: string
}

/** npm builds nothing when it installs the package. */
const BUILD =
  'npm run build:native, or where glissade is a dependency ' +
  'npm install --save-dev node-gyp && npm explore glissade -- npm run build:native'

/** Where there is no native code, by the reasons of native-loader.ts: the first that fits. */
const REMEDIES: readonly (readonly [RegExp, string])[] = [
  [/GLISSADE_NATIVE=none/, 'unset GLISSADE_NATIVE'],
  [/too many open files/i, 'raise the limit on open files: ulimit -n'],
  [/addons is disabled/, 'let Node load addons: no --no-addons, and --allow-addons where it runs with --permission'],
  [
    /GLISSADE_NATIVE points to/,
    'let GLISSADE_NATIVE name an addon of glissade that was built for this machine, or unset it',
  ],
  [/from a bundle/, 'mark glissade as external where it is bundled, or let GLISSADE_NATIVE name its addon'],
  [/not been built/, `build the addon: ${BUILD} (needs g++ 12 or later, make and python3)`],
  [/could not be loaded|another version/, `rebuild the addon for this machine: ${BUILD}`],
]

function whatPreventsConcurrent(probe: Probe | NoProbe, request: ModeRequest): Obstacle[] {
  if (!isProbe(probe)) {
    if (probe.platform !== 'linux') {
      return [
        {
          reason: `userfaultfd is a Linux system call; this is ${probe.platform}`,
          remedy: 'run on Linux 6.8 or later (a virtual machine will do) for the concurrent collector',
        },
      ]
    }
    return [{ reason: probe.reason, remedy: REMEDIES.find(([reason]) => reason.test(probe.reason))?.[1] ?? '' }]
  }
  const found = probe.userfaultfd
  const obstacles: Obstacle[] = []
  if (!found.available) obstacles.push(whyUnavailable(found.errno, found.step))
  else if (request.relocation === 'move' && !found.move) {
    obstacles.push({
      reason: `UFFDIO_MOVE does not work here (${errorName(found.moveErrno)}), and relocation 'move' is strict`,
      remedy: "use Linux 6.8 or later, or relocation 'auto', which falls back to copying",
    })
  }
  if (!probe.mremapDontunmap) {
    obstacles.push({
      reason: `mremap cannot leave an empty mapping behind (MREMAP_DONTUNMAP: ${errorName(probe.mremapErrno)})`,
      remedy: 'use Linux 5.7 or later',
    })
  }
  return obstacles
}

function whyUnavailable(errno: number, step: string): Obstacle {
  const name = errorName(errno)
  switch (name) {
    case 'EPERM':
    case 'EACCES':
      return {
        reason: `this process is not allowed to use userfaultfd (${name})`,
        remedy:
          'in a container, allow the userfaultfd system call in its seccomp profile ' +
          '(docker run --security-opt seccomp=PROFILE.json); on Linux before 5.11, sysctl -w vm.unprivileged_userfaultfd=1; ' +
          'with SELinux, allow anon_inode for this domain',
      }
    case 'ENOSYS':
      return {
        reason: 'this kernel or sandbox has no userfaultfd (ENOSYS)',
        remedy: 'use a kernel built with CONFIG_USERFAULTFD, outside sandboxes that replace the kernel, such as gVisor',
      }
    case 'EMFILE':
    case 'ENFILE':
      return { reason: `no file descriptor was left (${name})`, remedy: 'raise the limit on open files: ulimit -n' }
    case 'ENOMEM':
      return { reason: 'the probe ran out of memory (ENOMEM)', remedy: 'free memory, or raise the limit on it' }
    default:
      return {
        reason: `userfaultfd failed at its ${step || 'probe'} step (${name})`,
        remedy: 'use Linux 6.8 or later, outside a sandbox',
      }
  }
}

function errorName(errno: number): string {
  if (errno === 0) return 'no error, wrong content'
  try {
    return getSystemErrorName(-errno)
  } catch {
    return `errno ${errno}`
  }
}
