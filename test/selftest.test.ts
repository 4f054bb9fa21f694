import { spawnSync } from 'node:child_process'
import { expect, it } from 'vitest'

// The core's own tests, which need no Node, run here too, so that `npm test` is all tests. Under the sanitizers they
// run in `npm run check:native`.
const program = 'build/Release/selftest'

const script: string = '../scripts/native.mjs'
const { whyNotNative } = (await import(script)) as { whyNotNative(): string | undefined }
/** Where there is no native code nobody can have built it; anywhere else a self-test that is not there is a failure. */
const obstacle = process.env['GLISSADE_NATIVE'] === 'none' ? 'GLISSADE_NATIVE=none' : whyNotNative()

it.skipIf(obstacle !== undefined)(
  `the native self-test passes${obstacle === undefined ? '' : ` (SKIPPED: ${obstacle})`}`,
  () => {
    const run = spawnSync(program, [], { encoding: 'utf8' })
    expect(run.error, `${program} did not run: npm run build:native`).toBeUndefined()
    expect(run.signal, run.stdout + run.stderr).toBeNull()
    expect(run.stdout).toMatch(/^[1-9]\d* passed, 0 failed$/m)
    expect(run.status).toBe(0)
  },
  1_200_000,
)
