import type { UnreachableReason } from '../redis/health/unreachable-reason.ts'
import type { Sample } from './redis-collector.ts'
import type { CacheOutcome } from './requests.ts'

/** Counters and gauges of one process and of Redis at one moment. Counters start at 0 with the process; a rate needs two snapshots. */
export interface MetricsSnapshot {
  /** milliseconds since 1970 */
  readonly at: number
  readonly counts: Readonly<Record<SnapshotCount, number>>
  /** requests by cache outcome */
  readonly outcomes: Readonly<Record<CacheOutcome, number>>
  /** see `Histogram`: bucket counts of requests and of round trips; `quantile` reads them */
  readonly durations: readonly number[]
  readonly roundTrips: readonly number[]
  readonly pool: { readonly connections: number, readonly inFlight: number, readonly isCircuitOpen: boolean }
  readonly live: { readonly websocket: number, readonly stream: number }
  /** whether the last collection from Redis succeeded */
  readonly isRedisUp: boolean
  /** why Redis, or the sessions' dedicated Redis, is unusable; undefined while it is usable */
  readonly unusable: { readonly redis: UnreachableReason | undefined, readonly sessions: UnreachableReason | undefined }
  readonly redis: Sample | undefined
  /** undefined: unknown */
  readonly areSessionsEvictable: boolean | undefined
}

/** Names of the counters. */
export type SnapshotCount = 'requests' | 'rejected' | 'failed' | 'hit' | 'stale' | 'miss' | 'bypass' | 'published' | 'delivered' | 'timeouts' | 'lost' | 'exhausted'

/** Ring of the latest snapshots. */
export class History {
  readonly #capacity: number
  #snapshots: MetricsSnapshot[] = []

  /** @param capacity maximum number of snapshots */
  constructor (capacity: number) {
    this.#capacity = capacity
  }

  add (snapshot: MetricsSnapshot): void {
    this.#snapshots.push(snapshot)
    if (this.#snapshots.length > this.#capacity) this.#snapshots.shift()
  }

  get all (): readonly MetricsSnapshot[] {
    return this.#snapshots
  }

  get last (): MetricsSnapshot | undefined {
    return this.#snapshots.at(-1)
  }

  /** @returns the latest snapshot and the one `seconds` before it, or the oldest; undefined with fewer than two snapshots */
  window (seconds: number): readonly [from: MetricsSnapshot, to: MetricsSnapshot] | undefined {
    const to = this.last
    if (to === undefined || this.#snapshots.length < 2) return undefined
    const since = to.at - seconds * 1000
    const index = this.#snapshots.findLastIndex(({ at }) => at <= since)
    const from = this.#snapshots[Math.max(0, index)]
    return from === undefined || from === to ? undefined : [from, to]
  }
}
