// Finds and loads the addon, or says why there is none. Never throws: a machine without native code has the
// portable collectors, and `glissade doctor` shows the reason given here.
//
// Looked for in this order, from the package's root:
//   $GLISSADE_NATIVE (an explicit path; none: there is no native code), prebuilds/<platform>-<arch>.node, build/Release/glissade.node
// The first file that exists decides: a prebuild that fails to load is a fault to be told, not to be papered over
// with another build.

import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
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

/** The addon of this process and isolate; looked for once. */
export function loadNative(): LoadedNative {
  return (loaded ??= load())
}

/** The probe of this machine, or why none can be made. */
export function probeHere(): Probe | NoProbe {
  const { exports, reason } = loadNative()
  const probe = exports?.['probe']
  if (typeof probe === 'function') return probe() as Probe
  return { platform: process.platform, reason: reason ?? 'the native addon is of another version' }
}

function load(): LoadedNative {
  const absent = (reason: string): LoadedNative => ({ exports: undefined, path: undefined, reason })
  const explicit = process.env['GLISSADE_NATIVE']
  if (explicit === 'none') return absent('GLISSADE_NATIVE=none switches native code off')
  if (process.platform !== 'linux') return absent(`the native collector needs Linux; this is ${process.platform}`)
  const root = packageRoot()
  const path = explicit
    ? explicit
    : [join(root, 'prebuilds', `linux-${process.arch}.node`), join(root, 'build', 'Release', 'glissade.node')].find(
        existsSync,
      )
  if (path === undefined) return absent('the native addon has not been built')
  try {
    const exports = createRequire(import.meta.url)(path) as Record<string, unknown>
    return { exports, path, reason: undefined }
  } catch (error) {
    return absent(`the native addon could not be loaded: ${(error as Error).message.split('\n')[0]}`)
  }
}

/** The nearest folder upwards with the package's own manifest: the same from src/, dist/ and an installed copy. */
function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url))
  while (!existsSync(join(folder, 'package.json'))) {
    const parent = dirname(folder)
    if (parent === folder) break
    folder = parent
  }
  return folder
}
