/** Lets so many go at once; the others wait, in order. */
export class Semaphore {
  #free: number
  #waiting: (() => void)[] = []

  constructor (atOnce: number) {
    this.#free = atOnce
  }

  async run<Result> (go: () => Promise<Result>): Promise<Result> {
    if (this.#free > 0) this.#free -= 1
    else await new Promise<void>((resolve) => { this.#waiting.push(resolve) })
    try {
      return await go()
    } finally {
      const next = this.#waiting.shift()
      if (next === undefined) this.#free += 1
      else next()
    }
  }
}
