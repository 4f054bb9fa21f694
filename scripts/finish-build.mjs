// After tsc: the two commands of package.json's `bin` must be executable.
import { chmodSync, existsSync } from 'node:fs'

for (const file of ['dist/cli/main.js', 'dist/examples/lox/main.js']) {
  if (existsSync(file)) chmodSync(file, 0o755)
}
