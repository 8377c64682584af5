import { setTimeout as sleep } from 'node:timers/promises'

/** How long `until` waits, and what it says when that was in vain. */
export interface UntilOptions {
  /** What is waited for, told in the error. */
  what: string
  /** Generous, since machines are busy; 15 s. */
  deadlineMs?: number
  /** Pause between two looks; 10 ms. */
  everyMs?: number
}

type Truthy<T> = Exclude<T, undefined | null | false | 0 | ''>

/**
 * Waits until `look` gives something truthy, and returns it. A look that throws counts as "not yet".
 *
 * @throws {Error} after the deadline, with the last thing `look` threw as its cause
 */
export async function until<T> (look: () => T | Promise<T>, options: UntilOptions): Promise<Truthy<T>> {
  const { what, deadlineMs = 15_000, everyMs = 10 } = options
  const giveUpAt = Date.now() + deadlineMs
  let cause: unknown
  while (Date.now() < giveUpAt) {
    try {
      const seen = await look()
      if (seen) return seen as Truthy<T>
    } catch (error) {
      cause = error
    }
    await sleep(everyMs)
  }
  throw new Error(`waited ${deadlineMs} ms in vain: ${what}`, { cause })
}
