// The bugs that scripts/mutation-check.mjs plants are patches of text: one that no longer fits is evidence of nothing.
import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'

interface Patch {
  readonly file: string
  readonly find: string
}
interface Mutant extends Patch {
  readonly name: string
  readonly patches?: readonly Patch[]
}

it('every bug that can be planted fits the code, at one place', async () => {
  const script: string = '../scripts/mutants.mjs'
  const { MUTANTS } = (await import(script)) as { MUTANTS: readonly Mutant[] }
  expect(MUTANTS.length).toBeGreaterThan(50)
  const stale = MUTANTS.flatMap(({ name, patches, ...only }) =>
    (patches ?? [only])
      .map(({ file, find }) => ({ name, file, times: readFileSync(file, 'utf8').split(find).length - 1 }))
      .filter(({ times }) => times !== 1),
  )
  expect(stale).toEqual([])
})
