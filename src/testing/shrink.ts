// Makes a failing list smaller: delta debugging (Zeller and Hildebrandt, 2002), for lists whose items mean the same
// whatever stands beside them.

/** Calls of `fails` before the smallest list so far has to do. */
const MOST_TRIALS = 400

/**
 * A part of `items` for which `fails` still holds, from which no single item could be left out (unless the trials ran
 * out). Undefined if it does not hold for all of them.
 */
export async function shrink<T>(
  items: readonly T[],
  fails: (kept: readonly T[]) => Promise<boolean> | boolean,
): Promise<readonly T[] | undefined> {
  if (!(await fails(items))) return undefined
  let kept = items
  let trials = 0
  for (let piece = Math.ceil(kept.length / 2); piece >= 1;) {
    let removed = false
    for (let at = 0; at < kept.length && trials < MOST_TRIALS;) {
      const rest = [...kept.slice(0, at), ...kept.slice(at + piece)]
      trials++
      if (await fails(rest)) {
        kept = rest
        removed = true
      } else {
        at += piece
      }
    }
    if (piece === 1 && (!removed || trials >= MOST_TRIALS)) break
    piece = piece > 1 ? Math.ceil(piece / 2) : 1
  }
  return kept
}
