import { setTimeout as sleep } from 'node:timers/promises'

/** Options and error text of `until`. */
export interface UntilOptions {
  /** the condition, named in the error */
  what: string
  /** generous, because machines are busy; 15 s */
  deadlineMs?: number
  /** pause between two checks; by default 10 ms, and a twentieth of the time waited so far once that is more, up to 50 ms */
  everyMs?: number
}

// A check may be a request or a look into a browser: a hundred of them a second take the processor from what they wait for.
const [leastPauseMs, mostPauseMs] = [10, 50]

type Truthy<T> = Exclude<T, undefined | null | false | 0 | ''>

/**
 * Waits until `look` returns something truthy, and returns that. A check that throws counts as "not yet".
 *
 * @throws {Error} after the deadline, with the last error of `look` as its cause
 */
export async function until<T> (look: () => T | Promise<T>, options: UntilOptions): Promise<Truthy<T>> {
  const { what, deadlineMs = 15_000, everyMs } = options
  const startedAt = Date.now()
  let cause: unknown
  while (Date.now() - startedAt < deadlineMs) {
    try {
      const seen = await look()
      if (seen) return seen as Truthy<T>
    } catch (error) {
      cause = error
    }
    await sleep(everyMs ?? Math.min(mostPauseMs, Math.max(leastPauseMs, (Date.now() - startedAt) / 20)))
  }
  throw new Error(`not met within ${deadlineMs} ms: ${what}`, { cause })
}
