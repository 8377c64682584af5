/** What a server says of its memory. */
export interface MemoryStatus {
  /** `noeviction`, `allkeys-lru`, … */
  readonly policy: string
  /** 0 when no limit is set */
  readonly maxmemoryBytes: number
  /** since the server's start */
  readonly evictedKeys: number
}

/** What the watch needs. */
export interface EvictionMonitorOptions {
  /** the reply to `INFO` */
  info: () => Promise<string>
  /** told how many keys were evicted since the last look */
  count: (evictedKeys: number) => void
  /** told at the start, when the risk changes, and when keys were evicted since */
  warn: (facts: MemoryStatus & { evictedSince: number }, text: string) => void
}

const checkEveryMs = 60_000
const retryMs = 1000
const keepsSessions = new Set(['noeviction', 'volatile-ttl'])
const advice = 'give them a server of their own (option session.redis; the service reads SESSION_REDIS_URL), or set maxmemory and the policy volatile-ttl, which keeps sessions and loses rate counters first'

/** Looks, at the start and each minute, whether the server may evict sessions: whoever is evicted is signed out. */
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

  /** Looks now; never rejects. */
  async check (): Promise<void> {
    clearTimeout(this.#retry)
    // That a server is away is another's to tell; what it is like is not known then, and is asked again soon.
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

  /** A server that was started anew counts from 0. */
  #count ({ evictedKeys }: MemoryStatus): number {
    if (this.#last === undefined) return 0
    const since = evictedKeys >= this.#last.evictedKeys ? evictedKeys - this.#last.evictedKeys : evictedKeys
    if (since > 0) this.#options.count(since)
    return since
  }
}

/** Reads what matters here from `INFO`. */
export function readPressure (info: string): MemoryStatus {
  const field = (name: string) => new RegExp(`^${name}:(.*?)\r?$`, 'm').exec(info)?.[1] ?? ''
  return { policy: field('maxmemory_policy'), maxmemoryBytes: Number(field('maxmemory')), evictedKeys: Number(field('evicted_keys')) }
}

function riskOf ({ policy, maxmemoryBytes }: MemoryStatus): string | undefined {
  if (maxmemoryBytes === 0) return 'no maxmemory: when memory is full the system ends the server, and all sessions with it'
  return keepsSessions.has(policy) ? undefined : `maxmemory-policy ${policy}`
}
