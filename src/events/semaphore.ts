/** Limits concurrent runs; further runs wait in order of arrival. */
export class Semaphore {
  #free: number
  #waiting: (() => void)[] = []

  constructor (maxConcurrent: number) {
    this.#free = maxConcurrent
  }

  async run<Result> (task: () => Promise<Result>): Promise<Result> {
    if (this.#free > 0) this.#free -= 1
    else await new Promise<void>((resolve) => { this.#waiting.push(resolve) })
    try {
      return await task()
    } finally {
      const next = this.#waiting.shift()
      if (next === undefined) this.#free += 1
      else next()
    }
  }
}
