// The runtime as generated code sees it: the machine, the parts above it, and the names they have in generated text.

import { createCalls } from './calls.js'
import { createDeclarations, type FunctionCode } from './declarations.js'
import { Globals } from './globals.js'
import type { Callable, ClassInfo, Enter } from './layouts.js'
import type { Machine } from './machine.js'
import { Objects } from './objects.js'
import { createOperators } from './operators.js'
import { createPrint } from './printing.js'
import { createProperties } from './properties.js'
import { createStrings, type Strings } from './strings.js'

type MutableCallable = { -readonly [K in keyof Callable]: Callable[K] }

export class Runtime {
  readonly machine: Machine
  readonly strings: Strings
  readonly objects: Objects
  readonly globals: Globals
  /** Is shown every generated text. */
  onText: ((text: string) => void) | null = null
  /** Numbers of texts and functions, in the order of creation. */
  nextText = 0
  nextFunction = 0
  /** Every class declaration so far, by number. */
  readonly classes: ClassInfo[] = []
  /** What the free names of generated code are bound to. */
  readonly environment: { readonly [name: string]: unknown }
  readonly #codes: FunctionCode[] = []
  readonly #callables: MutableCallable[] = []
  readonly #nameIds = new Map<string, number>()

  /** To be made inside `run`. */
  constructor(machine: Machine) {
    this.machine = machine
    this.strings = createStrings(machine)
    this.objects = new Objects(machine)
    this.globals = new Globals(machine)
    const { slots, words, m } = machine
    const { i32, f64, cards, rootCards, control } = m
    const properties = createProperties(machine, this.objects)
    const calls = createCalls(machine, this.objects, properties)
    this.environment = {
      ...{ slots, words, i32, f64, cards, rootCards, control },
      guards: this.globals.guards,
      enter: machine.enter,
      get: properties.get,
      set: properties.set,
      ...calls,
      ...createOperators(machine, this.strings),
      ...createDeclarations(machine, this.objects, this.globals, this.#codes, this.classes),
      print: createPrint(machine, this.objects, this.strings),
    }
    this.globals.define(
      'clock',
      this.objects.defineNative('clock', (sp) => {
        slots[sp] = performance.now() / 1000
      }),
    )
  }

  /** What runs when a closure of this function is called; linking sets its `enter`. */
  callable(code: FunctionCode): Callable {
    return (this.#callables[code.id] ??= {
      id: code.id,
      name: code.name,
      arity: code.arity,
      enter: () => {
        throw new Error(`${code.name} was not linked`)
      },
      closureSlot: code.closureSlot,
      getter: code.getter,
    })
  }
  /** The code of a function is ready. */
  link(code: FunctionCode, enter: Enter): void {
    const callable = this.callable(code) as MutableCallable
    callable.enter = enter
    this.#codes[code.id] = code
    this.objects.callables[code.shape.id] = callable
  }

  nameIds(names: readonly string[]): number[] {
    return names.map((name) => {
      let id = this.#nameIds.get(name)
      if (id === undefined) this.#nameIds.set(name, (id = this.#nameIds.size))
      return id
    })
  }
}
