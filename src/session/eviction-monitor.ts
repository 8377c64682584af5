import { RedisReplyError } from '../shared/errors.ts'
import { mayEvictSessions } from '../redis/health/memory-info.ts'
import type { MemoryInfo } from '../redis/health/memory-info.ts'

/** What the log tells about the server's memory. */
interface EvictionFacts {
  readonly policy: string
  readonly maxmemoryBytes: number
  /** since the start of the server */
  readonly evictedKeys: number
  /** since the previous check */
  readonly evictedSince: number
}

/** Callbacks of the monitor. */
interface EvictionMonitorOptions {
  readonly readMemory: () => Promise<MemoryInfo>
  /** called with the number of keys evicted since the previous check */
  readonly count: (evictedKeys: number) => void
  /** called at the start, when the risk changes, and when keys have been evicted */
  readonly warn: (facts: EvictionFacts, text: string) => void
}

const checkEveryMs = 60_000
const retryMs = 1000
/** A reading of this age is recent enough for a check: the cache reads memory more often. */
export const maxReadingAgeMs = 30_000
const advice = 'use a separate server for sessions (option session.redis; the service reads SESSION_REDIS_URL), or set maxmemory with the policy volatile-ttl, which evicts rate-limit counters before sessions'

/** Checks at the start and every minute whether the server may evict sessions: an evicted session signs its user out. */
export class EvictionMonitor {
  readonly #options: EvictionMonitorOptions
  readonly #timer: NodeJS.Timeout
  /** by server: in a Cluster each reading is one master's */
  readonly #evictedKeys = new Map<string, number>()
  #isClosed = false
  #retry: NodeJS.Timeout | undefined
  #checkedAt: number | undefined
  #risk: string | undefined

  constructor (options: EvictionMonitorOptions) {
    this.#options = options
    this.#timer = setInterval(() => this.check(), checkEveryMs).unref()
    this.check()
  }

  /** Checks immediately; never rejects. */
  async check (): Promise<void> {
    clearTimeout(this.#retry)
    // The outage itself is reported elsewhere; the check is repeated soon, but not where the server denies INFO.
    const memory = await this.#options.readMemory().catch((error: unknown) => { if (!(error instanceof RedisReplyError)) this.#retrySoon() })
    if (memory === undefined) return
    const evictedSince = this.#count(memory)
    const risk = riskOf(memory)
    const isNews = this.#checkedAt === undefined || risk !== this.#risk || evictedSince > 0
    this.#checkedAt = performance.now()
    this.#risk = risk
    const { policy, limitBytes: maxmemoryBytes, evictedKeys } = memory
    if (risk !== undefined && isNews) this.#options.warn({ policy, maxmemoryBytes, evictedKeys, evictedSince }, `Redis may evict sessions (${risk}): ${advice}`)
  }

  close (): void {
    this.#isClosed = true
    clearTimeout(this.#retry)
    clearInterval(this.#timer)
  }

  #retrySoon (): void {
    if (!this.#isClosed) this.#retry = setTimeout(() => this.check(), retryMs).unref()
  }

  /** Counts evictions since the previous reading of the server; of a server that started after the previous check, all of them. */
  #count ({ server, uptimeSeconds, evictedKeys }: MemoryInfo): number {
    const startedSince = this.#checkedAt !== undefined && uptimeSeconds * 1000 < performance.now() - this.#checkedAt
    const before = this.#evictedKeys.get(server) ?? (startedSince ? 0 : evictedKeys)
    this.#evictedKeys.set(server, evictedKeys)
    // CONFIG RESETSTAT sets the counter to 0.
    const since = evictedKeys >= before ? evictedKeys - before : evictedKeys
    if (since > 0) this.#options.count(since)
    return since
  }
}

function riskOf ({ policy, limitBytes }: MemoryInfo): string | undefined {
  if (limitBytes === 0) return 'no maxmemory: when memory is full, the operating system kills the server and all sessions are lost'
  return mayEvictSessions(policy) ? `maxmemory-policy ${policy}` : undefined
}
