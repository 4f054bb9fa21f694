// glissade/testing: what it cannot do is an error that says so.
import { Heap } from 'glissade'
import { corrupt, step, tuned } from 'glissade/testing'
import { describe, expect, it } from 'vitest'
import { configurations, failure } from './conformance/configurations.js'

describe('glissade/testing refuses', () => {
  it.each([-1, NaN, 1.5, 2 ** 31, 'x' as never])('step(heap, %s)', (gates) => {
    for (const { options } of configurations) {
      using heap = Heap.create({ maxBytes: '1m', ...options, stepping: true })
      const { code, message } = failure(() => step(heap, gates))
      expect(code).toBe('ERR_BAD_VALUE')
      expect(message).toMatch(/^step passes a whole number of gates, 0 to 2147483647; got /)
    }
  })

  it('to step where there are no gates', () => {
    for (const { options, concurrent } of configurations) {
      using heap = Heap.create({ maxBytes: '1m', ...options })
      if (concurrent) expect(failure(() => step(heap)).message).toMatch(/^step wants .*\{ stepping: true \}/)
      else expect(step(heap)).toBe('idle')
    }
  })

  it('to plant what it does not know, and outside run', () => {
    using heap = Heap.create({ maxBytes: '1m' })
    heap.run(() => {
      expect(failure(() => corrupt(heap, 'oddref' as never))).toEqual({
        code: 'ERR_BAD_VALUE',
        message: 'corrupt knows no damage "oddref": did you mean \'oddRef\'?',
      })
      expect(failure(() => corrupt(heap, 'toString' as never)).message).toMatch(/it is one of badShapeId, freedObject/)
    })
    expect(failure(() => corrupt(heap, 'dirtyNullPage')).code).toBe('ERR_NOT_RUNNING')
    expect(heap.verify().violations).toEqual([])
  })

  it.each<[unknown, RegExp]>([
    [{ nope: 1 }, /^tuned knows no "nope": known are freshWindows, minBytes/],
    [{ reus: 0 }, /^tuned knows no "reus": did you mean 'reuse'\?/],
    [{ young: 3 }, /^young of tuned is a whole number, 0 to 2; got 3/],
    [{ reuse: '0' }, /^reuse of tuned is a whole number, 0 to 1; got "0"/],
    [null, /^tuned takes an object like \{ reuse: 0 \}; got null/],
  ])('tuned(%j)', (options, sentence) => {
    let made = false
    const { code, message } = failure(() => tuned(options as never, () => (made = true)))
    expect({ code, made }).toEqual({ code: 'ERR_OPTION', made: false })
    expect(message).toMatch(sentence)
  })

  it('nothing that is left undefined', () => {
    expect(tuned({ young: undefined, reuse: 0 }, () => 7)).toBe(7)
  })
})
