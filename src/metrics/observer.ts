import { randomBytes } from 'node:crypto'
import type { Batch } from '../redis/batch.ts'
import type { Keys } from '../redis/keys.ts'
import { Script } from '../redis/script.ts'
import { readInfo, readKeyCount, readLatencies, redisFigures } from './info.ts'
import type { CommandLatency } from './info.ts'
import { Survey } from './survey.ts'
import type { NamespaceFigures } from './survey.ts'

/** What Redis said of itself, as one process saw it for all. */
export interface Sample {
  /** milliseconds since 1970 */
  readonly at: number
  /** by the names of `redisFigures` */
  readonly figures: Readonly<Record<string, number>>
  readonly version: string
  readonly role: string
  readonly memoryPolicy: string
  readonly slowLogLength: number
  readonly latencies: readonly CommandLatency[]
  readonly namespaces: readonly NamespaceFigures[]
}

const lease = new Script<boolean>({ url: new URL('./lease.lua', import.meta.url), costMicroseconds: 5, read: (reply) => reply === 1 })

/**
 * Looks at Redis for all processes: one of them holds a lease and asks, the others read what it saw.
 * While Redis is away the last holder stays the one who speaks of it, so that one message leaves and not one a process.
 */
export class Observer {
  readonly name = randomBytes(6).toString('base64url')
  readonly #batch: Batch
  readonly #keys: Keys
  readonly #everyMs: number
  readonly #survey: Survey
  #isHolder = true
  #sample: Sample | undefined
  #isUp = false

  constructor (batch: Batch, keys: Keys, everyMs: number) {
    this.#batch = batch
    this.#keys = keys
    this.#everyMs = everyMs
    this.#survey = new Survey(batch, keys)
  }

  /** Whether this process speaks for all: it holds the lease, or did when Redis was last asked, or has never been able to ask. */
  get isHolder (): boolean {
    return this.#isHolder
  }

  /** Whether the last look was answered. */
  get isUp (): boolean {
    return this.#isUp
  }

  /** What was seen last; undefined before, and when that is long ago. */
  get sample (): Sample | undefined {
    return this.#sample !== undefined && Date.now() - this.#sample.at < 6 * this.#everyMs ? this.#sample : undefined
  }

  /** Looks once; never rejects. */
  async look (): Promise<void> {
    try {
      const leaseMs = Math.ceil(2.4 * this.#everyMs)
      const [isHolder, seen] = await Promise.all([
        this.#batch.ask(lease, [this.#keys.metricsLease()], [this.name, leaseMs], 'background'),
        this.#batch.read(this.#keys.metricsSample(), 'background')
      ])
      this.#isHolder = isHolder
      this.#isUp = true
      if (isHolder) await this.#observe()
      else if (seen !== null) this.#sample = JSON.parse(seen.toString()) as Sample
    } catch {
      this.#isUp = false // Told by `isUp`, and by the pool to the log.
    }
  }

  async #observe (): Promise<void> {
    const [text, slowLogLength] = await Promise.all([this.#batch.command('info', ['everything'], 'background'), this.#batch.command('slowlog', ['LEN'], 'background').catch(() => 0)])
    // A server may forbid what the survey needs: then its figures stay at nothing.
    await this.#survey.step().catch(() => {})
    const info = readInfo(String(text))
    const figures = redisFigures.map(({ name, read }) => [name, read(info)] as const).filter(([, value]) => !Number.isNaN(value))
    this.#sample = {
      at: Date.now(),
      figures: Object.fromEntries(figures),
      version: info.get('redis_version') ?? '',
      role: info.get('role') ?? '',
      memoryPolicy: info.get('maxmemory_policy') ?? '',
      slowLogLength: Number(slowLogLength),
      latencies: readLatencies(info),
      namespaces: this.#survey.figures(readKeyCount(info))
    }
    await this.#batch.command('set', [this.#keys.metricsSample(), JSON.stringify(this.#sample), 'PX', 6 * this.#everyMs], 'background').catch(() => {}) // the others look again
  }
}
