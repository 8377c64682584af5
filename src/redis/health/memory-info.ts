import { parseInfo } from './server-info.ts'
import type { InfoFields } from './server-info.ts'

/** Memory of one Redis server. */
export interface MemoryInfo {
  /** `run_id` */
  readonly server: string
  readonly uptimeSeconds: number
  /** as Redis counts it for `maxmemory`: without the buffers that it does not count for eviction */
  readonly usedBytes: number
  /** `maxmemory`; 0 without a limit */
  readonly limitBytes: number
  /** `maxmemory-policy`: `noeviction`, `allkeys-lru`, … */
  readonly policy: string
  /** since the start of the server */
  readonly evictedKeys: number
  /** connections of all clients */
  readonly clients: number
}

/**
 * Shares of `maxmemory`, the same for the cache, the doctor and the alerts. The order leaves memory for what the cache must not evict: between
 * `critical`, down to which the cache evicts its entries, and `full`, there is room for sessions and counters that grow between two readings.
 */
export const memoryThresholds = {
  /** above: only responses requested at least twice are stored */
  high: 0.8,
  /** above: the cache evicts its entries */
  critical: 0.85,
  /** above: the cache stores nothing */
  full: 0.9
} as const

/** The sections of `INFO` that {@link readMemoryInfo} uses. */
const sections = ['server', 'clients', 'memory', 'stats']

export function readMemoryInfo (info: InfoFields): MemoryInfo {
  const number = (name: string) => Number(info.get(name) ?? 0)
  return {
    server: info.get('run_id') ?? '',
    uptimeSeconds: number('uptime_in_seconds'),
    usedBytes: number('used_memory') - number('mem_not_counted_for_evict'),
    limitBytes: number('maxmemory'),
    policy: info.get('maxmemory_policy') ?? '',
    evictedKeys: number('evicted_keys'),
    clients: number('connected_clients')
  }
}

/** Used share of `maxmemory`; 0 without a limit. */
export function usedShareOf ({ usedBytes, limitBytes }: Pick<MemoryInfo, 'usedBytes' | 'limitBytes'>): number {
  return limitBytes > 0 ? usedBytes / limitBytes : 0
}

/** Whether a `maxmemory-policy` may evict a session although shorter-lived keys are left. False where the policy is not known. */
export function mayEvictSessions (policy: string): boolean {
  return !['', 'noeviction', 'volatile-ttl'].includes(policy)
}

/** Reads the memory of the server for all parts of a process that use one pool; in a Cluster, of one master a reading. */
export class MemoryReader {
  readonly #info: (sections: readonly string[]) => Promise<unknown>
  #latest: Promise<MemoryInfo> | undefined
  #sentAt = -Infinity

  /** @param info sends `INFO` */
  constructor (info: (sections: readonly string[]) => Promise<unknown>) {
    this.#info = info
  }

  /**
   * @param maxAgeMs returns the latest reading, also a pending one, if it was sent within this time; default 0: sends a new one
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE; {RedisReplyError} for an error of the server
   */
  read (maxAgeMs = 0): Promise<MemoryInfo> {
    if (this.#latest !== undefined && performance.now() - this.#sentAt < maxAgeMs) return this.#latest
    const reading = this.#info(sections).then((text) => readMemoryInfo(parseInfo(String(text))))
    this.#latest = reading
    this.#sentAt = performance.now()
    // A failed reading is not reused; its caller handles the error.
    reading.catch(() => { if (this.#latest === reading) this.#latest = undefined })
    return reading
  }
}
