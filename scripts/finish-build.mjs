// After tsc: the `lox` command becomes one file, and what package.json's `bin` names becomes executable.
//
// Loading the modules of a command one by one takes Node longer than many a Lox program runs, and CommonJS starts
// faster than an ES module, whose import of `node:fs` instantiates all of its streams: 45 ms of processor time instead
// of 110 beyond Node's own 65. Nothing else is bundled; whoever imports the package gets the modules.
import { chmodSync, existsSync } from 'node:fs'
import { rolldown } from 'rolldown'

const lox = 'dist/examples/lox/main.js'
if (existsSync(lox)) {
  const bundle = await rolldown({ input: { lox }, platform: 'node', logLevel: 'warn' })
  const names = '[name].cjs'
  await bundle.write({ dir: 'dist/bin', format: 'cjs', entryFileNames: names, chunkFileNames: names })
  await bundle.close()
}

for (const file of ['dist/cli/main.js', 'dist/bin/lox.cjs']) if (existsSync(file)) chmodSync(file, 0o755)
