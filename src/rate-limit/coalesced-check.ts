import { PendingReply } from '../redis/batch/pending-reply.ts'
import type { ReplyListener } from '../redis/batch/pending-reply.ts'
import type { Argument } from '../redis/batch/resp-encoder.ts'
import type { ScriptOperation } from '../redis/batch/batched-command.ts'
import { tooLate } from './script-reply.ts'
import type { ScriptReply } from './script-reply.ts'
import type { QuotaCost } from './quota.ts'

/** What is asked of Redis for one request. */
export interface QuotaRequest {
  /** what the name is unique in; left out: in all that leave it out */
  readonly scope?: object
  /** the same for requests that ask the same, and for no other */
  readonly name: string
  /** one for each term; in a Cluster all of one slot */
  readonly keys: readonly string[]
  readonly costs: readonly QuotaCost[]
  /** nothing is taken unless this session lives; in a Cluster it is in the keys' slot */
  readonly session?: { readonly key: string, readonly devices: readonly string[] }
  /** whether a term takes a place */
  readonly hasPlaces?: boolean
}

/** When a tick's asks were made: the first of them, for they leave together. */
export interface TickClock {
  /** on the process's clock */
  readonly askedAt: number
  /** when they are too old to be heeded, by Redis's */
  readonly deadlineMs: number
}

/** The way to Redis, and who hears what came back. */
export interface ReplySink {
  ask (keys: readonly string[], args: readonly Argument[]): ScriptOperation<ScriptReply>
  heard (reply: ScriptReply, askedAt: number): void
}

/** All identical requests of a tick, which are one ask. */
export class CoalescedCheck extends PendingReply<ScriptReply> implements ReplyListener<ScriptReply> {
  /** what the places are called that are granted; undefined where none is asked for */
  readonly lease: string | undefined
  readonly #moment: TickClock
  readonly #wire: ReplySink
  readonly #operation: ScriptOperation<ScriptReply>
  #size = 0
  #isAskedAgain = false

  /** @param args how many ask, the deadline, the terms: those of one request, and perhaps of others that ask for themselves */
  constructor ({ keys, session }: QuotaRequest, args: readonly Argument[], lease: string | undefined, moment: TickClock, wire: ReplySink) {
    super()
    this.lease = lease
    this.#moment = moment
    this.#wire = wire
    this.#operation = wire.ask(session === undefined ? keys : [...keys, session.key], args)
    this.#operation.subscribe(this)
  }

  /** On the process's clock. */
  get askedAt (): number {
    return this.#moment.askedAt
  }

  /** The arguments leave at the end of the tick: until then one more may join. Returns its place, from 1. */
  add (): number {
    this.#size += 1
    // Until then they may be those of other rows too.
    if (this.#size > 1) this.#operation.args = this.#operation.args.with(0, this.#size)
    return this.#size
  }

  onReply (reply: ScriptReply): void {
    if (!this.#isAskedAgain) this.#wire.heard(reply, this.askedAt)
    // Too late though it was waited for: Redis's clock was set forward, or it is another Redis. Then without a deadline.
    if (reply.granted !== tooLate || this.#isAskedAgain) return this.resolve(reply)
    this.#isAskedAgain = true
    const [asked = 1, , ...rest] = this.#operation.args
    this.#wire.ask(this.#operation.keys, [asked, 0, ...rest]).subscribe(this)
  }

  onError (error: Error): void {
    this.reject(error)
  }
}

/** What the place of the request is called that stands at a place of a row. */
export function leaseOf (lease: string, place: number): string {
  return `${lease}.${place}`
}
