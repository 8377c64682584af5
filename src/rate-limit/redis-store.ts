import { randomBytes } from 'node:crypto'
import { steadyMs } from '../shared/clock.ts'
import type { Batch } from '../redis/batch/batch.ts'
import type { Argument } from '../redis/batch/resp-encoder.ts'
import type { BatchScript } from '../redis/batch/script.ts'
import { consume as consumeScript } from './script-reply.ts'
import type { Decision, ScriptReply } from './script-reply.ts'
import { TwoGenerationLru } from '../shared/lru.ts'
import { SlidingScript } from './sliding-script.ts'
import type { QuotaCost } from './quota.ts'
import { CoalescedCheck } from './coalesced-check.ts'
import type { QuotaRequest, TickClock, ReplySink } from './coalesced-check.ts'

/** The script and the arguments of checks that count addresses only. */
interface IpOnlyArgs {
  readonly costs: readonly QuotaCost[]
  readonly args: readonly Argument[]
  readonly script: BatchScript<ScriptReply>
}

/** After this multiple of the batch's deadline the caller has timed out: a check that a hung Redis executes later is not counted. */
const deadlineFactor = 1.5

/**
 * Counters in Redis, shared by all processes. Identical checks of one tick are coalesced: a flood from one address costs Redis one call per tick.
 */
export class LimitStore {
  #batch: Batch
  #checks = new Map<object, Map<string, CoalescedCheck>>()
  #tick = -1
  #clock: TickClock = { sentAt: 0, deadlineMs: 0 }
  /** arguments of the last IP-only check of this tick */
  #ipOnly: IpOnlyArgs | undefined
  /** by quota and cost: checks of the same are one call */
  readonly #slidingScripts = new TwoGenerationLru<string, SlidingScript>(1000)
  readonly #sink: ReplySink
  /** Redis's clock minus the process's, up to one round trip too large; undefined before the first reply */
  #offsetMs: number | undefined
  #now: () => number
  readonly #process = randomBytes(6).toString('base64url')
  #leases = 0

  /** @param now a monotonic clock in milliseconds */
  constructor (batch: Batch, now = steadyMs) {
    this.#batch = batch
    this.#now = now
    this.#sink = {
      consume: (keys, args) => batch.enqueueScript(consumeScript, keys, args),
      onReply: ({ nowMs }, sentAt) => { this.#offsetMs = nowMs - sentAt }
    }
  }

  /**
   * Enqueues a check; it is sent at the end of the tick. All quotas are consumed, or none.
   *
   * @returns the coalesced check that the caller must add itself to now; {@link decisionOf} gives its result
   */
  consume (request: QuotaRequest): CoalescedCheck {
    if (this.#tick !== this.#batch.tick) this.#startTick()
    const { scope = this, name } = request
    let checks = this.#checks.get(scope)
    if (checks === undefined) this.#checks.set(scope, checks = new Map())
    let check = checks.get(name)
    if (check === undefined) checks.set(name, check = this.#open(request))
    return check
  }

  /** Reads the statuses and consumes nothing. */
  async peek ({ keys, costs }: Omit<QuotaRequest, 'name'>): Promise<Decision> {
    const { statuses } = await this.#sink.consume(keys, [0, 0, ...costs.map(({ text }) => text)]).promise()
    return { isAllowed: statuses.every(({ retryMs }) => retryMs === 0), statuses }
  }

  /** Deletes counters of one partition. */
  async reset (keys: readonly string[]): Promise<void> {
    await this.#batch.command('unlink', [...keys])
  }

  /** The deadline of a check sent now, by Redis's clock; 0 before its clock is known. */
  deadlineMs (): number {
    return this.#offsetMs === undefined ? 0 : Math.ceil(this.#now() + this.#offsetMs + deadlineFactor * this.#batch.deadlineMs)
  }

  #startTick (): void {
    this.#tick = this.#batch.tick
    this.#checks = new Map()
    this.#clock = { sentAt: this.#now(), deadlineMs: this.deadlineMs() }
    this.#ipOnly = undefined
  }

  #open (request: QuotaRequest): CoalescedCheck {
    const lease = request.hasSlots === true ? `${this.#process}.${++this.#leases}` : undefined
    const { costs, session } = request
    if (session !== undefined || lease !== undefined) return this.#batch.enqueueOperation(consumeScript, new CoalescedCheck(request, this.#argsOf(request, lease), lease, this.#clock, this.#sink))
    const { script, args } = this.#ipOnlyArgsOf(costs)
    return this.#batch.enqueueOperation(script, new CoalescedCheck(request, args, lease, this.#clock, this.#sink))
  }

  #argsOf ({ costs, session }: QuotaRequest, lease: string | undefined): readonly Argument[] {
    const args: Argument[] = [1, this.#clock.deadlineMs, ...costs.map(({ text }) => text)]
    if (session !== undefined) args.push(`l ${session.devices.join(' ')}`)
    if (lease !== undefined) args.push(`i ${lease}`)
    return args
  }

  /** Shares the arguments between the checks of a tick with the same quotas: the batch compares them by identity. */
  #ipOnlyArgsOf (costs: readonly QuotaCost[]): IpOnlyArgs {
    if (this.#ipOnly?.costs === costs) return this.#ipOnly
    const sliding = this.#slidingScriptOf(costs)
    const args: Argument[] = sliding === undefined ? [1, this.#clock.deadlineMs, ...costs.map(({ text }) => text)] : [1, this.#clock.deadlineMs]
    return (this.#ipOnly = { costs, args, script: sliding ?? consumeScript })
  }

  #slidingScriptOf (costs: readonly QuotaCost[]): SlidingScript | undefined {
    const text = costs[0]?.text ?? ''
    const script = costs.length === 1 ? this.#slidingScripts.get(text) ?? SlidingScript.for(costs) : undefined
    if (script !== undefined) this.#slidingScripts.set(text, script)
    return script
  }
}
