/** Who hears an answer, in the turn of the event loop that reads it: it does little there, and does not throw. */
export interface Hearer<Value> {
  answered (value: Value): void
  failed (error: Error): void
}

/**
 * An answer of Redis on its way. It settles once, and tells its hearers at once and in their order; a promise would cost each of them objects, closures
 * and a turn of their own, which with three asks a request was a tenth of what the stack adds.
 *
 * A request goes on by {@link Answer.promise}, in an async context and a turn of its own, never inside a hearer. One that fails unheard tells nobody.
 */
export class Answer<Value> {
  #state: 'open' | 'answered' | 'failed' = 'open'
  #value: Value | Error | undefined
  #hearer: Hearer<Value> | undefined
  #others: Hearer<Value>[] | undefined

  /** One that is here already. */
  static of<Value> (value: Value): Answer<Value> {
    const answer = new Answer<Value>()
    answer.resolve(value)
    return answer
  }

  /** All of them, in their order, once the last is here; the first that fails fails it. */
  static all<Value> (answers: readonly Answer<Value>[]): Answer<Value[]> {
    const all = new Answer<Value[]>()
    const values: Value[] = []
    let open = answers.length
    if (open === 0) all.resolve(values)
    answers.forEach((answer, index) => answer.hear({
      answered: (value) => {
        values[index] = value
        if (--open === 0) all.resolve(values)
      },
      failed: (error) => all.reject(error)
    }))
    return all
  }

  /** What it is, once it is here; undefined until then. @throws what it failed with */
  get value (): Value | undefined {
    const value = this.#value as Value & Error
    if (this.#state === 'failed') throw value
    return value
  }

  /** Tells a hearer once it is here; now, when it is. */
  hear (hearer: Hearer<Value>): void {
    if (this.#state !== 'open') this.#tell(hearer)
    else if (this.#hearer === undefined) this.#hearer = hearer
    else (this.#others ??= []).push(hearer)
  }

  resolve (value: Value): void {
    if (this.#state === 'open') this.#settle('answered', value)
  }

  reject (error: Error): void {
    if (this.#state === 'open') this.#settle('failed', error)
  }

  /** What becomes of it, when it comes; what `change` throws is a failure of that. */
  map<Other> (change: (value: Value) => Other): Answer<Other> {
    const changed = new Answer<Other>()
    const answered = (value: Value) => {
      try {
        changed.resolve(change(value))
      } catch (error) {
        changed.reject(error as Error)
      }
    }
    this.hear({ answered, failed: (error) => changed.reject(error) })
    return changed
  }

  /** The same as a promise: what goes on then has the async context of who calls this. */
  promise (): Promise<Value> {
    return new Promise<Value>((resolve, reject) => this.hear({ answered: resolve, failed: reject }))
  }

  /** Resolves when it has settled, however: for who asks then what came. */
  settled (): Promise<unknown> {
    return new Promise<unknown>((resolve) => this.hear({ answered: resolve, failed: resolve }))
  }

  #settle (state: 'answered' | 'failed', value: Value | Error): void {
    this.#state = state
    this.#value = value
    const hearer = this.#hearer
    const others = this.#others
    this.#hearer = this.#others = undefined
    try {
      if (hearer !== undefined) this.#tell(hearer)
    } finally { // whatever the first does with it
      if (others !== undefined) for (const each of others) this.#tell(each)
    }
  }

  #tell (hearer: Hearer<Value>): void {
    if (this.#state === 'answered') hearer.answered(this.#value as Value)
    else hearer.failed(this.#value as Error)
  }
}
