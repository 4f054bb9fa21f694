// What every target asks of an error: it is one of ours, has a code that is known, and a message that says something.
import { ERROR_CODES, HeapError } from '../../dist/index.js'

/** Throws unless `holds`; the message is for whoever mends it. */
export function demand(holds, what) {
  if (!holds) throw new Error(what)
}

/** What `action` returns, or { refused: error } where it is refused as it should be, with one of `codes`. */
export function accept(action, codes) {
  try {
    return { value: action() }
  } catch (error) {
    if (!(error instanceof HeapError)) throw error
    demand(error.code in ERROR_CODES, `unknown code ${error.code}`)
    demand(codes.includes(error.code), `code ${error.code}, expected one of ${codes.join(', ')}: ${error.message}`)
    demand(isSentence(error.message), `no useful message: ${JSON.stringify(error.message)}`)
    return { refused: error }
  }
}

/** Says something, in one line that a terminal can show. */
export function isSentence(text) {
  // eslint-disable-next-line no-control-regex
  return text.length > 10 && text.length < 1000 && !/[\u0000-\u0008\u000b-\u001f]|undefined is not|\[object/.test(text)
}

/**
 * JSON cannot say all that a program may pass. These strings stand for what it cannot.
 */
const SPECIAL = {
  '@undefined': undefined,
  '@NaN': NaN,
  '@Infinity': Infinity,
  '@-0': -0,
  '@bigint': 5n,
  '@symbol': Symbol('s'),
  '@function': () => 0,
  '@date': new Date(0),
  '@null-prototype': Object.create(null),
  '@proxy': new Proxy({}, {}),
  '@bytes': new Uint8Array(4),
}

export const SPECIAL_NAMES = Object.keys(SPECIAL)

/** The value that a JSON tree stands for. */
export function revive(tree) {
  if (typeof tree === 'string') return Object.hasOwn(SPECIAL, tree) ? SPECIAL[tree] : tree
  if (Array.isArray(tree)) return tree.map(revive)
  if (tree === null || typeof tree !== 'object') return tree
  const copy = {}
  // defineProperty, because an assignment to __proto__ makes no property.
  for (const [key, value] of Object.entries(tree)) {
    Object.defineProperty(copy, key, { value: revive(value), enumerable: true, writable: true, configurable: true })
  }
  return copy
}
