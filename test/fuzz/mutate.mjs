// Making new inputs from old ones: of text, by cutting, joining and words of the format; of trees (the text is JSON), by
// replacing, dropping, repeating and misspelling parts.

/** Longer ones are not made. */
const MOST_TREE = 10_000

/** A new text from those in `pool`; `words` are pieces that mean something in the format. */
export function mutate(random, pool, words) {
  let text = random.pick(pool)
  for (let changes = 1 + random.below(random.pick([1, 3, 8])); changes > 0; changes--) {
    const at = random.below(text.length + 1)
    const length = random.below(random.pick([2, 10, 60]))
    switch (random.below(8)) {
      case 0:
        text = text.slice(0, at) + text.slice(at + length)
        break
      case 1:
      case 2:
        text = text.slice(0, at) + random.pick(words) + text.slice(at + (random.chance(0.5) ? length : 0))
        break
      case 3:
        text = text.slice(0, at) + String.fromCharCode(random.below(256)) + text.slice(at + 1)
        break
      case 4: {
        // A piece of another input.
        const other = random.pick(pool)
        const from = random.below(other.length + 1)
        text = text.slice(0, at) + other.slice(from, from + random.below(200)) + text.slice(at)
        break
      }
      case 5: {
        // The same piece again, perhaps many times.
        const piece = text.slice(at, at + length)
        text = text.slice(0, at) + piece.repeat(random.pick([2, 2, 3, 20])) + text.slice(at)
        break
      }
      case 6: {
        const lines = text.split('\n')
        const [from, to] = [random.below(lines.length), random.below(lines.length)]
        ;[lines[from], lines[to]] = [lines[to], lines[from]]
        text = lines.join('\n')
        break
      }
      default: {
        const number = random.pick(['0', '-1', '1e308', '0.1', '4294967296', '9007199254740993', '65536', '1e-320'])
        text = text.replace(/\d+(\.\d+)?/, () => number)
      }
    }
  }
  return text.slice(0, 20_000)
}

/** A new tree as JSON; `leaf(random)` makes values of the format. */
export function mutateTree(random, pool, leaf) {
  const old = random.pick(pool)
  let tree = JSON.parse(old)
  for (let changes = 1 + random.below(random.pick([1, 3, 6])); changes > 0; changes--) tree = change(random, tree, leaf)
  const text = JSON.stringify(tree)
  return text.length < MOST_TREE ? text : old
}

function change(random, tree, leaf) {
  if (tree === null || typeof tree !== 'object' || random.chance(0.1)) {
    if (typeof tree === 'string' && random.chance(0.4)) return misspell(random, tree)
    if (typeof tree === 'number' && random.chance(0.4)) return tree + random.pick([-1, 1, 0.5, 2 ** 31, -(2 ** 32)])
    return leaf(random)
  }
  const copy = Array.isArray(tree) ? [...tree] : { ...tree }
  const keys = Object.keys(copy)
  const key = keys.length > 0 ? random.pick(keys) : undefined
  const choice = random.below(6)
  if (key === undefined || choice === 0) {
    if (Array.isArray(copy)) copy.push(leaf(random))
    else copy[misspell(random, key ?? 'x')] = leaf(random)
  } else if (choice === 1) {
    if (Array.isArray(copy)) copy.splice(Number(key), 1)
    else delete copy[key]
  } else if (choice === 2 && Array.isArray(copy)) {
    copy.push(copy[Number(key)])
  } else {
    copy[key] = change(random, copy[key], leaf)
  }
  return copy
}

function misspell(random, word) {
  const at = random.below(word.length + 1)
  switch (random.below(4)) {
    case 0:
      return word.slice(0, at) + word.slice(at + 1)
    case 1:
      return word.slice(0, at) + random.pick([...'abcxyz_ $0"\u00e9\u0000']) + word.slice(at)
    case 2:
      return word.toUpperCase()
    default:
      return word + word
  }
}
