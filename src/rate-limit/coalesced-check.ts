import type { PendingReply } from '../redis/batch/pending-reply.ts'
import type { Argument } from '../redis/batch/resp-encoder.ts'
import { ScriptOperation } from '../redis/batch/batched-command.ts'
import { notCounted, tooLate } from './script-reply.ts'
import type { ScriptReply } from './script-reply.ts'
import type { QuotaCost } from './quota.ts'

/** One request's check in Redis. */
export interface QuotaRequest {
  /** the namespace of the name; by default shared by all checks without one */
  readonly scope?: object
  /** identical for identical checks, and only for those: they are coalesced */
  readonly name: string
  /** one for each quota; in a Cluster all in one slot */
  readonly keys: readonly string[]
  readonly costs: readonly QuotaCost[]
  /** nothing is consumed unless this session is valid; in a Cluster it is in the keys' slot */
  readonly session?: { readonly key: string, readonly devices: readonly string[] }
  /** whether a quota limits concurrency */
  readonly hasSlots?: boolean
}

/** The clock of a tick's checks, which are sent together: the time of the first of them. */
export interface TickClock {
  /** on the process's clock, milliseconds */
  readonly sentAt: number
  /** by Redis's clock: a check that is executed later counts nothing */
  readonly deadlineMs: number
}

/** Sends checks to Redis and receives their replies. */
export interface ReplySink {
  /** sends the check to `consume.lua` */
  consume (keys: readonly string[], args: readonly Argument[]): PendingReply<ScriptReply>
  onReply (reply: ScriptReply, sentAt: number): void
}

/** All identical checks of a tick, sent as one script operation. */
export class CoalescedCheck extends ScriptOperation<ScriptReply> {
  /** prefix of the IDs of granted slots; undefined without a concurrency quota */
  readonly lease: string | undefined
  readonly #clock: TickClock
  readonly #sink: ReplySink
  readonly #costs: readonly QuotaCost[]
  #size = 0
  #isRetried = false

  /** @param args count, deadline and quotas; other checks may share the array */
  constructor ({ keys, session, costs }: QuotaRequest, args: readonly Argument[], lease: string | undefined, clock: TickClock, sink: ReplySink) {
    super(session === undefined ? keys : [...keys, session.key], args)
    this.lease = lease
    this.#costs = costs
    this.#clock = clock
    this.#sink = sink
  }

  /** On the process's clock. */
  get sentAt (): number {
    return this.#clock.sentAt
  }

  /** Adds a request, possible until the end of the tick. Returns its position, from 1. */
  add (): number {
    this.#size += 1
    // Copy: other checks may share the array.
    if (this.#size > 1) this.args = this.args.with(0, this.#size)
    return this.#size
  }

  override resolve (reply: ScriptReply): void {
    if (this.#isRetried) return super.resolve(reply)
    this.#sink.onReply(reply, this.sentAt)
    // Rejected as too late although the caller still waits: Redis's clock was set forward, or the server is another.
    if (reply.granted === tooLate) return this.#retry(0)
    if (reply.granted === notCounted) return this.#retry(this.#clock.deadlineMs)
    super.resolve(reply)
  }

  #retry (deadlineMs: number): void {
    this.#isRetried = true
    const [requested = 1, , ...rest] = this.args
    const args = rest.length > 0 ? rest : this.#costs.map(({ text }) => text)
    this.#sink.consume(this.keys, [requested, deadlineMs, ...args]).subscribe({ onReply: (reply) => super.resolve(reply), onError: (error) => this.reject(error) })
  }
}

/** The ID of the slot of the request at a position of a coalesced check. */
export function leaseOf (lease: string, position: number): string {
  return `${lease}.${position}`
}
