// Finds and loads the addon, or says why there is none. Never throws: a machine without native code has the
// portable collectors, and `glissade doctor` shows the reason given here.
//
// Looked for in this order, from the package's root:
//   $GLISSADE_NATIVE (an explicit path; none: there is no native code), prebuilds/<platform>-<arch>.node, build/Release/glissade.node
// The first file that exists decides: a prebuild that fails to load is a fault to be told, not to be papered over
// with another build.

import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { NoProbe, Probe } from './capabilities.js'

export interface LoadedNative {
  /** The addon's exports; undefined when there are none. */
  readonly exports: Record<string, unknown> | undefined
  /** Where it came from. */
  readonly path: string | undefined
  /** Why there is none. */
  readonly reason: string | undefined
}

let loaded: LoadedNative | undefined

/** The addon of this process and isolate; looked for once, but for failures that may pass. */
export function loadNative(): LoadedNative {
  if (loaded !== undefined) return loaded
  try {
    return (loaded = load())
  } catch (error) {
    return absent((error as Error).message)
  }
}

/** The probe of this machine, or why none can be made. */
export function probeHere(): Probe | NoProbe {
  const { exports, reason } = loadNative()
  if (exports === undefined) return { platform: process.platform, reason: reason ?? '' }
  return (exports as { probe: () => Probe }).probe()
}

const absent = (reason: string): LoadedNative => ({ exports: undefined, path: undefined, reason })

/** Throws what may be otherwise the next time: a process without a file descriptor may have one then. */
function load(): LoadedNative {
  const explicit = process.env['GLISSADE_NATIVE']
  if (explicit === 'none') return absent('GLISSADE_NATIVE=none switches native code off')
  if (process.platform !== 'linux') return absent(`the native collector needs Linux; this is ${process.platform}`)
  const path = explicit ? resolve(explicit) : findAddon()
  if (path === undefined) return absent('the native addon has not been built')
  if (path === null) return absent('glissade runs from a bundle, and does not find its addon')
  const what = explicit ? `GLISSADE_NATIVE points to ${path}, which` : 'the native addon'
  if (!existsSync(path)) return absent(`${what} is not there`)
  const exports = required(path, what)
  if (typeof exports['probe'] === 'function') return { exports, path, reason: undefined }
  return absent(explicit ? `${what} is no addon of glissade` : `${what} is of another version`)
}

function required(path: string, what: string): Record<string, unknown> {
  try {
    return createRequire(thisModule())(path) as Record<string, unknown>
  } catch (error) {
    const [told] = (error as Error).message.split('\n')
    throw new Error(`${what} could not be loaded: ${told.replace(/\.$/, '')}`, { cause: error })
  }
}

/** Undefined: there is none; null: not even a package. */
function findAddon(): string | undefined | null {
  const root = packageRoot()
  if (root === undefined) return null
  return [join(root, 'prebuilds', `linux-${process.arch}.node`), join(root, 'build', 'Release', 'glissade.node')].find(
    existsSync,
  )
}

/**
 * The nearest folder upwards with the package's own manifest: the same from src/, dist/ and an installed copy. A bundle that this
 * is part of may lie anywhere: from there it is the installed copy, if there is one.
 */
function packageRoot(): string | undefined {
  const module = thisModule()
  for (let folder = dirname(fileURLToPath(module)); ; folder = dirname(folder)) {
    if (isOurs(join(folder, 'package.json'))) return folder
    if (folder === dirname(folder)) break
  }
  try {
    return dirname(createRequire(module).resolve('glissade/package.json'))
  } catch {
    return undefined
  }
}

function isOurs(manifest: string): boolean {
  if (!existsSync(manifest)) return false
  const text = readFileSync(manifest, 'utf8')
  try {
    return (JSON.parse(text) as { name?: unknown } | null)?.name === 'glissade'
  } catch {
    return false
  }
}

/** Bundles in CommonJS may have no URL for it. */
function thisModule(): string {
  const url = import.meta.url as string | undefined
  if (url?.startsWith('file:')) return url
  return pathToFileURL(typeof __filename === 'string' ? __filename : join(process.cwd(), 'bundle.js')).href
}
