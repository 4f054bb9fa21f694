// Numbers as C's `printf("%g")` writes them: six significant digits, no trailing zeros, an exponent of at least two digits.

const DIGITS = 6

export function formatNumber(value: number): string {
  // Lox makes its NaNs by arithmetic, and x86's arithmetic makes them negative; the heap's values keep no sign of a NaN.
  if (value !== value) return '-nan'
  if (value === Infinity) return 'inf'
  if (value === -Infinity) return '-inf'
  if (value === 0) return Object.is(value, -0) ? '-0' : '0'
  const [mantissa, power] = round(value)
    .toExponential(DIGITS - 1)
    .split('e')
  const exponent = Number(power)
  if (exponent >= -4 && exponent < DIGITS) return trim(round(value).toFixed(DIGITS - 1 - exponent))
  const magnitude = Math.abs(exponent)
  return `${trim(mantissa)}e${exponent < 0 ? '-' : '+'}${magnitude < 10 ? '0' : ''}${magnitude}`
}

/** C rounds a number halfway between two to the even one, JavaScript to the larger: such a number is moved by hand. */
function round(value: number): number {
  // So many digits that no other double near a tie looks like one: with 20 digits one in ten thousand of them did.
  const exact = value.toExponential(100)
  const tie = /^(-?\d\.\d{4}[02468])50*e(.*)$/.exec(exact)
  return tie ? Number(`${tie[1]}e${tie[2]}`) : value
}

function trim(digits: string): string {
  return digits.includes('.') ? digits.replace(/\.?0+$/, '') : digits
}
