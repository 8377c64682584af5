import { randomBytes } from 'node:crypto'
import type { Batch } from '../redis/batch/batch.ts'
import type { Argument } from '../redis/batch/resp-encoder.ts'
import { take } from './script-reply.ts'
import type { Decision } from './script-reply.ts'
import type { QuotaCost } from './quota.ts'
import { CoalescedCheck } from './coalesced-check.ts'
import type { QuotaRequest, TickClock, ReplySink } from './coalesced-check.ts'

/** An ask that Redis has not read after this many deadlines was given up: what a hung Redis reads when it wakes is not counted. */
const patience = 1.5

/**
 * Counts in Redis, for all processes together. Identical requests of one tick are one ask: a flood from one address costs Redis one call a tick.
 */
export class LimitStore {
  #batch: Batch
  #rows = new Map<object, Map<string, CoalescedCheck>>()
  #tick = -1
  #moment: TickClock = { askedAt: 0, deadlineMs: 0 }
  /** what the last plain claim of this tick gave */
  #plain: { readonly costs: readonly QuotaCost[], readonly args: readonly Argument[] } | undefined
  readonly #wire: ReplySink
  /** from the process's clock to Redis's, at most a round trip too much; undefined before its first answer */
  #offsetMs: number | undefined
  #now: () => number
  readonly #process = randomBytes(6).toString('base64url')
  #leases = 0

  /** @param now the process's clock: milliseconds since whenever, never set back */
  constructor (batch: Batch, now = () => performance.now()) {
    this.#batch = batch
    this.#now = now
    this.#wire = {
      ask: (keys, args) => batch.enqueueScript(take, keys, args),
      heard: ({ nowMs }, askedAt) => { this.#offsetMs = nowMs - askedAt }
    }
  }

  /**
   * States what a request takes; it leaves with the tick. All of its counters grant it, or none.
   *
   * @returns the row that it must join now; {@link takenOf} tells what came of its place there
   */
  take (request: QuotaRequest): CoalescedCheck {
    if (this.#tick !== this.#batch.tick) this.#begin()
    const { scope = this, name } = request
    let rows = this.#rows.get(scope)
    if (rows === undefined) this.#rows.set(scope, rows = new Map())
    let check = rows.get(name)
    if (check === undefined) rows.set(name, check = this.#open(request))
    return check
  }

  /** Looks, without taking anything. */
  async peek ({ keys, costs }: Omit<QuotaRequest, 'name'>): Promise<Decision> {
    const { statuses } = await this.#wire.ask(keys, [0, 0, ...costs.map(({ text }) => text)]).promise()
    return { isAllowed: statuses.every(({ retryMs }) => retryMs === 0), statuses }
  }

  /** Forgets what was counted under keys of one partition. */
  async reset (keys: readonly string[]): Promise<void> {
    await this.#batch.command('unlink', [...keys])
  }

  /** When an ask made now is too old to be heeded, by Redis's clock; 0 before its clock is known. */
  deadlineMs (): number {
    return this.#offsetMs === undefined ? 0 : Math.ceil(this.#now() + this.#offsetMs + patience * this.#batch.deadlineMs)
  }

  #begin (): void {
    this.#tick = this.#batch.tick
    this.#rows = new Map()
    this.#moment = { askedAt: this.#now(), deadlineMs: this.deadlineMs() }
    this.#plain = undefined
  }

  #open (request: QuotaRequest): CoalescedCheck {
    const lease = request.hasPlaces === true ? `${this.#process}.${++this.#leases}` : undefined
    return new CoalescedCheck(request, this.#argumentsOf(request, lease), lease, this.#moment, this.#wire)
  }

  #argumentsOf ({ costs, session }: QuotaRequest, lease: string | undefined): readonly Argument[] {
    if (session === undefined && lease === undefined) return this.#plainArgumentsOf(costs)
    const args: Argument[] = [1, this.#moment.deadlineMs, ...costs.map(({ text }) => text)]
    if (session !== undefined) args.push(`l ${session.devices.join(' ')}`)
    if (lease !== undefined) args.push(`i ${lease}`)
    return args
  }

  /** Those of all requests of a tick that meet the same terms: made once, and compared by what they are. */
  #plainArgumentsOf (costs: readonly QuotaCost[]): readonly Argument[] {
    if (this.#plain?.costs !== costs) this.#plain = { costs, args: [1, this.#moment.deadlineMs, ...costs.map(({ text }) => text)] }
    return this.#plain.args
  }
}
