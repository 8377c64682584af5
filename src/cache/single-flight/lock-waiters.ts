import type { Subscriber } from '../../redis/subscriber.ts'
import type { ReleaseReason } from './fill-lock.ts'

/** `kept`: the entry was stored; `pass`: the response is not shareable; `free`: the lock was released; `failed`: it was released because the handler failed; `look`: retry, because a message may have been missed. */
type Wakeup = 'kept' | ReleaseReason | 'look'

/** One wait for the fill of another process. A message that arrives between `forget` and `next` is not lost. */
interface Waiter {
  forget (): void
  /** Resolves at the next message, or with `look` after `longestMs`. */
  next (longestMs: number): Promise<Wakeup>
  end (): void
}

/**
 * Waits for fills of other processes. One Redis channel carries the messages of all fills. It is subscribed at the first wait and never unsubscribed.
 * After each (re)subscription all waiting requests retry, because messages before it were missed.
 */
export class LockWaiters {
  readonly #subscriber: Subscriber
  readonly #channel: string
  readonly #byName = new Map<string, Set<(wake: Wakeup) => void>>()
  #isSubscribed = false

  constructor (subscriber: Subscriber, channel: string) {
    this.#subscriber = subscriber
    this.#channel = channel
  }

  /** Number of keys that are waited for. */
  get size (): number {
    return this.#byName.size
  }

  /** Registers for a key. Must be called before the lock is requested. */
  begin (name: string): Waiter {
    let received: Wakeup | undefined
    let wake: (() => void) | undefined
    const onWakeup = (word: Wakeup) => {
      received = word
      wake?.()
    }
    this.#add(name, onWakeup)
    return {
      forget: () => { received = undefined },
      next: async (longestMs) => {
        this.#subscribe()
        if (received !== undefined) return received
        const { promise, resolve } = Promise.withResolvers<void>()
        const timer = setTimeout(resolve, longestMs)
        wake = resolve
        await promise
        clearTimeout(timer)
        return received ?? 'look'
      },
      end: () => this.#remove(name, onWakeup)
    }
  }

  /** Wakes all waiting requests with `look`. */
  wake (): void {
    this.#notifyAll('look')
  }

  close (): void {
    this.#subscriber.close()
    this.#notifyAll('look')
  }

  #subscribe (): void {
    if (this.#isSubscribed) return
    this.#isSubscribed = true
    this.#subscriber.join(this.#channel, { onMessage: (message) => this.#onMessage(message), onSubscribed: () => this.#notifyAll('look') })
  }

  #onMessage (message: string): void {
    const end = message.indexOf(' ')
    const word = message.slice(0, end)
    const waiting = this.#byName.get(message.slice(end + 1))
    if (waiting === undefined) return
    for (const notify of waiting) notify(isWakeup(word) ? word : 'look')
  }

  #notifyAll (word: Wakeup): void {
    for (const waiting of this.#byName.values()) for (const notify of waiting) notify(word)
  }

  #add (name: string, notify: (word: Wakeup) => void): void {
    const waiting = this.#byName.get(name)
    if (waiting === undefined) this.#byName.set(name, new Set([notify]))
    else waiting.add(notify)
  }

  #remove (name: string, notify: (word: Wakeup) => void): void {
    const waiting = this.#byName.get(name)
    waiting?.delete(notify)
    if (waiting?.size === 0) this.#byName.delete(name)
  }
}

function isWakeup (word: string): word is Wakeup {
  return word === 'kept' || word === 'pass' || word === 'free' || word === 'failed'
}
