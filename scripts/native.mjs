// Shared by the two native build scripts: how node-gyp is called, and what to say when it can't be.
//
// node-gyp downloads Node's headers unless npm's configuration says where they are (`nodedir`, which reaches it as an
// environment variable: these scripts are therefore started by `npm run`) or they lie beside Node.
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, realpathSync } from 'node:fs'
import { createRequire } from 'node:module'
import { cpus } from 'node:os'
import { dirname, join } from 'node:path'

const require = createRequire(import.meta.url)

/** Why no native code can be built here, or undefined. */
export function whyNotNative() {
  if (process.platform !== 'linux') return `the native collector needs Linux (this is ${process.platform})`
  if (process.arch !== 'x64') return `the native collector is proven on x86-64 only (this is ${process.arch})`
  try {
    require.resolve('node-gyp/bin/node-gyp.js')
  } catch {
    return 'node-gyp is not installed (npm install --no-save node-gyp)'
  }
  const compiler = process.env.CXX ?? 'g++'
  for (const tool of ['make', 'python3']) {
    if (spawnSync(tool, ['--version'], { stdio: 'ignore' }).status !== 0) return `no working ${tool} was found`
  }
  const [program, ...flags] = compiler.split(' ')
  const input = '#include <bit>\n#include <compare>\nint main() { return std::popcount(1u) - 1; }\n'
  const trial = spawnSync(program, [...flags, '-std=c++20', '-fsyntax-only', '-x', 'c++', '-'], { input })
  if (trial.status !== 0) return `no compiler for C++20 was found (tried '${compiler}')`
  return undefined
}

/** Where Node was installed, if its headers came with it, as they do in its archives and in many distributions. */
function folderOfHeaders() {
  const folder = dirname(dirname(realpathSync(process.execPath)))
  const include = join(folder, 'include', 'node')
  try {
    readFileSync(join(include, 'common.gypi'))
    const header = readFileSync(join(include, 'node_version.h'), 'utf8')
    const part = (name) => new RegExp(`^#define NODE_${name}_VERSION (\\d+)`, 'm').exec(header)?.[1]
    return ['MAJOR', 'MINOR', 'PATCH'].map(part).join('.') === process.versions.node ? folder : undefined
  } catch {
    return undefined // not there: node-gyp downloads them
  }
}

/** Runs node-gyp in `directory`; two builds of one tree wait for each other. Returns { ok, output }. */
export function nodeGyp(directory, args, { verbose = false } = {}) {
  mkdirSync(`${directory}/build`, { recursive: true })
  const gyp = [require.resolve('node-gyp/bin/node-gyp.js'), '-C', directory, ...args]
  const jobs = String(Math.max(1, Math.min(8, cpus().length)))
  const headers = process.env['npm_config_nodedir'] ?? folderOfHeaders()
  const env = { ...process.env, JOBS: jobs, ...(headers !== undefined && { npm_config_nodedir: headers }) }
  const locked = spawnSync('flock', ['--version'], { stdio: 'ignore' }).status === 0
  const command = locked ? ['flock', `${directory}/build/.lock`, process.execPath, ...gyp] : [process.execPath, ...gyp]
  const stdio = verbose ? 'inherit' : ['ignore', 'pipe', 'pipe']
  const result = spawnSync(command[0], command.slice(1), { env, stdio, encoding: 'utf8', maxBuffer: 1 << 28 })
  return { ok: result.status === 0, output: verbose ? '' : `${result.stdout}\n${result.stderr}` }
}
