import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

// Tests import the *built* package: `glissade`, `glissade/testing`, or an internal module as `../dist/…js`,
// never `../src/…` (but for types). Reasons: the fast paths are generated code whose speed and shape depend on what tsc
// emits; workers (which no test runner transforms) load the same files as the tests do, so there is one
// copy of every module in a process; and what is tested is what is published. `npm test` builds first.
const dist = (file: string): string => fileURLToPath(new URL(`./dist/${file}`, import.meta.url))

export default defineConfig({
  resolve: {
    alias: [
      { find: /^glissade$/, replacement: dist('index.js') },
      { find: /^glissade\/testing$/, replacement: dist('testing.js') },
    ],
  },
  test: {
    include: ['test/**/*.test.ts'],
    // A crash of the collector must not take other files' results with it: one process per file.
    pool: 'forks',
    maxWorkers: 2,
    // Against hangs alone: on a busy machine of few processors everything may take ten times as long.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    server: { deps: { external: [/\/dist\//] } },
  },
})
