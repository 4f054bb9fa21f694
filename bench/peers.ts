// Peers: the same programs in Java, on the collectors of the machine's JVM, where `java` is installed.
//
// bench/peers/Peers.java is run from its source; it prints the outcome of a run as JSON. What the JVM itself says about
// its stops (-Xlog:safepoint) becomes stopUs. Heaps are given with -Xmx and grow as the JVM likes.

import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Case, Selection } from './bench.js'
import { summarise } from './measure.js'
import type { Outcome } from './rows.js'
import type { Variant } from './workload.js'

const source = fileURLToPath(new URL('../../bench/peers/Peers.java', import.meta.url))

const COLLECTORS: { readonly [system: string]: readonly string[] } = {
  'java ZGC': ['-XX:+UseZGC'],
  'java Shenandoah': ['-XX:+UseShenandoahGC'],
  'java G1': ['-XX:+UseG1GC'],
  'java Parallel': ['-XX:+UseParallelGC'],
  'java Serial': ['-XX:+UseSerialGC'],
}

let known: string[] | undefined
/** The collectors that this JVM has. */
function collectors(): string[] {
  if (known !== undefined) return known
  known = []
  if (spawnSync('java', ['-version']).status === 0) {
    known = Object.keys(COLLECTORS).filter(
      (name) => spawnSync('java', [...COLLECTORS[name], '-version'], { encoding: 'utf8' }).status === 0,
    )
  }
  return known
}

export function javaCases(
  bench: string,
  variants: readonly Variant[],
  { quick }: Selection,
  skip: (why: string) => void,
): Case[] {
  const wanted = variants.filter(({ java }) => java === true)
  if (wanted.length === 0) return []
  const here = existsSync(source) ? collectors() : []
  if (here.length === 0) skip('no peers in Java: `java` is not installed')
  // Two minutes for everything do not leave room for five virtual machines.
  const systems = quick ? here.slice(0, 1) : here
  return (quick ? wanted.slice(0, 1) : wanted).flatMap((variant) =>
    systems.map((system) => ({
      bench,
      workload: variant.name,
      system,
      parameters: { quick },
      runs: variant.runs ?? 5,
    })),
  )
}

export function runJava(program: string, { parameters, heapMiB, rate }: Variant, system: string): Outcome {
  const folder = mkdtempSync(join(tmpdir(), 'glissade-peer-'))
  const log = join(folder, 'safepoint.log')
  try {
    const values = Object.entries({ ...parameters, rate: rate ?? 0 }).map(([name, value]) => `${name}=${value}`)
    const { status, stdout, stderr } = spawnSync(
      'java',
      [
        ...COLLECTORS[system],
        `-Xmx${Math.max(64, heapMiB * 2)}m`,
        `-Xlog:safepoint:file=${log}`,
        source,
        program,
        ...values,
      ],
      { encoding: 'utf8', maxBuffer: 2 ** 26 },
    )
    if (status !== 0) throw new Error(`Error: java ended with status ${status}: ${stderr.slice(0, 300)}`)
    const found = JSON.parse(stdout.trimEnd().split('\n').at(-1) as string) as Outcome
    const stops = [...readFileSync(log, 'utf8').matchAll(/Total:\s+(\d+) ns/g)].map(([, ns]) => Number(ns) / 1000)
    return { ...found, histograms: { ...found.histograms, ...(stops.length > 0 && { stopUs: summarise(stops) }) } }
  } finally {
    rmSync(folder, { recursive: true })
  }
}
