import type { Subscriber } from '../../redis/subscriber.ts'

/** What a waiter hears: the answer was `kept`, or may not be; the lock is `free`; or it shall look, for something may have been missed. */
export type Wakeup = 'kept' | 'pass' | 'free' | 'look'

/** Somebody who waits for another's fill; what was heard since it last forgot is not lost, though it came before it waited. */
export interface Waiter {
  forget (): void
  /** Waits until something was heard, but not longer. */
  next (longestMs: number): Promise<Wakeup>
  end (): void
}

/**
 * Who waits for fills of other processes. One channel tells of all fills; it is joined when the first has to wait, and never left:
 * each time it was joined everybody looks again, so that nothing is missed before.
 */
export class LockWaiters {
  readonly #subscriber: Subscriber
  readonly #channel: string
  readonly #byName = new Map<string, Set<(wake: Wakeup) => void>>()
  #isJoined = false

  constructor (subscriber: Subscriber, channel: string) {
    this.#subscriber = subscriber
    this.#channel = channel
  }

  /** How many keys somebody waits for. */
  get size (): number {
    return this.#byName.size
  }

  /** Registers for a key; to be done before the lock is asked for. */
  begin (name: string): Waiter {
    let heard: Wakeup | undefined
    let wake: (() => void) | undefined
    const hear = (word: Wakeup) => {
      heard = word
      wake?.()
    }
    this.#add(name, hear)
    return {
      forget: () => { heard = undefined },
      next: async (longestMs) => {
        this.#join()
        if (heard !== undefined) return heard
        const { promise, resolve } = Promise.withResolvers<void>()
        const timer = setTimeout(resolve, longestMs)
        wake = resolve
        await promise
        clearTimeout(timer)
        return heard ?? 'look'
      },
      end: () => this.#remove(name, hear)
    }
  }

  /** Has all of them look. */
  wake (): void {
    this.#tellAll('look')
  }

  close (): void {
    this.#subscriber.close()
    this.#tellAll('look')
  }

  #join (): void {
    if (this.#isJoined) return
    this.#isJoined = true
    this.#subscriber.join(this.#channel, { onMessage: (message) => this.#heard(message), onSubscribed: () => this.#tellAll('look') })
  }

  #heard (message: string): void {
    const end = message.indexOf(' ')
    const word = message.slice(0, end)
    const waiting = this.#byName.get(message.slice(end + 1))
    if (waiting === undefined) return
    for (const hear of waiting) hear(word === 'kept' || word === 'pass' || word === 'free' ? word : 'look')
  }

  #tellAll (word: Wakeup): void {
    for (const waiting of this.#byName.values()) for (const hear of waiting) hear(word)
  }

  #add (name: string, hear: (word: Wakeup) => void): void {
    const waiting = this.#byName.get(name)
    if (waiting === undefined) this.#byName.set(name, new Set([hear]))
    else waiting.add(hear)
  }

  #remove (name: string, hear: (word: Wakeup) => void): void {
    const waiting = this.#byName.get(name)
    waiting?.delete(hear)
    if (waiting?.size === 0) this.#byName.delete(name)
  }
}
