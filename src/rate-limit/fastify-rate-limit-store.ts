import type { Batch } from '../redis/batch/batch.ts'
import type { Keys } from '../redis/keys.ts'
import { decisionOf } from './script-reply.ts'
import type { Decision } from './script-reply.ts'
import { bucketMsOf, quotaCostOf } from './quota.ts'
import type { QuotaCost } from './quota.ts'
import { LimitStore } from './redis-store.ts'

/** The result for @fastify/rate-limit, which rejects if `current` exceeds `max`. */
interface ForeignCount {
  current: number
  ttl: number
}

type Callback = (error: Error | null, result?: ForeignCount) => void

/** The options that @fastify/rate-limit passes for a scope or route. */
interface ForeignOptions {
  routeInfo?: { method?: string | readonly string[], url?: string }
}

/** A store of @fastify/rate-limit 11, as its types declare it. */
interface ForeignStore {
  incr (key: string, callback: Callback, timeWindow: number, max: number): void
  read (key: string, callback: Callback, timeWindow: number, max: number): void
  child (options: object): ForeignStore
}

/**
 * Creates the `store` option of @fastify/rate-limit: this package's sliding window for its hooks.
 *
 * No window at any position exceeds `max`, a rejection costs Redis no write, HEAD counts as GET, and checks are sent in the tick's batch.
 *
 * @param pool `fastify.redisPool`, or an object with its batch and keyspace
 */
export function rateLimitStore ({ batch, keyspace }: { batch: Batch, keyspace: Keys }): new (options: object) => ForeignStore {
  const store = new LimitStore(batch)

  return class PrismStore implements ForeignStore {
    #keyOf: (kind: string, id: string) => string

    constructor (options: ForeignOptions) {
      const { method, url } = options.routeInfo ?? {}
      const methods = [method ?? []].flat().filter((each) => each !== 'HEAD')
      this.#keyOf = keyspace.rateLimit(url === undefined ? 'foreign' : `${methods.join('+') || 'GET'}:${url}`)
    }

    incr (key: string, callback: Callback, timeWindow: number, max: number): void {
      const [counterKey, costs] = [this.#keyOf('foreign', key), costsOf(max, timeWindow)]
      const check = store.consume({ name: `${counterKey} ${costs[0].text}`, keys: [counterKey], costs })
      const position = check.add()
      check.promise().then((reply) => callback(null, countOf(decisionOf(reply, position, costs), max)), (error: Error) => callback(error))
    }

    read (key: string, callback: Callback, timeWindow: number, max: number): void {
      store.peek({ keys: [this.#keyOf('foreign', key)], costs: costsOf(max, timeWindow) }).then((decision) => callback(null, countOf({ ...decision, isAllowed: true }, max)), (error: Error) => callback(error))
    }

    child (options: ForeignOptions): ForeignStore {
      return new PrismStore(options)
    }
  }
}

function costsOf (max: number, windowMs: number): [QuotaCost] {
  return [quotaCostOf({ algorithm: 'sliding', quota: max, windowMs, bucketOrBurst: bucketMsOf(max, windowMs) }, 1)]
}

function countOf ({ isAllowed, statuses: [status] }: Decision, max: number): ForeignCount {
  if (!isAllowed) return { current: max + 1, ttl: status?.retryMs ?? 0 }
  return { current: max - (status?.remaining ?? 0), ttl: status?.resetMs ?? 0 }
}
