// Builds the addon and the self-test into build/Release. Quick when nothing changed. Where no native code can
// be built the script says so in one line and succeeds: the portable collectors need none.
// Standard output stays empty: `npm run -s demo -- --json` prints one object there.
// A compiler that is there but fails on our code is an error, shown in full.
import { nodeGyp, whyNotNative } from './native.mjs'

const reason = whyNotNative()
if (reason !== undefined) {
  console.error(`native: not built, ${reason}; only the portable collectors will be available`)
} else {
  // `configure` is repeated each time: binding.gyp lists the sources by looking at the folders.
  const { ok, output } = nodeGyp('.', ['configure', 'build'])
  const warnings = output.split('\n').filter((line) => /\bwarning:/.test(line))
  if (!ok) {
    console.error(output.trimEnd())
    console.error('native: the build failed (above)')
    process.exitCode = 1
  } else {
    for (const line of warnings) console.error(line)
    console.error('native: build/Release/glissade.node is up to date')
  }
}
