/** Memory settings and counters of a Redis server. */
export interface MemoryStatus {
  /** `noeviction`, `allkeys-lru`, … */
  readonly policy: string
  /** 0: no limit */
  readonly maxmemoryBytes: number
  /** since the start of the server */
  readonly evictedKeys: number
}

/** Callbacks of the monitor. */
export interface EvictionMonitorOptions {
  /** returns the reply of `INFO` */
  info: () => Promise<string>
  /** called with the number of keys evicted since the previous check */
  count: (evictedKeys: number) => void
  /** called at the start, when the risk changes, and when keys have been evicted */
  warn: (facts: MemoryStatus & { evictedSince: number }, text: string) => void
}

const checkEveryMs = 60_000
const retryMs = 1000
const safePolicies = new Set(['noeviction', 'volatile-ttl'])
const advice = 'use a separate server for sessions (option session.redis; the service reads SESSION_REDIS_URL), or set maxmemory with the policy volatile-ttl, which evicts rate-limit counters before sessions'

/** Checks at the start and every minute whether the server may evict sessions: an evicted session signs its user out. */
export class EvictionMonitor {
  readonly #options: EvictionMonitorOptions
  readonly #timer: NodeJS.Timeout
  #isClosed = false
  #retry: NodeJS.Timeout | undefined
  #last: MemoryStatus | undefined

  constructor (options: EvictionMonitorOptions) {
    this.#options = options
    this.#timer = setInterval(() => this.check(), checkEveryMs).unref()
    this.check()
  }

  /** Checks immediately; never rejects. */
  async check (): Promise<void> {
    clearTimeout(this.#retry)
    // The outage itself is reported elsewhere; the check is repeated soon.
    const text = await this.#options.info().catch(() => undefined)
    if (text === undefined) return this.#retrySoon()
    const now = readPressure(text)
    const evictedSince = this.#count(now)
    const risk = riskOf(now)
    const isNews = this.#last === undefined || risk !== riskOf(this.#last) || evictedSince > 0
    this.#last = now
    if (risk !== undefined && isNews) this.#options.warn({ ...now, evictedSince }, `Redis may evict sessions (${risk}): ${advice}`)
  }

  close (): void {
    this.#isClosed = true
    clearTimeout(this.#retry)
    clearInterval(this.#timer)
  }

  #retrySoon (): void {
    if (!this.#isClosed) this.#retry = setTimeout(() => this.check(), retryMs).unref()
  }

  /** A restarted server counts from 0. */
  #count ({ evictedKeys }: MemoryStatus): number {
    if (this.#last === undefined) return 0
    const since = evictedKeys >= this.#last.evictedKeys ? evictedKeys - this.#last.evictedKeys : evictedKeys
    if (since > 0) this.#options.count(since)
    return since
  }
}

/** Parses the memory fields of an `INFO` reply. */
export function readPressure (info: string): MemoryStatus {
  const field = (name: string) => new RegExp(`^${name}:(.*?)\r?$`, 'm').exec(info)?.[1] ?? ''
  return { policy: field('maxmemory_policy'), maxmemoryBytes: Number(field('maxmemory')), evictedKeys: Number(field('evicted_keys')) }
}

function riskOf ({ policy, maxmemoryBytes }: MemoryStatus): string | undefined {
  if (maxmemoryBytes === 0) return 'no maxmemory: when memory is full, the operating system kills the server and all sessions are lost'
  return safePolicies.has(policy) ? undefined : `maxmemory-policy ${policy}`
}
