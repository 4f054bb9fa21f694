// Shape declarations. The input is a list of them as JSON: [name, slots] or [name, kind of an array's elements].
//
// Every shape that is accepted must work, on the collector that the input's length chooses: objects of it are allocated,
// filled, linked, collected and read back. Every one that is refused leaves the heap as it was.
// Among slots "@u8": 300 stands for three hundred slots of that kind.
import { Heap, Tagged, Tag } from '../../../dist/index.js'
import { SLOT_KINDS } from '../../../dist/heap/shapes.js'
import { accept, demand, revive, SPECIAL_NAMES } from '../check.mjs'
import { mutateTree } from '../mutate.mjs'

const COLLECTORS = ['stop-the-world', 'concurrent', 'none', 'concurrent']
const KINDS = SLOT_KINDS

const slots = (random, most) =>
  Object.fromEntries(Array.from({ length: random.below(most) }, (_, i) => [`s${i}`, random.pick(KINDS)]))

const leaf = (random) =>
  random.pick([
    () => random.pick(KINDS),
    () =>
      random.pick([...SPECIAL_NAMES, 'reff', '', 'constructor', '__proto__', 'a b', '\u00e9', 'length', 'get', 'at']),
    () => random.pick([0, null, true, [], {}]),
    () => ['Name' + random.below(4), random.pick(KINDS)],
    () => ['Name' + random.below(4), slots(random, random.pick([3, 12, 60]))],
    // Long ones: at the limit of 32 KiB, and beyond it.
    () => ['Long', { [`@${random.pick(KINDS)}`]: random.pick([300, 4090, 4094, 4095, 4096, 8190, 32760, 32752]) }],
  ])()

/** The value number `i` of a slot of this kind, and how it reads. */
const sample = {
  f64: (i) => i / 3,
  i32: (i) => -i,
  u32: (i) => (2 ** 32 - 1 - i) >>> 0,
  u16: (i) => (i * 7) & 0xffff,
  u8: (i) => (i * 3) & 0xff,
}

class Object_ {
  constructor(m, shape, number, table) {
    Object.assign(this, { m, shape, number, table })
    this.length = shape.array ? [0, 1, 7, 100, 9000][number % 5] : 0
    this.places = shape.array
      ? Array.from({ length: this.length }, (_, i) => [shape.kind, shape.elementsAt + i])
      : Object.entries(shape.slots).map(([name, kind]) => [kind, shape.at[name]])
  }
  get ref() {
    return this.table.get(this.number)
  }
  fill(previous) {
    const { m, places } = this
    places.forEach(([kind, at], i) => {
      if (kind === 'ref') m.setRef(this.ref, at, i % 3 === 0 ? 0 : previous)
      else if (kind === 'value') {
        if (previous !== 0 && i % 2 === 0) m.setValueRef(this.ref, at, previous)
        else m.setValueInt(this.ref, at, i)
      } else this.#plain(kind, at, sample[kind](i))
    })
  }
  check(previous) {
    const { m, places, shape } = this
    demand(m.shapeOf(this.ref) === shape.id, `an object of '${shape.name}' has shape ${m.shapeOf(this.ref)}`)
    places.forEach(([kind, at], i) => {
      const found =
        kind === 'ref' ? m.getRef(this.ref, at) : kind === 'value' ? m.getValue(this.ref, at) : this.#plain(kind, at)
      const wanted = kind === 'ref' ? (i % 3 === 0 ? 0 : previous) : kind === 'value' ? i : sample[kind](i)
      const same =
        kind === 'value' && previous !== 0 && i % 2 === 0
          ? found instanceof Tagged && found.tag === Tag.Ref && found.payload === previous
          : Object.is(found, wanted) || found === wanted
      demand(same, `place ${i} (${kind}) of '${shape.name}' is ${String(found)}, stored was ${wanted}`)
    })
  }
  #plain(kind, at, value) {
    const { m, ref } = this
    const index = { f64: (ref >>> 1) + at, i32: ref + at, u32: ref + at, u16: ref * 2 + at, u8: ref * 4 + at }[kind]
    if (value !== undefined) m[kind][index] = value
    return m[kind][index]
  }
}

/** The slots with their abbreviations written out. */
function writtenOut(slots) {
  if (slots === null || typeof slots !== 'object' || Array.isArray(slots)) return slots
  return Object.fromEntries(
    Object.entries(slots).flatMap(([key, value]) => {
      if (!key.startsWith('@') || !KINDS.includes(key.slice(1)) || !(value <= 40_000)) return [[key, value]]
      return Array.from({ length: value }, (_, i) => [`s${i}`, key.slice(1)])
    }),
  )
}

function declare(heap, name, slots) {
  return typeof slots === 'string' ? heap.defineArray(name, slots) : heap.defineShape(name, slots)
}

export const shapes = {
  name: 'shapes',
  seeds: [
    '[["Pair",{"left":"ref","right":"ref"}],["Mixed",{"a":"u8","b":"value","c":"ref","d":"f64","e":"u16","f":"u32"}]]',
    '[["A","ref"],["B","value"],["C","u8"],["D","u16"],["E","i32"],["F","f64"],["G","u32"]]',
    '[["Empty",{}],["Empty",{}],["Empty",{"a":"u8"}]]',
    '[["Long",{"@f64":4095}],["TooLong",{"@f64":4096}],["Bytes",{"@u8":32752}]]',
    '[["Same",{"a":"ref"}],["Same","ref"]]',
    '[["Odd",{"__proto__":"ref","constructor":"u8","hasOwnProperty":"u8","length":"i32","dispose":"ref"}]]',
    '[["",{"a":"ref"}],[5,"u8"],["Bad",{"a b":"ref"}],["Bad",{"a":"reff"}],["Bad",null],["Bad",[]]]',
  ],
  generate: (random, pool) => mutateTree(random, pool, leaf),
  run(input) {
    const tree = revive(JSON.parse(input))
    const list = Array.isArray(tree) ? tree : []
    const collector = COLLECTORS[input.length % COLLECTORS.length]
    const made = accept(
      () => Heap.create({ collector, maxBytes: '8m', maxRootBytes: '1m', verify: 4 }),
      ['ERR_USERFAULTFD_UNAVAILABLE'],
    )
    const heap = made.value ?? Heap.create({ collector: 'none', maxBytes: '8m' })
    try {
      const shapes = []
      for (const entry of list) {
        const [name, short] = Array.isArray(entry) ? entry : [entry, undefined]
        const slots = writtenOut(short)
        const { value: shape, refused } = accept(
          () => declare(heap, name, slots),
          ['ERR_BAD_SHAPE', 'ERR_SHAPE_CONFLICT'],
        )
        if (refused === undefined) {
          demand(declare(heap, name, slots) === shape, 'the same declaration gives another shape')
          if (!shapes.includes(shape)) shapes.push(shape)
        }
      }
      heap.run((m) => {
        const table = m.roots.table('ref', Math.max(1, 2 * shapes.length))
        const objects = []
        const before = (object) => (object.number === 0 ? 0 : objects[object.number - 1].ref)
        for (const shape of [...shapes, ...shapes]) {
          const object = new Object_(m, shape, objects.length, table)
          table.set(object.number, shape.array ? m.allocArray(shape, object.length) : m.alloc(shape))
          objects.push(object)
          object.fill(before(object))
          // Garbage, so that there is something to move over.
          if (shape.array) m.allocArray(shape, 3)
          else m.alloc(shape)
        }
        for (let round = 0; round < 2; round++) {
          heap.collectSync()
          for (const object of objects) object.check(before(object))
        }
      })
      heap.assertValid()
    } finally {
      heap.close()
    }
  },
}
