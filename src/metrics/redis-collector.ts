import { randomBytes } from 'node:crypto'
import type { Batch } from '../redis/batch/batch.ts'
import type { Keys } from '../redis/keys.ts'
import { Script } from '../redis/batch/script.ts'
import { memoryLimit, memoryOther, readInfo, readKeyCount, readLatencies, redisFigures, worstLatencies } from './redis-info.ts'
import type { CommandLatency, Info } from './redis-info.ts'
import { nodesOf } from './redis-nodes.ts'
import type { RedisNode, Servers } from './redis-nodes.ts'
import { KeyspaceSampler } from './keyspace-sampler.ts'
import type { NamespaceFigures } from './keyspace-sampler.ts'

/** What one server said of itself. */
export interface NodeSample {
  /** `host:port` in a Cluster; '' for the only one */
  readonly node: string
  /** by the names of `redisFigures` */
  readonly figures: Readonly<Record<string, number>>
  readonly version: string
  readonly role: string
  readonly memoryPolicy: string
  readonly slowLogLength: number
}

/** What Redis said of itself, as one process saw it for all. */
export interface Sample {
  /** milliseconds since 1970 */
  readonly at: number
  /** the only server, or each of a Cluster's masters that answered */
  readonly nodes: readonly NodeSample[]
  /** a Cluster's masters that did not answer */
  readonly silent: number
  readonly latencies: readonly CommandLatency[]
  readonly namespaces: readonly NamespaceFigures[]
}

/** How Redis is looked at. */
export interface RedisCollectorOptions {
  readonly everyMs: number
  /** bytes that a server may use which names no `maxmemory`; undefined: unknown */
  readonly memoryLimitBytes?: number | undefined
}

const lease = new Script<boolean>({ url: new URL('./lease.lua', import.meta.url), costMicroseconds: 5, read: (reply) => reply === 1 })

/**
 * Looks at Redis for all processes: one of them holds a lease and asks, the others read what it saw.
 * While Redis is away the last holder stays the one who speaks of it, so that one message leaves and not one a process.
 */
export class RedisCollector {
  readonly name = randomBytes(6).toString('base64url')
  readonly #servers: Servers
  readonly #batch: Batch
  readonly #keys: Keys
  readonly #everyMs: number
  readonly #memoryLimitBytes: number | undefined
  readonly #sampler: KeyspaceSampler
  #isLeader = true
  #sample: Sample | undefined
  #isUp = false

  constructor (pool: Servers & { readonly batch: Batch, readonly keyspace: Keys }, { everyMs, memoryLimitBytes }: RedisCollectorOptions) {
    this.#servers = pool
    this.#batch = pool.batch
    this.#keys = pool.keyspace
    this.#everyMs = everyMs
    this.#memoryLimitBytes = memoryLimitBytes
    this.#sampler = new KeyspaceSampler(pool.keyspace)
  }

  /** Whether this process speaks for all: it holds the lease, or did when Redis was last asked, or has never been able to ask. */
  get isLeader (): boolean {
    return this.#isLeader
  }

  /** Whether the last look was answered, in a Cluster by every master. */
  get isUp (): boolean {
    return this.#isUp
  }

  /** What was seen last; undefined before, and when that is long ago. */
  get sample (): Sample | undefined {
    return this.#sample !== undefined && Date.now() - this.#sample.at < 6 * this.#everyMs ? this.#sample : undefined
  }

  /** Looks once; never rejects. */
  async collect (): Promise<void> {
    const [isHolder, seen] = await Promise.all([
      this.#takeLease(),
      this.#batch.get(this.#keys.metricsSample(), 'background').catch(() => undefined)
    ])
    if (isHolder === false && seen !== undefined) {
      this.#isLeader = false
      this.#isUp = true
      return this.#take(seen)
    }
    this.#isLeader = isHolder ?? await this.#wasHolder()
    this.#isUp = await this.#observe().catch(() => false) // told by `isUp`, and by the pool to the log
  }

  /** @returns undefined where the lease cannot be written: Redis is away, full, a replica, or denies it. Then each process looks for itself. */
  async #takeLease (): Promise<boolean | undefined> {
    const leaseMs = Math.ceil(2.4 * this.#everyMs)
    return await this.#batch.runScript(lease, [this.#keys.metricsLease()], [this.name, leaseMs], 'background').catch(() => undefined)
  }

  /** Where nothing can be written, the lease may still be read: another process may hold it. */
  async #wasHolder (): Promise<boolean> {
    const holder = await this.#batch.get(this.#keys.metricsLease(), 'background').catch(() => null)
    return holder === null ? this.#isLeader : holder.toString() === this.name
  }

  /** What another process saw; one of another version may write it otherwise. */
  #take (seen: Buffer | null): void {
    const sample = seen === null ? undefined : JSON.parse(seen.toString()) as Partial<Sample>
    if (Array.isArray(sample?.nodes)) this.#sample = sample as Sample
  }

  /** @returns whether every server answered; one that denies INFO has answered */
  async #observe (): Promise<boolean> {
    const nodes = nodesOf(this.#servers)
    const looks = await Promise.all(nodes.map((node) => this.#ask(node).catch((error: Error) => /\bNOPERM\b/.test(error.message) ? 'denied' as const : undefined)))
    const answered = looks.filter((look) => look !== undefined && look !== 'denied')
    if (answered.length === 0) return looks.includes('denied') && !looks.includes(undefined)
    // A server may forbid what the survey needs: then its figures stay at nothing.
    await this.#sampler.step(nodes).catch(() => {})
    this.#sample = this.#sampleOf(answered, nodes.length - answered.length)
    await this.#batch.command('set', [this.#keys.metricsSample(), JSON.stringify(this.#sample), 'PX', 6 * this.#everyMs], 'background').catch(() => {}) // the others look again
    return answered.length === nodes.length
  }

  #sampleOf (answered: readonly { info: Info, sample: NodeSample }[], silent: number): Sample {
    const keys = answered.reduce((sum, { info }) => sum + readKeyCount(info), 0)
    const namespaces = this.#sampler.figures(keys)
    const cacheBytes = namespaces.find(({ namespace }) => namespace === 'cache')?.bytes ?? 0
    return {
      at: Date.now(),
      nodes: answered.map(({ info, sample }) => withOtherMemory(sample, cacheBytes * readKeyCount(info) / Math.max(1, keys))),
      silent,
      latencies: worstLatencies(answered.map(({ info }) => readLatencies(info))),
      namespaces
    }
  }

  async #ask (node: RedisNode): Promise<{ info: Info, sample: NodeSample }> {
    const [text, slowLogLength] = await Promise.all([node.command('info', ['everything']), node.command('slowlog', ['LEN']).catch(() => 0)])
    const info = readInfo(String(text))
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
        slowLogLength: Number(slowLogLength)
      }
    }
  }
}

/** The cache fills memory up to a mark and gives it back: only what is not its own can become too much. */
function withOtherMemory (sample: NodeSample, cacheBytes: number): NodeSample {
  const { redis_memory_used_bytes: used } = sample.figures
  return used === undefined ? sample : { ...sample, figures: { ...sample.figures, [memoryOther]: Math.max(0, used - cacheBytes) } }
}
