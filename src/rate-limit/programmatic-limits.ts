import { addressGroup, bareAddress } from '../http/ip-subnet.ts'
import { readRecord, readString, invalidOption } from '../shared/option-readers.ts'
import type { Keys } from '../redis/keys.ts'
import type { Limiter } from './limiter.ts'
import { customPartition, keyPartition } from './partition.ts'
import { resolvePolicy } from './options.ts'
import type { LimitChoice } from './options.ts'
import type { PublishedQuotas } from './published-quotas.ts'
import { quotaCostOf } from './quota.ts'
import type { RequestDecision } from './decision.ts'

/** A quota for something other than requests: mails of a user, jobs of a tenant. */
export interface NamedQuota extends Pick<LimitChoice<never, never>, 'window' | 'algorithm' | 'burst' | 'failureMode'> {
  /** names the counter; routes whose `group` has this name share it */
  name: string
  quota: number
  /** units to consume; default 1 */
  cost?: number
}

const quotaOptions = ['name', 'quota', 'cost', 'window', 'algorithm', 'burst', 'failureMode']

/** The result of a check. */
export interface Checked {
  readonly isAllowed: boolean
  /** units left; undefined if unknown because Redis is unavailable */
  readonly remaining: number | undefined
  readonly resetMs: number | undefined
  /** milliseconds until the same fits; 0 when it fits now */
  readonly retryMs: number
}

/** Declared counters of a partition: see {@link RouteLimits.keysOf}. */
interface Declared {
  keysOf (kind: string, id: string, sessionKey?: string): readonly string[]
}

/**
 * Checks quotas from code. A partition is `ip:<address>`, `user:<id>`, `key:<API key>`, or any other text, as a `by` function would return it.
 */
export class ProgrammaticLimits {
  #limiter: Limiter
  #keys: Keys
  #declared: Iterable<Declared>
  #names = new Set<string>()
  #quotas: Pick<PublishedQuotas, 'addNamed'> | undefined
  /** bits of an IPv6 address that identify a client */
  readonly ipv6Subnet: number

  constructor (limiter: Limiter, keys: Keys, declared: Iterable<Declared>, prefixBits: number, quotas?: Pick<PublishedQuotas, 'addNamed'>) {
    this.#quotas = quotas
    this.#limiter = limiter
    this.#keys = keys
    this.#declared = declared
    this.ipv6Subnet = prefixBits
  }

  /**
   * Consumes units of a quota, or rejects.
   *
   * @throws {OptionError} PRISM_ERR_OPTION; {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE where `failureMode` is `closed`
   */
  async check (partition: string, quota: NamedQuota): Promise<Checked> {
    const { key, cost, failure } = this.#read(partition, quota)
    return checked(await this.#limiter.check({ name: `${key} ${cost.text}`, keys: [key], costs: [cost], failureModes: [failure] }).promise())
  }

  /** Returns what {@link check} would, and consumes nothing. @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE */
  async peek (partition: string, quota: NamedQuota): Promise<Checked> {
    const { key, cost } = this.#read(partition, quota)
    return checked(await this.#limiter.store.peek({ keys: [key], costs: [cost] }))
  }

  /**
   * Deletes all counters of a partition, of all routes and quotas known to this process.
   * A process whose deny cache rejects the partition verifies that within 10 s.
   *
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE
   */
  async reset (partition: string): Promise<void> {
    const target = this.#find(partition)
    const keys = [...this.#declared].flatMap((each) => each.keysOf(...target))
    const named = [...this.#names].map((name) => this.#keys.rateLimit(name)(...target))
    await this.#limiter.reset([...new Set([...keys, ...named])])
  }

  #read (partition: string, options: NamedQuota) {
    const { name, ...choice } = readRecord('rateLimit', options, quotaOptions) as unknown as NamedQuota
    const { quota, failureMode: failure, group = '', cost } = resolvePolicy({ ...choice, group: readString('name', name) }, 'rateLimit')
    this.#names.add(group)
    this.#quotas?.addNamed(group, { name: group, quota })
    return { key: this.#keys.rateLimit(group)(...this.#find(partition)), cost: quotaCostOf(quota, Number(cost)), failure }
  }

  #find (partition: string): [kind: string, id: string, sessionKey?: string] {
    const [, kind, id = ''] = /^(ip|user|key):(.+)$/s.exec(readString('partition', partition)) ?? []
    if (kind === 'user') return [kind, id, this.#keys.userSession(id)]
    if (kind === 'key') return [kind, keyPartition(id).id]
    if (kind === 'ip') return [kind, addressGroup(bareAddress(id), this.ipv6Subnet) ?? invalidOption('partition', 'an address after ip:', id)]
    return ['custom', customPartition(partition).id]
  }
}

function checked ({ isAllowed, statuses: [status], failure }: RequestDecision): Checked {
  if (failure !== undefined) throw failure
  return { isAllowed, remaining: status?.remaining, resetMs: status?.resetMs, retryMs: status?.retryMs ?? 0 }
}
