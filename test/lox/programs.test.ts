// The programs of examples/lox/programs print what they should, on every collector, plain and under stress.

import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { availableCollectors } from './collectors.js'
import { runLox } from './expectations.js'

const folder = new URL('../../examples/lox/programs/', import.meta.url)
const programs = readdirSync(folder).filter((name) => name.endsWith('.lox'))
const read = (name: string): string => readFileSync(new URL(name, folder), 'latin1')

describe.each(availableCollectors)('the programs on %s', (collector) => {
  it.each(programs)('%s', (name) => {
    const expected = read(name.replace('.lox', '.out'))
    const heap = { collector, maxBytes: collector === 'none' ? '256m' : '4m' }
    expect(runLox(read(name), heap)).toEqual({ outcome: 'ok', output: expected, errors: '' })
    if (collector === 'none') return
    expect(runLox(read(name), { ...heap, stress: { everySite: true } }).output).toBe(expected)
    expect(runLox(read(name), { ...heap, stress: { everyAllocations: 997 } }).output).toBe(expected)
  })
})
