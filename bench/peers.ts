// Peers: the same programs in Java, on the collectors of the machine's JVM, and in C on the Boehm-Demers-Weiser collector.
//
// bench/peers has the sources. They are compiled once in a suite, when the first case needs them, into a folder that the processes of the cases find in
// their environment, so that no compiler's memory or time is in the figures. What the JVM says about its stops
// (-Xlog:safepoint) and about allocations that waited (ZGC's -Xlog:gc) becomes stopUs and allocationStallUs; the C program
// times its stops itself. A JVM's heap is given with -Xmx, twice the budget of ours, and grows as the JVM likes.

import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Case, Selection } from './bench.js'
import { histogramOf, summarise } from './measure.js'
import type { Outcome } from './rows.js'
import { StepClock, type Recorded } from './step-clock.js'
import type { Variant, Workload } from './workload.js'

const sources = fileURLToPath(new URL('../../bench/peers/', import.meta.url))
/** Where the compiled programs are: set by the suite's process for those of the cases. */
const FOLDER = 'GLISSADE_BENCH_PEERS'
const HOME = process.env['JAVA_HOME']
const java = (tool: string): string => (HOME ? join(HOME, 'bin', tool) : tool)

const COLLECTORS: { readonly [system: string]: readonly string[] } = {
  'java ZGC': ['-XX:+UseZGC'],
  'java Shenandoah': ['-XX:+UseShenandoahGC'],
  'java Shenandoah generational': ['-XX:+UseShenandoahGC', '-XX:ShenandoahGCMode=generational'],
  'java G1': ['-XX:+UseG1GC'],
  'java Parallel': ['-XX:+UseParallelGC'],
  'java Serial': ['-XX:+UseSerialGC'],
}
export const BOEHM = 'boehm'
/** The collectors of a JVM, whichever of them it has. */
export const JAVA: readonly string[] = Object.keys(COLLECTORS)

/** The collectors found, or why there are none. */
interface Found {
  readonly systems: readonly string[]
  readonly why: string
}

function folder(): string {
  const known = process.env[FOLDER]
  if (known !== undefined) return known
  const made = mkdtempSync(join(tmpdir(), 'glissade-peers-'))
  process.env[FOLDER] = made
  process.once('exit', () => rmSync(made, { recursive: true, force: true }))
  return made
}

/** A folder that cannot be made, for one: no reason to lose what other benchmarks find. */
function orWhyNot(find: () => Found): Found {
  try {
    return find()
  } catch (error) {
    return { systems: [], why: (error as Error).message }
  }
}

let jvm: Found | undefined
function findJava(): Found {
  if (!existsSync(`${sources}Peers.java`)) return { systems: [], why: 'bench/peers is not here' }
  if (spawnSync(java('javac'), ['-version']).status !== 0)
    return { systems: [], why: HOME ? `'${java('javac')}' of JAVA_HOME does not run` : 'no `javac` here' }
  if (spawnSync(java('java'), ['-version']).status !== 0) return { systems: [], why: `no \`${java('java')}\` here` }
  const compiled = spawnSync(java('javac'), ['-d', folder(), `${sources}Peers.java`], { encoding: 'utf8' })
  if (compiled.status !== 0) return { systems: [], why: `javac: ${compiled.stderr.slice(0, 200)}` }
  const systems = JAVA.filter((name) => spawnSync(java('java'), [...COLLECTORS[name], '-version']).status === 0)
  return { systems, why: systems.length === 0 ? 'this `java` has none of the collectors' : '' }
}

let boehm: Found | undefined
function findBoehm(): Found {
  if (!existsSync(`${sources}peers.c`)) return { systems: [], why: 'bench/peers is not here' }
  const args = ['-O2', '-o', join(folder(), 'peers'), `${sources}peers.c`, '-lgc']
  const { status, error, stderr } = spawnSync('gcc', args, { encoding: 'utf8' })
  if (status === 0) return { systems: [BOEHM], why: '' }
  if ((error as NodeJS.ErrnoException | undefined)?.code === 'ENOENT') return { systems: [], why: 'no `gcc` here' }
  const missing = error === undefined && /gc\.h|-lgc/.test(stderr)
  return { systems: [], why: missing ? 'libgc-dev is not installed' : (error?.message ?? stderr.slice(0, 200)) }
}

/** Versions of the peers, for the report. */
export function peerVersions(): { readonly [what: string]: string } {
  const versions: { [what: string]: string } = {}
  const { stderr } = spawnSync(java('java'), ['-version'], { encoding: 'utf8' })
  const version = /version "([^"]*)"/.exec(stderr ?? '')?.[1]
  if (version !== undefined) versions['java'] = version
  const header = ['/usr/include/gc/gc_version.h', '/usr/local/include/gc/gc_version.h'].find((file) => existsSync(file))
  if (header !== undefined) {
    const text = readFileSync(header, 'utf8')
    const parts = ['MAJOR', 'MINOR', 'MICRO'].map((part) => new RegExp(`VERSION_${part} (\\d+)`).exec(text)?.[1])
    versions['boehm'] = parts.join('.')
  }
  return versions
}

const isJava = (system: string): boolean => system in COLLECTORS
export const isPeer = (system: string): boolean => system === BOEHM || isJava(system)

/** The cases of a program's variants on all peers there may be; with `quick` of one variant. */
export function peerCases(
  { name: bench, peers = [] }: Workload,
  variants: readonly Variant[],
  { quick }: Selection,
): Case[] {
  const systems = [...(peers.includes('java') ? JAVA : []), ...(peers.includes('boehm') ? [BOEHM] : [])]
  return (quick ? variants.slice(0, 1) : variants).flatMap((variant) =>
    systems.map((system) => ({
      bench,
      workload: variant.name,
      system,
      parameters: { quick },
      runs: variant.runs ?? 5,
    })),
  )
}

/**
 * Of these cases, those that can run here. Compiles the peers that any of them needs, and no other; with `quick` one of the
 * JVM's collectors is enough.
 */
export function peersHere(cases: readonly Case[], skip: (why: string) => void): Case[] {
  const here = new Set<string>()
  if (cases.some(({ system }) => isJava(system))) {
    jvm ??= orWhyNot(findJava)
    if (jvm.systems.length === 0) skip(`no peers in Java: ${jvm.why}`)
    const enough = cases.some(({ parameters }) => parameters['quick'] === true)
    const chosen = jvm.systems.filter((name) => cases.some(({ system }) => system === name))
    for (const system of enough ? chosen.slice(0, 1) : chosen) here.add(system)
  }
  if (cases.some(({ system }) => system === BOEHM)) {
    boehm ??= orWhyNot(findBoehm)
    if (boehm.systems.length === 0) skip(`no peer in C: ${boehm.why}`)
    for (const system of boehm.systems) here.add(system)
  }
  return cases.filter(({ system }) => !isPeer(system) || here.has(system))
}

/** What a peer's program prints. */
interface Printed extends Recorded {
  readonly wallS: number
  readonly cpuS: number
  readonly peakRssMiB: number
  readonly stopsUs: readonly number[]
  /** When the program began and ended, by the clock of the JVM's log: it also collects while its result is printed. */
  readonly loggedMs?: readonly [number, number]
}

export function runPeer(
  { name, progress }: Pick<Workload, 'name' | 'progress'>,
  { parameters, heapMiB, rate = 0 }: Pick<Variant, 'parameters' | 'heapMiB' | 'rate'>,
  system: string,
): Outcome {
  // Within the suite's folder, which goes with the suite, should this process be killed.
  const scratch = mkdtempSync(join(folder(), 'run-'))
  const log = join(scratch, 'gc.log')
  try {
    const values = Object.entries({ ...parameters, rate }).map(([key, value]) => `${key}=${value}`)
    const [program, args] =
      system === BOEHM
        ? [join(folder(), 'peers'), []]
        : [
            java('java'),
            [
              ...COLLECTORS[system],
              `-Xmx${Math.max(64, heapMiB * 2)}m`,
              '-Xlog:safepoint,gc:file=gc.log', // relative: a colon in a path would be an option's
              '-cp',
              folder(),
              'Peers',
            ],
          ]
    const { status, signal, stdout, stderr } = spawnSync(program, [...args, name, ...values], {
      encoding: 'utf8',
      maxBuffer: 2 ** 28,
      cwd: scratch,
    })
    if (status !== 0) throw new Error(`${system} ended with ${signal ?? `status ${status}`}: ${stderr.slice(0, 300)}`)
    const {
      wallS,
      cpuS,
      peakRssMiB,
      stopsUs,
      loggedMs = [0, 0],
      ...recorded
    } = JSON.parse(stdout.trimEnd().split('\n').at(-1) as string) as Printed
    const text = existsSync(log) ? readFileSync(log, 'utf8') : ''
    const logged = (pattern: RegExp, micros: number): number[] =>
      [...text.matchAll(pattern)]
        .filter(([, seconds]) => Number(seconds) * 1000 >= loggedMs[0] && Number(seconds) * 1000 <= loggedMs[1])
        .map(([, , value]) => Number(value) * micros)
    const stops = [...stopsUs, ...logged(/^\[([\d.]+)s\].*Total:\s+(\d+) ns/gm, 1e-3)]
    const stalls = logged(/^\[([\d.]+)s\].*Allocation Stall \([^)]*\) ([\d.]+)ms/gm, 1e3)
    const clock = StepClock.of(recorded, rate)
    return {
      figures: { wallS, cpuS, peakRssMiB, steps: clock.steps, stepsPerS: clock.steps / clock.elapsedS },
      histograms: {
        latencyUs: clock.latency(),
        ...(stops.length > 0 && { stopUs: summarise(stops) }),
        ...(stalls.length > 0 && { allocationStallUs: summarise(stalls) }),
      },
      series: {
        latency: clock.curve(),
        ...(stops.length > 0 && { stopUs: histogramOf(stops) }),
        ...(progress !== null && { mmu: clock.mmu(), progress: clock.progress() }),
      },
    }
  } finally {
    rmSync(scratch, { recursive: true })
  }
}
