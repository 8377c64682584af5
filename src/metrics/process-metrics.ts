import type { PooledRedis } from '../redis/client.ts'
import type { MetricsRegistry, Row } from './registry.ts'
import type { RedisCollector } from './redis-collector.ts'
import { addUp } from './snapshot.ts'
import type { MetricsSnapshot } from './snapshot.ts'
import type { Requests } from './requests.ts'

/** Where the counts of one process stand. */
export interface Parts {
  readonly requests: Requests
  readonly pool: PooledRedis
  readonly cache: { readonly counts: Readonly<Record<string, number>>, readonly storedBytes: number, readonly memory: { readonly level: string } } | undefined
  readonly sessions: { readonly evictedKeys: number, readonly counts: object } | undefined
  readonly events: Readonly<Record<string, number>> | undefined
  /** whether sessions have a Redis of their own, which is not the one that is looked at */
  readonly areSessionsApart: boolean
  readonly live: { readonly websocket: number, readonly stream: number } | undefined
}

/** Cache events that are the outcome of a request; the others are told apart. */
const lookups = ['hit', 'stale', 'miss', 'bypass']

/** How full Redis is, as the cache sees it: a number that alerts can compare. */
const memoryLevels = ['calm', 'tight', 'full']

/** The bus's own counts, in the words of labels. */
const eventOutcomes = { published: 'published', publishFailed: 'publish_failed', received: 'received', delivered: 'delivered', foreign: 'foreign', malformed: 'malformed', repaired: 'gap', resets: 'reset', failed: 'subscriber_failed' }

/** Names everything that one process counts. */
export function exposeProcess (registry: MetricsRegistry, parts: () => Parts, collector: RedisCollector): void {
  exposeRequests(registry, parts)
  exposePool(registry, parts)
  const rowsOf = (label: string, counts: object | undefined, isMeant = (_name: string) => true): Row[] =>
    Object.entries(counts ?? {}).filter(([name]) => isMeant(name)).map(([name, count]) => [{ [label]: name }, count])
  const { counter, gauge } = { counter: registry.counter.bind(registry), gauge: registry.gauge.bind(registry) }

  counter({ name: 'prism_cache_requests_total', help: 'Requests that the cache was asked for, by outcome.', rows: () => rowsOf('outcome', parts().cache?.counts, (name) => lookups.includes(name)) })
  counter({ name: 'prism_cache_events_total', help: 'What else the cache did: fills, waits and refreshes, answers stored, refused, declined and shed for memory, purges.', rows: () => rowsOf('event', parts().cache?.counts, (name) => !lookups.includes(name)) })
  counter({ name: 'prism_cache_stored_bytes_total', help: 'Bytes of answers and wrapped values that Redis has kept.', rows: () => parts().cache === undefined ? [] : [[{}, parts().cache?.storedBytes ?? 0]] })
  gauge({ name: 'prism_cache_memory_level', help: 'How full Redis is for the cache: 0, 1 stores only what is asked for twice, 2 gives stored answers up.', rows: () => parts().cache === undefined ? [] : [[{}, memoryLevels.indexOf(parts().cache?.memory.level ?? 'calm')]] })
  counter({ name: 'prism_rate_limit_decisions_total', help: 'Requests that a policy has counted and let pass, or refused.', rows: () => parts().requests.decisions.map(({ labels, count }) => [labels, count]) })
  counter({ name: 'prism_session_operations_total', help: 'Sessions loaded, saved, begun, rotated and revoked, by outcome; a save that is overwritten has set a key over what another request had set.', rows: () => Object.entries(parts().sessions?.counts ?? {}).flatMap(([operation, counts]) => rowsOf('outcome', counts).map(([labels, value]): Row => [{ operation, ...labels }, value])) })
  counter({ name: 'prism_session_evicted_keys_total', help: 'Keys that the server has evicted, each of which may have been a session.', rows: () => [[{}, parts().sessions?.evictedKeys ?? 0]] })
  gauge({
    name: 'prism_sessions_evictable',
    help: '1 while Redis\'s maxmemory-policy may evict sessions, 0 where it may not, or where they have a Redis of their own.',
    rows: () => {
      const isSo = areSessionsEvictable(parts(), collector)
      return isSo === undefined ? [] : [[{}, Number(isSo)]]
    }
  })
  counter({ name: 'prism_events_total', help: 'Events of the bus, by what became of them: published, heard, delivered to subscribers, found after a gap, lost for good (reset).', rows: () => Object.entries(eventOutcomes).map(([name, outcome]) => [{ outcome }, parts().events?.[name] ?? 0]) })
  gauge({ name: 'prism_live_connections', help: 'Open live connections.', rows: () => rowsOf('transport', parts().live) })
}

function exposeRequests (registry: MetricsRegistry, parts: () => Parts): void {
  registry.counter({ name: 'prism_http_requests_total', help: 'Requests answered, by route pattern, status class and what the cache did.', rows: () => parts().requests.counts.map(({ labels, count }) => [labels, count]) })
  registry.histogram({
    name: 'prism_http_request_duration_seconds',
    help: 'From the first byte of a request to the last of its answer.',
    rows: () => parts().requests.tallies.map(({ method, route, durations }) => [{ method, route }, { counts: addUp(durations), sumSeconds: durations.reduce((sum, each) => sum + each.sumSeconds, 0) }])
  })
}

function exposePool (registry: MetricsRegistry, parts: () => Parts): void {
  const pool = () => parts().pool
  const one = (read: (pool: PooledRedis) => number) => (): Row[] => [[{}, read(pool())]]
  registry.histogram({ name: 'prism_redis_round_trip_seconds', help: 'From a write to the last answer to it.', rows: () => [[{}, pool().batch.roundTrips]] })
  registry.counter({ name: 'prism_redis_writes_total', help: 'Writes to Redis; each is a batch.', rows: one(({ batch }) => batch.counts.writes) })
  registry.counter({ name: 'prism_redis_commands_total', help: 'Commands in those writes.', rows: one(({ batch }) => batch.counts.commands) })
  registry.counter({ name: 'prism_redis_operations_total', help: 'What was asked in those commands: over writes, the size of a batch.', rows: one(({ batch }) => batch.counts.asks) })
  registry.counter({ name: 'prism_redis_timeouts_total', help: 'Writes whose answer did not come in time.', rows: one(({ batch }) => batch.counts.timeouts) })
  registry.counter({ name: 'prism_redis_connections_lost_total', help: 'Connections to Redis that broke or could not be made.', rows: one(({ losses }) => losses.lost) })
  registry.counter({ name: 'prism_redis_pool_exhausted_total', help: 'Writes for which every connection was crowded and no more may be opened.', rows: one(({ losses }) => losses.exhausted) })
  registry.gauge({ name: 'prism_redis_pool_connections', help: 'Connections of the pool.', rows: one(({ load }) => load.connections) })
  registry.gauge({ name: 'prism_redis_in_flight_commands', help: 'Commands without an answer.', rows: one(({ load }) => load.inFlight) })
  registry.gauge({ name: 'prism_redis_unusable', help: '1 while this process cannot use Redis (holds="all") or the sessions\' own Redis (holds="sessions"), by reason.', rows: () => unusableRows(unusableOf(pool())) })
  registry.gauge({ name: 'prism_redis_circuit_breaker_open', help: '1 while Redis, or a node of the Cluster, is not asked, because it has failed three times in a row.', rows: one(({ isBroken }) => Number(isBroken)) })
}

/** Reads all that the last hour is kept of. */
export function readProcess (parts: Parts, collector: RedisCollector): MetricsSnapshot {
  const { requests, pool, cache: { counts: cache } = { counts: {}, storedBytes: 0, memory: { level: 'calm' } }, events, live } = parts
  const { tallies } = requests
  const { counts } = requests
  const sum = (isMeant: (labels: Readonly<Record<string, string>>) => boolean) => counts.reduce((all, { labels, count }) => isMeant(labels) ? all + count : all, 0)
  return {
    at: Date.now(),
    counts: {
      requests: sum(() => true),
      refused: requests.decisions.reduce((all, { labels, count }) => labels.outcome === 'refused' ? all + count : all, 0),
      failed: sum(({ status }) => status === '5xx'),
      hit: cache.hit ?? 0,
      stale: cache.stale ?? 0,
      miss: cache.miss ?? 0,
      bypass: cache.bypass ?? 0,
      published: events?.published ?? 0,
      delivered: events?.delivered ?? 0,
      timeouts: pool.batch.counts.timeouts,
      lost: pool.losses.lost,
      exhausted: pool.losses.exhausted
    },
    outcomes: requests.outcomes,
    durations: addUp(tallies.flatMap(({ durations }) => durations)),
    roundTrips: pool.batch.roundTrips.counts.slice(),
    pool: { ...pool.load, isBroken: pool.isBroken },
    live: live ?? { websocket: 0, stream: 0 },
    isRedisUp: collector.isUp,
    unusable: unusableOf(pool),
    redis: collector.sample,
    areSessionsEvictable: areSessionsEvictable(parts, collector)
  }
}

function unusableRows ({ redis, sessions }: MetricsSnapshot['unusable']): Row[] {
  return Object.entries({ all: redis, sessions }).flatMap(([holds, reason]): Row[] => reason === undefined ? [] : [[{ holds, reason: reason.code }, 1]])
}

function unusableOf ({ reason, others }: PooledRedis): MetricsSnapshot['unusable'] {
  return { redis: reason, sessions: others.get('sessions')?.reason }
}

const evicting = /^(allkeys-|volatile-(lru|lfu|random)$)/

/** A Redis of their own is watched by who keeps sessions. */
function areSessionsEvictable ({ areSessionsApart }: Parts, { sample }: RedisCollector): boolean | undefined {
  return areSessionsApart ? false : sample?.nodes.some(({ memoryPolicy }) => evicting.test(memoryPolicy))
}
