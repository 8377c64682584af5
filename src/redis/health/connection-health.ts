import type { Redis } from 'ioredis'
import type { CircuitBreaker } from './circuit-breaker.ts'
import { setTimeoutAfterIo, slownessOf } from './deadline.ts'

/** A connection with a reply that is overdue for longer than this reconnects, even if it still delivers bytes. For the default deadline. */
const overdueMs = 1000
/** A server that sends nothing for this long after connecting is disconnected. For the default deadline. */
const firstByteMs = 400

/** Health of one connection to one server: whether replies arrive in time. */
export class ConnectionHealth {
  /** the circuit breaker of its server */
  readonly breaker: CircuitBreaker
  /** a reply was late, and no reply has arrived in time since */
  isUnresponsive = false
  #client: () => Redis | undefined
  readonly #deadlineMs: number
  /** since when a reply is overdue; undefined while none is */
  #overdueSince: number | undefined

  constructor (breaker: CircuitBreaker, client: () => Redis | undefined, deadlineMs: number) {
    this.breaker = breaker
    this.#client = client
    this.#deadlineMs = deadlineMs
  }

  get client (): Redis | undefined {
    return this.#client()
  }

  /** Whether a reply is overdue for so long that the connection should be replaced. */
  get isOverdue (): boolean {
    return this.#overdueSince !== undefined && performance.now() - this.#overdueSince > overdueMs * slownessOf(this.#deadlineMs)
  }

  /** Records that the connection is established. The server has not sent anything yet. */
  connected (): void {
    this.#overdueSince = performance.now()
    destroyIfSilent(this.client, firstByteMs * slownessOf(this.#deadlineMs))
  }

  /** Records a late reply. */
  timedOut (): void {
    this.isUnresponsive = true
    this.#overdueSince ??= performance.now() - this.#deadlineMs
    destroyIfSilent(this.client, this.#deadlineMs)
  }

  /** Records the reply to a command that was sent at that time. */
  replied (sentAt: number): void {
    if (this.#overdueSince !== undefined && performance.now() - sentAt < this.#deadlineMs) this.markHealthy()
  }

  /** Records that no reply is overdue: all have arrived, or the connection is new. */
  markHealthy (): void {
    this.isUnresponsive = false
    this.#overdueSince = undefined
  }

  /** Records that the connection has ended. `isUnresponsive` stays until the next connection has replied. */
  ended (): void {
    this.#overdueSince = undefined
  }
}

/**
 * Destroys a connection that has pending replies and receives no byte for `ms`. (ioredis's `socketTimeout` also destroys healthy connections after the
 * event loop was blocked, because it does not check whether a reply has arrived.)
 */
function destroyIfSilent (client: Redis | undefined, ms: number): void {
  const stream = client?.stream
  if (client === undefined || stream == null) return
  const bytesBefore = stream.bytesRead
  setTimeoutAfterIo(ms, () => {
    if (client.stream === stream && stream.bytesRead === bytesBefore && client.commandQueue.length > 0) stream.destroy()
  }).unref()
}
