import type { CacheStats } from './counts.ts'
import type { Entry } from './entry.ts'
import type { LockQueue } from './fill/entrance.ts'
import type { SingleFlightGroup } from './fill/fill.ts'
import type { PrefetchedLocks } from './fill/reservations.ts'
import type { BackgroundRefreshes } from './refresh.ts'
import type { CacheStore } from './store.ts'

/** What cached routes of one app share. */
export interface CacheRuntime {
  readonly store: CacheStore
  readonly singleFlight: SingleFlightGroup<Entry>
  readonly lockQueue: LockQueue
  readonly refreshes: BackgroundRefreshes
  readonly prefetchedLocks: PrefetchedLocks
  readonly stats: CacheStats
  /** patterns of routes that answer unsafe methods: what they write, a cached route of the same pattern may show */
  readonly unsafeRoutes: ReadonlySet<string>
  /** patterns of routes whose answers decide themselves: only these may stand for several queries of their path */
  readonly responseTtlRoutes: ReadonlySet<string>
  readonly warn: (facts: object, text: string) => void
}
