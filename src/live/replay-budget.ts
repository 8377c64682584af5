/** Charged when a replay starts, before its number of events is known: one page of the log. */
const pageEvents = 64
/** An idle client may replay the events of this many seconds at once. */
const burstSeconds = 8
/** Clients with a full budget are removed above this number of clients. */
const sweepFrom = 1000

interface Allowance {
  /** events that may be replayed now; negative after a replay larger than the remaining tokens */
  tokens: number
  filledAt: number
  readonly waiting: Set<() => void>
  timer: NodeJS.Timeout | undefined
}

/** Charges a replay in progress. */
export interface ReplayMeter {
  /** one event was replayed */
  count (): void
  /** the replay has ended; refunds the unused part of the page */
  finish (): void
}

/**
 * Limits replayed events: one token bucket per client for all its connections.
 *
 * A replay starts when the client has a token, and waits otherwise. It is not rejected: a client that resumes after an outage loses nothing.
 */
export class ReplayBudget {
  readonly #perSecond: number
  readonly #capacity: number
  readonly #clients = new Map<string, Allowance>()
  #sweepAt = sweepFrom

  constructor (eventsPerSecond: number) {
    this.#perSecond = eventsPerSecond
    this.#capacity = Math.max(pageEvents, eventsPerSecond * burstSeconds)
  }

  /**
   * Starts a replay as soon as the client has a token, synchronously if it has one now.
   *
   * @returns cancels the replay unless it has started
   * @throws what `start` throws, if it is called synchronously
   */
  begin (client: string, start: (meter: ReplayMeter) => void): () => void {
    const allowance = this.#allowanceOf(client)
    const run = () => { start(this.#charge(allowance)) }
    if (allowance.waiting.size === 0 && this.#fill(allowance) >= 1) {
      run()
      return () => {}
    }
    allowance.waiting.add(run)
    this.#schedule(allowance)
    return () => { allowance.waiting.delete(run) }
  }

  #charge (allowance: Allowance): ReplayMeter {
    let events = 0
    allowance.tokens -= pageEvents
    return {
      count: () => { if (++events > pageEvents) allowance.tokens -= 1 },
      finish: () => {
        allowance.tokens += Math.max(0, pageEvents - events)
        this.#resume(allowance)
      }
    }
  }

  #fill (allowance: Allowance): number {
    const now = performance.now()
    allowance.tokens = Math.min(this.#capacity, allowance.tokens + (now - allowance.filledAt) / 1000 * this.#perSecond)
    allowance.filledAt = now
    return allowance.tokens
  }

  #resume (allowance: Allowance): void {
    for (const run of allowance.waiting) {
      if (this.#fill(allowance) < 1) break
      allowance.waiting.delete(run)
      run()
    }
    if (allowance.waiting.size > 0) this.#schedule(allowance)
  }

  #schedule (allowance: Allowance): void {
    if (allowance.timer !== undefined) return
    const waitMs = Math.max(1, (1 - allowance.tokens) / this.#perSecond * 1000)
    allowance.timer = setTimeout(() => {
      allowance.timer = undefined
      this.#resume(allowance)
    }, waitMs).unref()
  }

  #allowanceOf (client: string): Allowance {
    const known = this.#clients.get(client)
    if (known !== undefined) return known
    if (this.#clients.size >= this.#sweepAt) this.#sweep()
    const allowance: Allowance = { tokens: this.#capacity, filledAt: performance.now(), waiting: new Set(), timer: undefined }
    this.#clients.set(client, allowance)
    return allowance
  }

  /** Removes clients with a full allowance: a new entry would be the same. */
  #sweep (): void {
    for (const [client, allowance] of this.#clients) if (allowance.waiting.size === 0 && this.#fill(allowance) >= this.#capacity) this.#clients.delete(client)
    this.#sweepAt = Math.max(sweepFrom, this.#clients.size * 2)
  }
}
