/** Who hears an answer, in the turn of the event loop that reads it: it does little there, and does not throw. */
export interface ReplyListener<Value> {
  onReply (value: Value): void
  onError (error: Error): void
}

/**
 * An answer of Redis on its way. It settles once, and tells its hearers at once and in their order; a promise would cost each of them objects, closures
 * and a turn of their own, which with three asks a request was a tenth of what the stack adds.
 *
 * A request goes on by {@link PendingReply.promise}, in an async context and a turn of its own, never inside a hearer. One that fails unheard tells nobody.
 */
export class PendingReply<Value> {
  #state: 'open' | 'answered' | 'failed' = 'open'
  #value: Value | Error | undefined
  #listener: ReplyListener<Value> | undefined
  #others: ReplyListener<Value>[] | undefined

  /** One that is here already. */
  static of<Value> (value: Value): PendingReply<Value> {
    const reply = new PendingReply<Value>()
    reply.resolve(value)
    return reply
  }

  /** All of them, in their order, once the last is here; the first that fails fails it. */
  static all<Value> (replies: readonly PendingReply<Value>[]): PendingReply<Value[]> {
    const all = new PendingReply<Value[]>()
    const values: Value[] = []
    let open = replies.length
    if (open === 0) all.resolve(values)
    replies.forEach((reply, index) => reply.subscribe({
      onReply: (value) => {
        values[index] = value
        if (--open === 0) all.resolve(values)
      },
      onError: (error) => all.reject(error)
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
  subscribe (listener: ReplyListener<Value>): void {
    if (this.#state !== 'open') this.#tell(listener)
    else if (this.#listener === undefined) this.#listener = listener
    else (this.#others ??= []).push(listener)
  }

  resolve (value: Value): void {
    if (this.#state === 'open') this.#settle('answered', value)
  }

  reject (error: Error): void {
    if (this.#state === 'open') this.#settle('failed', error)
  }

  /** What becomes of it, when it comes; what `change` throws is a failure of that. */
  map<Other> (change: (value: Value) => Other): PendingReply<Other> {
    const changed = new PendingReply<Other>()
    const answered = (value: Value) => {
      try {
        changed.resolve(change(value))
      } catch (error) {
        changed.reject(error as Error)
      }
    }
    this.subscribe({ onReply: answered, onError: (error) => changed.reject(error) })
    return changed
  }

  /** The same as a promise: what goes on then has the async context of who calls this. */
  promise (): Promise<Value> {
    return new Promise<Value>((resolve, reject) => this.subscribe({ onReply: resolve, onError: reject }))
  }

  /** Resolves when it has settled, however: for who asks then what came. */
  settled (): Promise<unknown> {
    return new Promise<unknown>((resolve) => this.subscribe({ onReply: resolve, onError: resolve }))
  }

  #settle (state: 'answered' | 'failed', value: Value | Error): void {
    this.#state = state
    this.#value = value
    const listener = this.#listener
    const others = this.#others
    this.#listener = this.#others = undefined
    try {
      if (listener !== undefined) this.#tell(listener)
    } finally { // whatever the first does with it
      if (others !== undefined) for (const each of others) this.#tell(each)
    }
  }

  #tell (listener: ReplyListener<Value>): void {
    if (this.#state === 'answered') listener.onReply(this.#value as Value)
    else listener.onError(this.#value as Error)
  }
}
