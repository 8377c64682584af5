import type { CacheStats } from './stats.ts'
import type { ConstrainedRoutes } from './response/constrained-routes.ts'
import type { Entry } from './storage/entry-codec.ts'
import type { LockQueue } from './single-flight/lock-queue.ts'
import type { SingleFlightGroup } from './single-flight/in-process-fill.ts'
import type { PrefetchedLocks } from './single-flight/prefetched-locks.ts'
import type { BackgroundRefreshes } from './revalidation/background-refresh.ts'
import type { CacheStore } from './storage/cache-store.ts'

/** Services that the cached routes of one app share. */
export interface CacheRuntime {
  readonly store: CacheStore
  readonly singleFlight: SingleFlightGroup<Entry>
  readonly lockQueue: LockQueue
  readonly refreshes: BackgroundRefreshes
  readonly prefetchedLocks: PrefetchedLocks
  readonly stats: CacheStats
  /** patterns of routes with unsafe methods: a cached route of the same pattern must be invalidated by them */
  readonly unsafeRoutes: ReadonlySet<string>
  /** the routes that Fastify selects by header fields */
  readonly constrainedRoutes: ConstrainedRoutes
  readonly warn: (facts: object, text: string) => void
}
