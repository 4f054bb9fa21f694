// The commands of `glissade`, in the order in which help lists them.

import type { CliCommand } from './command.js'
import { doctor } from './doctor.js'

export const commands: readonly CliCommand[] = [doctor]
