// The process of one case: runs it and writes its outcome to standard output as the last line.

import { benchNamed } from './catalogue.js'
import type { Case } from './bench.js'

const one = JSON.parse(process.argv[2]) as Case
const outcome = await benchNamed(one.bench).run(one)
process.stdout.write(`\n${JSON.stringify(outcome)}\n`)
