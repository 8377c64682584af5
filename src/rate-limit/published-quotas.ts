import type { Batch } from '../redis/batch/batch.ts'
import type { LimitPolicy } from './options.ts'
import type { Quota } from './quota.ts'
import { endpointOf } from './route-limits.ts'

/** What the process publishes about one counter. */
export interface PublishedQuota {
  /** the policy's name, as in the RateLimit headers */
  readonly name: string
  readonly quota: Quota
  /** of signed-in users, if theirs differs */
  readonly userQuota?: Quota | undefined
}

const publishEveryMs = 60_000
/** More names come from code that puts IDs into them. */
const maxQuotas = 1000
const lifetimeMs = 24 * 60 * 60 * 1000

/**
 * The quotas of this app by the endpoint of their counters, and their publication in Redis.
 *
 * A counter stores what was used and not its quota. Operators' tools read the quotas from the published key; requests never do. While two
 * versions of an app run, the key has the quotas of the process that published last.
 */
export class PublishedQuotas {
  readonly #batch: Batch
  readonly #key: string
  readonly #quotas = new Map<string, PublishedQuota>()
  #timer: NodeJS.Timeout | undefined

  constructor (batch: Batch, key: string) {
    this.#batch = batch
    this.#key = key
  }

  /** Adds the policies of a route. A quota that is a function of the request has no value to publish. */
  add<Request, Reply> (policies: readonly LimitPolicy<Request, Reply>[], methods: readonly string[], pattern: string | undefined): void {
    for (const policy of policies) {
      const { name, quota, userQuota, unitsOf } = policy
      if (unitsOf !== undefined) continue
      for (const method of methods) this.addNamed(endpointOf(policy, method === 'HEAD' ? 'GET' : method, pattern, policies), { name, quota, userQuota })
    }
  }

  addNamed (endpoint: string, quota: PublishedQuota): void {
    if (this.#quotas.size < maxQuotas || this.#quotas.has(endpoint)) this.#quotas.set(endpoint, quota)
  }

  /** Publishes now and every minute: Redis may lose the key. */
  start (): void {
    this.#timer = setInterval(() => this.publish(), publishEveryMs).unref()
    this.publish()
  }

  /** Without effect before {@link start} and while Redis is unavailable. */
  publish (): void {
    if (this.#timer === undefined || this.#quotas.size === 0) return
    this.#batch.command('set', [this.#key, JSON.stringify(Object.fromEntries(this.#quotas)), 'PX', lifetimeMs], 'background').catch(() => {}) // published again in a minute
  }

  close (): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }
}
