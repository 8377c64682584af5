import type { Batch } from '../redis/batch.ts'
import { Script } from '../redis/script.ts'
import type { Quota } from './quota.ts'

/** What a counter says after a request has been counted, or refused. */
export interface Standing {
  /** units left, never below 0 */
  readonly remaining: number
  /** milliseconds until more units come; 0 when nothing is used */
  readonly resetMs: number
  /** milliseconds until the same request fits; 0 when it fits now */
  readonly retryMs: number
}

/** The answer to one request: whether all of its counters had room, and what each says, in the order asked. */
export interface Taken {
  readonly isAllowed: boolean
  readonly standings: readonly Standing[]
}

interface Grants {
  granted: number
  standings: Standing[]
}

/** One call for all identical requests of a tick; each is told by its place in the row. */
class Row {
  readonly args: (string | number)[]
  readonly grants: Promise<Grants>

  constructor (batch: Batch, keys: readonly string[], quotas: readonly Quota[], costs: readonly number[]) {
    this.args = [0, 0]
    for (const [index, { algorithm, quota, windowMs, grain }] of quotas.entries()) this.args.push(`${tags[algorithm]} ${quota} ${windowMs} ${grain} ${costs[index] ?? 1}`)
    this.grants = batch.ask(take, keys, this.args)
    this.grants.catch(() => {}) // a request may end before it looks at its answer
  }

  /** The arguments leave at the end of the tick: until then they may be changed. */
  join (): number {
    return this.args[0] = Number(this.args[0]) + 1
  }
}

const tags = { sliding: 's', gcra: 'g', fixed: 'f' } as const

const take = new Script<Grants>({
  url: new URL('./take.lua', import.meta.url),
  costMicroseconds: 10,
  read: (reply) => {
    const [granted = 0, , ...numbers] = reply as number[]
    const standings: Standing[] = []
    for (let at = 0; at < numbers.length; at += 3) standings.push({ remaining: numbers[at] ?? 0, resetMs: numbers[at + 1] ?? 0, retryMs: numbers[at + 2] ?? 0 })
    return { granted, standings }
  }
})

/**
 * Counts in Redis, for all processes together. Identical requests of one tick are one ask: a flood from one address costs Redis one call a tick.
 */
export class LimitStore {
  #batch: Batch
  #rows = new Map<string, Row>()
  #tick = -1

  constructor (batch: Batch) {
    this.#batch = batch
  }

  /**
   * Takes units from all counters of one request, or from none. Synchronous until Redis is waited for.
   *
   * @param keys one for each quota; in a Cluster all of one partition, so that they share a slot
   * @param costs units for each quota
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE; {RedisReplyError} PRISM_ERR_REDIS_REPLY; the caller decides
   */
  take (keys: readonly string[], quotas: readonly Quota[], costs: readonly number[]): () => Promise<Taken> {
    const row = this.#row(keys, quotas, costs)
    const place = row.join()
    return async () => standing(await row.grants, place, costs)
  }

  #row (keys: readonly string[], quotas: readonly Quota[], costs: readonly number[]): Row {
    if (this.#tick !== this.#batch.tick) {
      this.#tick = this.#batch.tick
      this.#rows.clear()
    }
    const name = `${keys.join(' ')} ${costs.join(' ')}`
    const known = this.#rows.get(name)
    if (known !== undefined) return known
    const row = new Row(this.#batch, keys, quotas, costs)
    this.#rows.set(name, row)
    return row
  }
}

/** Who stood before others in the row has seen more units left than they. */
function standing ({ granted, standings }: Grants, place: number, costs: readonly number[]): Taken {
  if (place > granted) return { isAllowed: false, standings }
  const after = granted - place
  return { isAllowed: true, standings: after === 0 ? standings : standings.map((each, index) => ({ ...each, remaining: each.remaining + after * (costs[index] ?? 1) })) }
}
