import type { InternalRequest } from '../http/internal-requests.ts'
import type { PooledRedis } from '../redis/client.ts'
import { Subscriber } from '../redis/subscriber.ts'
import { MemoryGuard } from './admission/memory-guard.ts'
import { Memoizer } from './memoize.ts'
import type { CachePolicy } from './options.ts'
import { ConstrainedRoutes } from './response/constrained-routes.ts'
import { BackgroundRefreshes } from './revalidation/background-refresh.ts'
import type { CacheRuntime } from './runtime.ts'
import { FillLocks } from './single-flight/fill-lock.ts'
import { SingleFlightGroup } from './single-flight/in-process-fill.ts'
import { LockQueue, LockWaiters } from './single-flight/lock-queue.ts'
import { PrefetchedLocks } from './single-flight/prefetched-locks.ts'
import { CacheStats } from './stats.ts'
import { CacheStore } from './storage/cache-store.ts'
import type { Entry } from './storage/entry-codec.ts'

type Log = Record<'info' | 'warn', (facts: object, text: string) => void>

/** What the cache needs of the app. */
interface AppServices {
  /** injects a background refresh */
  readonly send: (request: InternalRequest, mark: object) => Promise<void>
  readonly log: Log
}

/** The cache of one app. */
interface CreatedRuntime {
  readonly runtime: CacheRuntime & { readonly unsafeRoutes: Set<string> }
  readonly memoizer: Memoizer
  readonly memoryGuard: MemoryGuard
  /** stops timers and waits */
  readonly close: () => void
}

/** Creates the services that the cached routes and `cache.wrap` of one app share. */
export function createCacheRuntime (pool: PooledRedis, { lockTimeoutMs }: Pick<CachePolicy, 'lockTimeoutMs'>, { send, log }: AppServices): CreatedRuntime {
  const stats = new CacheStats()
  const memoryGuard = createMemoryGuard(pool, stats, log)
  const store = new CacheStore(pool.batch, pool.keyspace, () => pool.server, memoryGuard)
  const locks = new FillLocks(pool.batch, store.keys, store)
  const subscriber = new Subscriber(() => pool.openSubscriber(), (error) => pool.handleErrorReply(error), pool.batch.deadlineMs)
  const lockQueue = new LockQueue(locks, new LockWaiters(subscriber, store.keys.cacheFilled()), stats)
  const prefetchedLocks = new PrefetchedLocks(locks, store)
  pool.on('server', () => store.reached())
  pool.on('outage', (isOut: boolean) => { if (isOut) lockQueue.outage() })
  return {
    runtime: {
      store,
      stats,
      lockQueue,
      prefetchedLocks,
      refreshes: new BackgroundRefreshes(send),
      singleFlight: new SingleFlightGroup<Entry>(),
      unsafeRoutes: new Set(),
      constrainedRoutes: new ConstrainedRoutes(),
      warn: (facts, text) => log.warn(facts, text)
    },
    memoizer: new Memoizer(store, lockQueue, lockTimeoutMs),
    memoryGuard,
    close: () => {
      lockQueue.close()
      prefetchedLocks.close()
      memoryGuard.close()
    }
  }
}

/** Limits what this process stores when Redis has a memory limit. */
function createMemoryGuard (pool: PooledRedis, stats: CacheStats, log: Log): MemoryGuard {
  const unlink = (names: readonly string[]) => {
    // An entry that cannot be deleted expires by its TTL.
    const slots = pool.server?.isCluster === true ? names.map((name) => [name]) : [names]
    for (const each of slots) pool.batch.command('UNLINK', [...each], 'background').catch(() => {})
  }
  return new MemoryGuard({
    readMemory: () => pool.memoryReader.read(),
    limitBytes: () => pool.server?.maxmemoryBytes,
    connections: () => pool.load.connections,
    unlink,
    count: (event) => stats.add(event),
    changed: (usage) => {
      if (usage.level === 'normal') log.info({ redis: usage }, 'Redis memory back to normal: caching fully enabled')
      else log.warn({ redis: usage }, usage.level === 'critical' ? 'Redis memory critical: evicting cached responses to protect other keys' : 'Redis memory high: only responses requested at least twice are cached')
    }
  })
}
