// Whether a text that comes line by line stands inside a block or a string, so that it cannot be complete.

const MARKS = /\/\/|["{}]/g

export class BlockTracker {
  #depth = 0
  #inString = false

  get isOpen(): boolean {
    return this.#inString || this.#depth > 0
  }

  line(text: string): void {
    for (const [mark] of text.matchAll(MARKS)) {
      if (mark === '"') this.#inString = !this.#inString
      else if (this.#inString) continue
      else if (mark === '//') return
      else this.#depth += mark === '{' ? 1 : -1
    }
  }
}
