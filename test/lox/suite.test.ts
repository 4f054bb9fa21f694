// Every file of the suite, on every collector, plain and under stress.

import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import type { HeapOptions } from 'glissade'
import { availableCollectors } from './collectors.js'
import { differences, readExpected, runLox, testFiles } from './expectations.js'

const suite = testFiles(fileURLToPath(new URL('./suite', import.meta.url)))

const MODES: { readonly [name: string]: HeapOptions } = {
  plain: {},
  'collecting at every allocation site': { stress: { everySite: true } },
  'collecting at every safepoint': { stress: { everySafepoint: true } },
  checked: { checked: true },
}

/** Recursion to the end of the stack takes minutes when each call collects. */
const isTooSlow = (mode: string, name: string): boolean =>
  (mode === 'collecting at every safepoint' && (name.startsWith('overflow') || name.startsWith('deep'))) ||
  (mode !== 'plain' && name === 'many_sets_of_fields.lox')

for (const collector of availableCollectors) {
  for (const [mode, options] of Object.entries(MODES)) {
    // Nothing moves there, so there is nothing for stress and checks to find.
    if (collector === 'none' && mode !== 'plain') continue
    describe(`the suite on ${collector}, ${mode}`, () => {
      it.each([...suite.keys()])('%s', (folder) => {
        for (const { name, source } of suite.get(folder)!) {
          if (isTooSlow(mode, name)) continue
          const result = runLox(source, { collector, ...options })
          expect(differences(readExpected(source), result), `${folder}/${name}`).toBeNull()
        }
      })
    })
  }
}
