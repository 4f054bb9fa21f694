// The commands of `glissade`, in the order in which help lists them.

import { bench } from './bench.js'
import type { CliCommand } from './command.js'
import { doctor } from './doctor.js'
import { stress } from './stress.js'

export const commands: readonly CliCommand[] = [doctor, stress, bench]
