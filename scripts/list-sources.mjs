// Prints the C++ files in a folder and its folders, one a line, for binding.gyp: a new file joins the build by being there.
import { readdirSync } from 'node:fs'

const folder = process.argv[2]
for (const name of readdirSync(folder, { recursive: true }).sort()) {
  if (name.endsWith('.cc')) console.log(`${folder}/${name}`)
}
