#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import { Lox } from './lox.js'
import { BufferedOutput, writeAll } from './runtime/output.js'
const output = new BufferedOutput((b) => writeAll(1, b))
const lox = new Lox({ onText: process.env.DUMP ? (t) => console.error(t) : undefined, output, error: (t) => writeAll(2, Buffer.from(t, 'latin1')), heap: { collector: (process.env.COLL ?? 'stop-the-world') as never , maxBytes: process.env.HEAP ?? '256m', stress: { everySafepoint: !!process.env.STRESS } } })
const r = lox.run(readFileSync(process.argv[2], 'latin1'))
output.flush()
if (r !== 'ok') process.exitCode = r === 'syntax error' ? 65 : 70
