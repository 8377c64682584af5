import { randomBytes } from 'node:crypto'
import type { Batch } from '../redis/batch/batch.ts'
import type { Keys } from '../redis/keys.ts'
import { Script } from '../redis/batch/script.ts'
import { parseInfo } from '../redis/health/server-info.ts'
import type { InfoFields } from '../redis/health/server-info.ts'
import { memoryLimit, memoryOther, readKeyCount, readLatencies, redisFigures, worstLatencies } from './redis-info.ts'
import type { CommandLatency } from './redis-info.ts'
import { nodesOf } from './redis-nodes.ts'
import type { RedisNode, Servers } from './redis-nodes.ts'
import { readSlowLog } from './slow-log.ts'
import type { SlowLog } from './slow-log.ts'
import { KeyspaceSampler } from './keyspace-sampler.ts'
import type { NamespaceFigures } from './keyspace-sampler.ts'

export type { SlowLog } from './slow-log.ts'

/** Figures of one Redis server. */
export interface NodeSample {
  /** `host:port` in a Cluster; '' for a single server */
  readonly node: string
  /** by the names of `redisFigures` */
  readonly figures: Readonly<Record<string, number>>
  readonly version: string
  readonly role: string
  readonly memoryPolicy: string
  readonly slowLogLength: number
  /** missing in a sample of an older version */
  readonly slowLog?: SlowLog
}

/** Figures of Redis, collected by one process for all. */
export interface Sample {
  /** milliseconds since 1970 */
  readonly at: number
  /** the server, or the Cluster masters that replied */
  readonly nodes: readonly NodeSample[]
  /** number of Cluster masters that did not reply */
  readonly silent: number
  readonly latencies: readonly CommandLatency[]
  readonly namespaces: readonly NamespaceFigures[]
}

/** Options of the collection. */
interface RedisCollectorOptions {
  readonly everyMs: number
  /** memory limit in bytes of a server without `maxmemory`; undefined: unknown */
  readonly memoryLimitBytes?: number | undefined
}

const lease = new Script<boolean>({ url: new URL('./lease.lua', import.meta.url), costMicroseconds: 5, read: (reply) => reply === 1 })

/**
 * Collects the figures of Redis for all processes: the leader, which holds a lease, collects and stores them; the others read the stored sample.
 * While Redis is unavailable the last leader stays the leader, so that one alert is sent instead of one per process.
 */
export class RedisCollector {
  readonly name = randomBytes(6).toString('base64url')
  readonly #servers: Servers & { readonly isCircuitOpen: boolean }
  readonly #batch: Batch
  readonly #keys: Keys
  readonly #everyMs: number
  readonly #memoryLimitBytes: number | undefined
  readonly #sampler: KeyspaceSampler
  #isLeader = true
  #sample: Sample | undefined
  #isUp = false

  constructor (pool: Servers & { readonly batch: Batch, readonly keyspace: Keys, readonly isCircuitOpen: boolean }, { everyMs, memoryLimitBytes }: RedisCollectorOptions) {
    this.#servers = pool
    this.#batch = pool.batch
    this.#keys = pool.keyspace
    this.#everyMs = everyMs
    this.#memoryLimitBytes = memoryLimitBytes
    this.#sampler = new KeyspaceSampler(pool.keyspace)
  }

  /** Whether this process holds the lease, held it when Redis last replied, or has never reached Redis. */
  get isLeader (): boolean {
    return this.#isLeader
  }

  /** Whether the last collection succeeded, and no circuit breaker is open: ioredis lists a dead master of a Cluster at times only. */
  get isUp (): boolean {
    return this.#isUp && !this.#servers.isCircuitOpen
  }

  /** Latest sample; undefined before the first, and when it is older than six intervals. */
  get sample (): Sample | undefined {
    return this.#sample !== undefined && Date.now() - this.#sample.at < 6 * this.#everyMs ? this.#sample : undefined
  }

  /** Collects once; never rejects. */
  async collect (): Promise<void> {
    const [holdsLease, seen] = await Promise.all([
      this.#acquireLease(),
      this.#batch.get(this.#keys.metricsSample(), 'background').catch(() => undefined)
    ])
    if (holdsLease === false && seen !== undefined) {
      this.#isLeader = false
      this.#isUp = true
      return this.#useSample(seen)
    }
    this.#isLeader = holdsLease ?? await this.#wasLeader()
    this.#isUp = await this.#collectNodes().catch(() => false) // reported by `isUp`, and logged by the pool
  }

  /** @returns undefined if the lease cannot be written: Redis is unavailable, full, a replica, or an ACL denies it. Each process then collects for itself. */
  async #acquireLease (): Promise<boolean | undefined> {
    const leaseMs = Math.ceil(2.4 * this.#everyMs)
    return await this.#batch.runScript(lease, [this.#keys.metricsLease()], [this.name, leaseMs], 'background').catch(() => undefined)
  }

  /** If the lease cannot be written it may still be readable, and name another process. */
  async #wasLeader (): Promise<boolean> {
    const holder = await this.#batch.get(this.#keys.metricsLease(), 'background').catch(() => null)
    return holder === null ? this.#isLeader : holder.toString() === this.name
  }

  /** Uses the leader's sample. A leader of another version may store another format. */
  #useSample (seen: Buffer | null): void {
    const sample = seen === null ? undefined : JSON.parse(seen.toString()) as Partial<Sample>
    if (Array.isArray(sample?.nodes)) this.#sample = sample as Sample
  }

  /** @returns whether every server replied; an ACL error for INFO counts as a reply */
  async #collectNodes (): Promise<boolean> {
    const nodes = nodesOf(this.#servers)
    const looks = await Promise.all(nodes.map((node) => this.#readNode(node).catch((error: Error) => /\bNOPERM\b/.test(error.message) ? 'denied' as const : undefined)))
    const replied = looks.filter((look) => look !== undefined && look !== 'denied')
    if (replied.length === 0) return looks.includes('denied') && !looks.includes(undefined)
    // An ACL may deny the sampler's commands: the keyspace figures then stay 0.
    await this.#sampler.step(nodes).catch(() => {})
    this.#sample = this.#sampleOf(replied, nodes.length - replied.length)
    await this.#batch.command('set', [this.#keys.metricsSample(), JSON.stringify(this.#sample), 'PX', 6 * this.#everyMs], 'background').catch(() => {}) // the other processes collect for themselves
    return replied.length === nodes.length
  }

  #sampleOf (replied: readonly { info: InfoFields, sample: NodeSample }[], silent: number): Sample {
    const keys = replied.reduce((sum, { info }) => sum + readKeyCount(info), 0)
    const namespaces = this.#sampler.figures(keys)
    const cacheBytes = namespaces.find(({ namespace }) => namespace === 'cache')?.bytes ?? 0
    return {
      at: Date.now(),
      nodes: replied.map(({ info, sample }) => withOtherMemory(sample, cacheBytes * readKeyCount(info) / Math.max(1, keys))),
      silent,
      latencies: worstLatencies(replied.map(({ info }) => readLatencies(info))),
      namespaces
    }
  }

  async #readNode (node: RedisNode): Promise<{ info: InfoFields, sample: NodeSample }> {
    const [text, slowLogLength, slowLog] = await Promise.all([node.command('info', ['everything']), node.command('slowlog', ['LEN']).catch(() => 0), readSlowLog(node, this.#keys)])
    const info = parseInfo(String(text))
    const figures = Object.fromEntries(redisFigures.map(({ name, read }) => [name, read(info)] as const).filter(([, value]) => !Number.isNaN(value)))
    const limit = figures.redis_memory_max_bytes || this.#memoryLimitBytes
    return {
      info,
      sample: {
        node: node.name,
        figures: limit === undefined ? figures : { ...figures, [memoryLimit]: limit },
        version: info.get('redis_version') ?? '',
        role: info.get('role') ?? '',
        memoryPolicy: info.get('maxmemory_policy') ?? '',
        slowLogLength: Number(slowLogLength),
        slowLog
      }
    }
  }
}

/** The cache evicts its entries under memory pressure: only other memory can exceed the limit. */
function withOtherMemory (sample: NodeSample, cacheBytes: number): NodeSample {
  const { redis_memory_used_bytes: used } = sample.figures
  return used === undefined ? sample : { ...sample, figures: { ...sample.figures, [memoryOther]: Math.max(0, used - cacheBytes) } }
}
