import type { Redis } from 'ioredis'
import type { CircuitBreaker } from './circuit-breaker.ts'
import { setTimeoutAfterIo, slownessOf } from './deadline.ts'

/** A connection that owes an answer for longer than this is opened anew, though something may trickle through it; both for the default deadline. */
const patienceMs = 1000
/** Nobody says a word for so long to who connects: another attempt. */
const greetingMs = 400

/** One connection to one server: whether it answers, and in time. */
export class ConnectionHealth {
  /** whether its server is asked at all */
  readonly breaker: CircuitBreaker
  /** an answer did not come in time, and none in time came since */
  isUnresponsive = false
  #client: () => Redis | undefined
  readonly #deadlineMs: number
  /** since when an answer is owed; undefined while all is well, or nothing was asked */
  #owedSince: number | undefined

  constructor (breaker: CircuitBreaker, client: () => Redis | undefined, deadlineMs: number) {
    this.breaker = breaker
    this.#client = client
    this.#deadlineMs = deadlineMs
  }

  get client (): Redis | undefined {
    return this.#client()
  }

  /** Whether an answer is owed for so long that another connection is the better hope. */
  get isOverdue (): boolean {
    return this.#owedSince !== undefined && performance.now() - this.#owedSince > patienceMs * slownessOf(this.#deadlineMs)
  }

  /** Notes that the connection was made, and the server has not said a word yet. */
  connected (): void {
    this.#owedSince = performance.now()
    cutWhenSilent(this.client, greetingMs * slownessOf(this.#deadlineMs))
  }

  /** Notes that an answer did not come in time. */
  timedOut (): void {
    this.isUnresponsive = true
    this.#owedSince ??= performance.now() - this.#deadlineMs
    cutWhenSilent(this.client, this.#deadlineMs)
  }

  /** Notes an answer to what was asked at that time. */
  answered (askedAt: number): void {
    if (this.#owedSince !== undefined && performance.now() - askedAt < this.#deadlineMs) this.markHealthy()
  }

  /** Nothing is owed: all was answered, or the connection is another one. */
  markHealthy (): void {
    this.isUnresponsive = false
    this.#owedSince = undefined
  }

  /** The connection has ended, and what it owed with it; whether the next one is better is not known yet. */
  ended (): void {
    this.#owedSince = undefined
  }
}

/**
 * Ends a connection that owes answers and brings not a byte for so long. (ioredis's `socketTimeout` cuts healthy ones too,
 * when the event loop stood still for longer: it does not look whether the answer has arrived.)
 */
function cutWhenSilent (client: Redis | undefined, ms: number): void {
  const stream = client?.stream
  if (client === undefined || stream == null) return
  const heard = stream.bytesRead
  setTimeoutAfterIo(ms, () => {
    if (client.stream === stream && stream.bytesRead === heard && client.commandQueue.length > 0) stream.destroy()
  }).unref()
}
