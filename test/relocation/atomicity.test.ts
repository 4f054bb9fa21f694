// The guarantee on which everything rests: threads write, read and count while the pages under them are relocated without
// pause, and nothing is lost, torn or written to a page that was left already. test/fixtures/atomicity.mjs is the program.
//
// Half a second of each combination here; GLISSADE_ATOMICITY_SECONDS=300 makes it minutes, GLISSADE_SEED another run.
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { seedFromEnvironment } from 'glissade/testing'
import { configurations } from '../conformance/configurations.js'

const run = promisify(execFile)
const here = configurations.some(({ concurrent }) => concurrent)
const seconds = Number(process.env['GLISSADE_ATOMICITY_SECONDS'] ?? 0.5)
const seed = seedFromEnvironment()

interface Report {
  readonly operations: number
  readonly collections: number
  readonly barrierFaults: number
  readonly pages: { readonly moved: number; readonly copied: number; readonly zeroFilled: number }
  readonly fallbacks: { readonly [errno: string]: number }
  readonly errors: readonly string[]
  readonly wrong: readonly string[]
}

async function relocate(options: object): Promise<Report> {
  const given = JSON.stringify({ seconds, seed, ...options })
  const { stdout } = await run(process.execPath, ['test/fixtures/atomicity.mjs', given])
  return JSON.parse(stdout) as Report
}

describe.runIf(here)('threads over pages that are being relocated lose nothing, tear nothing', () => {
  const all = [true, false].flatMap((windows) =>
    (['move', 'copy'] as const).flatMap((relocation) =>
      (['sigbus', 'thread'] as const).map((faults) => ({
        relocation,
        faults,
        windows,
        order: windows ? 'to and fro' : 'sliding',
      })),
    ),
  )
  // Sliding ends when the garbage does, so that the long run has nothing to add to one of each kind.
  const combinations = all.filter(
    ({ windows, relocation, faults }) => windows || (relocation === 'move') === (faults === 'sigbus'),
  )
  it.each(combinations)(
    `by $relocation, faults by $faults, $order (seed ${seed})`,
    async ({ relocation, faults, windows }) => {
      const { wrong, errors, pages, operations, barrierFaults } = await relocate({
        relocation,
        faults,
        windows,
        inject: 'delay:compact=300us',
        least: 50,
        leastPages: 1000,
      })
      expect(wrong).toEqual([])
      // Nobody shares or pins these pages: a strict heap has nothing to complain of.
      expect(errors).toEqual([])
      // It happened: pages went elsewhere while threads were at work, and threads (the delay sees to it) came first to some.
      expect(operations).toBeGreaterThan(0)
      expect(relocation === 'move' ? pages.moved : pages.copied).toBeGreaterThan(1000)
      expect(relocation === 'move' ? pages.copied : pages.moved).toBe(0)
      expect(barrierFaults).toBeGreaterThanOrEqual(50)
    },
    300_000 + 2000 * seconds,
  )

  it(`whatever the kernel answers meanwhile (seed ${seed})`, async () => {
    const inject = 'move:EBUSY=0.02,move:EAGAIN=0.1,move:EEXIST=0.02,move:ENOMEM=0.02,copy:EAGAIN=0.1,copy:ENOMEM=0.05'
    const answers = ['EAGAIN', 'EBUSY', 'EEXIST', 'ENOMEM']
    const options = { relocation: 'auto', inject: `${inject},delay:fault=50us`, answers }
    const { wrong, fallbacks, pages } = await relocate(options)
    expect(wrong).toEqual([])
    expect(Object.keys(fallbacks)).toEqual(expect.arrayContaining(answers))
    expect(pages.copied).toBeGreaterThan(0)
  })

  // The program against itself: what a faulty relocation would do, done to it.
  it.each([
    ['torn', /pair of cell \d+ is torn/],
    ['lost', /cell \d+ counted \d+ of \d+ additions/],
    ['older', /was written, \d+ is there|was read before, now/],
    ['astray', /next of cell \d+ is/],
  ])('and a write that is %s does not escape the program', async (plant, complaint) => {
    const { wrong } = await relocate({ relocation: 'auto', plant, seconds: plant === 'lost' ? 0.1 : 30 })
    expect(wrong.join()).toMatch(complaint)
  })
})
