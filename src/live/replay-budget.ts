/** What a replay costs before it is known how many events it has: Redis reads a page of so many. */
const pageEvents = 64
/** A client that was idle may replay the events of so many seconds at once. */
const burstSeconds = 8
/** Below so many clients none is forgotten. */
const sweepFrom = 1000

interface Allowance {
  /** replayed events that the client may have now; below zero after a replay larger than was left */
  tokens: number
  filledAt: number
  readonly waiting: Set<() => void>
  timer: NodeJS.Timeout | undefined
}

/** What a replay in progress costs. */
export interface ReplayMeter {
  /** one event was replayed */
  count (): void
  /** the replay is over; what it did not use of the page is given back */
  finish (): void
}

/**
 * Bounds how many past events clients are sent: a token bucket of events for each client, on all its connections together.
 *
 * A replay begins while the client has tokens, and waits otherwise. It is not refused: a client that resumes after an outage loses nothing.
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
   * Begins a replay as soon as the client may have one, at once where that is now.
   *
   * @returns cancels it, when it has not begun
   * @throws what `start` throws, when it begins at once
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

  /** Forgets clients whose allowance is full again: they are like new ones. */
  #sweep (): void {
    for (const [client, allowance] of this.#clients) if (allowance.waiting.size === 0 && this.#fill(allowance) >= this.#capacity) this.#clients.delete(client)
    this.#sweepAt = Math.max(sweepFrom, this.#clients.size * 2)
  }
}
