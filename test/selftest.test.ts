import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { expect, it } from 'vitest'

// The core's own tests, which need no Node, run here too, so that `npm test` is all tests. Under the sanitizers they
// run in `npm run check:native`.
const program = 'build/Release/selftest'

it.runIf(existsSync(program))(
  'the native self-test passes',
  () => {
    const run = spawnSync(program, [], { encoding: 'utf8' })
    expect(run.signal, run.stdout + run.stderr).toBeNull()
    expect(run.stdout).toMatch(/^[1-9]\d* passed, 0 failed$/m)
    expect(run.status).toBe(0)
  },
  1_200_000,
)
