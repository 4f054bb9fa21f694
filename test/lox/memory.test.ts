// Nothing that a Lox program allocates is a V8 object: gigabytes of Lox objects leave V8's own heap as it was.
//
// In a process of its own, so that the test runner's garbage does not count.

import { spawnSync } from 'node:child_process'
import { expect, it } from 'vitest'
import { availableCollectors } from './collectors.js'

const program = `
class Node { init(value, next) { this.value = value; this.next = next; } get() { return this.value; } }
fun counter() { var n = 0; fun next() { n = n + 1; return n; } return next; }
fun round(count) {
  var list = nil;
  var length = 0;
  var next = counter();
  for (var i = 0; i < count; i = i + 1) {
    var text = "number" + " and text";
    list = Node(text, list);
    list.extra = next();
    var bound = list.get;
    if (bound() != text) print "wrong";
    length = length + 1;
    if (length == 1000) { list = nil; length = 0; }
  }
  return next();
}
`

/** Runs in the child: the growth of V8's heap in KiB, and of the Lox heap's allocations in MiB. */
const script = `
import { Lox } from './dist/examples/lox/lox.js'
import { BufferedOutput } from './dist/examples/lox/runtime/output.js'
const output = new BufferedOutput(() => {})
const lox = new Lox({ heap: { maxBytes: '16m', collector: process.argv[1] }, output, error: (text) => { throw new Error(text) } })
lox.run(${JSON.stringify(program)} + 'round(200000);')
gc()
const before = process.memoryUsage().heapUsed
const allocated = lox.heap.stats().bytesAllocated
for (let i = 0; i < 44; i++) lox.run('round(300000);')
gc()
console.log(JSON.stringify({
  grownKiB: (process.memoryUsage().heapUsed - before) / 1024,
  allocatedMiB: (lox.heap.stats().bytesAllocated - allocated) / 2 ** 20,
}))
lox.close()
`

it.each(availableCollectors.filter((name) => name !== 'none'))('V8 heap stays flat on %s', (collector) => {
  const child = spawnSync(process.execPath, ['--expose-gc', '--input-type=module', '-e', script, collector], {
    encoding: 'utf8',
  })
  expect(child.stderr).toBe('')
  const { grownKiB, allocatedMiB } = JSON.parse(child.stdout) as { grownKiB: number; allocatedMiB: number }
  expect(allocatedMiB).toBeGreaterThan(1024)
  // The code of 44 small texts and its feedback; the objects themselves would be a million times that.
  expect(grownKiB).toBeLessThan(1024)
})
