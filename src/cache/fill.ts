/** One run of the handler for a key, and those who wait for its answer. */
export interface Fill<Result> {
  /** where the purge sequence stood before the handler ran */
  readonly sequence: number
  /** settles once: with what may be given to others, or undefined when that is nothing */
  readonly result: Promise<Result | undefined>
  /** ends it; only the first call counts */
  end (result?: Result): void
}

/** Nobody waits longer than this for somebody else's run. */
const patienceMs = 2000

/** The fills of one process: who wants the same answer at the same time shares one run of the handler. */
export class Fills<Result> {
  readonly #byKey = new Map<string, Fill<Result>>()

  /**
   * The run under way for a key, if its answer may be given to somebody who saw this sequence: it must not be older than a purge that had answered.
   */
  find (key: string, sequence: number): Fill<Result> | undefined {
    const fill = this.#byKey.get(key)
    return fill !== undefined && fill.sequence >= sequence ? fill : undefined
  }

  /** Begins a run; it takes the place of an older one. */
  begin (key: string, sequence: number): Fill<Result> {
    const { promise, resolve } = Promise.withResolvers<Result | undefined>()
    const timer = setTimeout(() => resolve(undefined), patienceMs).unref()
    const fill = {
      sequence,
      result: promise,
      end: (result?: Result) => {
        clearTimeout(timer)
        if (this.#byKey.get(key) === fill) this.#byKey.delete(key)
        resolve(result)
      }
    }
    this.#byKey.set(key, fill)
    return fill
  }
}
