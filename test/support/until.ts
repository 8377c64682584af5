import { setTimeout as sleep } from 'node:timers/promises'

/** Options and error text of `until`. */
export interface UntilOptions {
  /** the condition, named in the error */
  what: string
  /** generous, because machines are busy; 15 s */
  deadlineMs?: number
  /** pause between two checks; 10 ms */
  everyMs?: number
}

type Truthy<T> = Exclude<T, undefined | null | false | 0 | ''>

/**
 * Waits until `look` returns something truthy, and returns that. A check that throws counts as "not yet".
 *
 * @throws {Error} after the deadline, with the last error of `look` as its cause
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
  throw new Error(`not met within ${deadlineMs} ms: ${what}`, { cause })
}
