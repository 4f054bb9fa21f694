// The end of the stack, which may come with every call: what could not be taken back after it begins with a probe.

/**
 * Throws the RangeError of a stack overflow if there is not the stack for so many calls of a function as small as this one; functions
 * that are compiled in what follows take that of some hundred.
 */
export function probeStack(calls: number): number {
  return calls === 0 ? 0 : probeStack(calls - 1) + 1
}

/** Before root areas are made or freed: cut off before that has been noted, they would be nobody's. */
export function probeForArea(): void {
  probeStack(150)
}
