import type { PooledRedis } from '../redis/client.ts'
import { mayEvictSessions } from '../redis/health/memory-info.ts'
import type { Build } from './presence.ts'
import type { MetricsRegistry, Row } from './registry.ts'
import type { RedisCollector } from './redis-collector.ts'
import { addUp } from '../shared/histogram.ts'
import type { MetricsSnapshot } from './snapshot.ts'
import type { Requests } from './requests.ts'

/** Sources of the metrics of one process. */
export interface Parts {
  readonly build: Build
  readonly requests: Requests
  readonly pool: PooledRedis
  readonly cache: { readonly counts: Readonly<Record<string, number>>, readonly storedBytes: number, readonly memory: { readonly level: string } } | undefined
  readonly sessions: { readonly evictedKeys: number, readonly counts: object } | undefined
  readonly events: Readonly<Record<string, number>> | undefined
  /** whether sessions use a dedicated Redis, which is not collected here */
  readonly areSessionsApart: boolean
  readonly live: { readonly websocket: number, readonly stream: number } | undefined
}

/** Cache events that are the outcome of a request. */
const lookups = ['hit', 'stale', 'miss', 'bypass']

/** Memory levels in order: the metric is the position, so that alerts can compare it. */
const memoryLevels = ['normal', 'high', 'critical']

/** Label values of the bus's counters. */
const eventOutcomes = { published: 'published', publishFailed: 'publish_failed', received: 'received', delivered: 'delivered', external: 'external', malformed: 'malformed', recovered: 'gap', resets: 'reset', failed: 'subscriber_failed' }

/** Registers the metrics of one process. */
export function exposeProcess (registry: MetricsRegistry, parts: () => Parts, collector: RedisCollector): void {
  exposeRequests(registry, parts)
  exposePool(registry, parts)
  const rowsOf = (label: string, counts: object | undefined, isMeant = (_name: string) => true): Row[] =>
    Object.entries(counts ?? {}).filter(([name]) => isMeant(name)).map(([name, count]) => [{ [label]: name }, count])
  const { counter, gauge } = { counter: registry.counter.bind(registry), gauge: registry.gauge.bind(registry) }

  counter({ name: 'prism_cache_requests_total', help: 'Requests to cached routes, by outcome.', rows: () => rowsOf('outcome', parts().cache?.counts, (name) => lookups.includes(name)) })
  counter({ name: 'prism_cache_events_total', help: 'Other cache events: fills, waits, revalidations, writes to Redis, rejected responses, evictions, purges.', rows: () => rowsOf('event', parts().cache?.counts, (name) => !lookups.includes(name)) })
  counter({ name: 'prism_cache_stored_bytes_total', help: 'Bytes of responses and memoized values written to Redis.', rows: () => parts().cache === undefined ? [] : [[{}, parts().cache?.storedBytes ?? 0]] })
  gauge({ name: 'prism_cache_memory_level', help: 'Redis memory as the cache sees it: 0 normal, 1 high (only keys requested twice are stored), 2 critical (cached responses are evicted).', rows: () => parts().cache === undefined ? [] : [[{}, memoryLevels.indexOf(parts().cache?.memory.level ?? 'normal')]] })
  counter({ name: 'prism_rate_limit_decisions_total', help: 'Requests that a policy has allowed or rejected.', rows: () => parts().requests.decisions.map(({ labels, count }) => [labels, count]) })
  counter({ name: 'prism_session_operations_total', help: 'Sessions loaded, saved, begun, rotated and revoked, by outcome; a save that is overwritten has set a key over what another request had set.', rows: () => Object.entries(parts().sessions?.counts ?? {}).flatMap(([operation, counts]) => rowsOf('outcome', counts).map(([labels, value]): Row => [{ operation, ...labels }, value])) })
  counter({ name: 'prism_session_evicted_keys_total', help: 'Keys that the server has evicted, each of which may have been a session.', rows: () => [[{}, parts().sessions?.evictedKeys ?? 0]] })
  gauge({
    name: 'prism_sessions_evictable',
    help: '1 while the maxmemory-policy may evict sessions; 0 if not, or if sessions use a dedicated Redis.',
    rows: () => {
      const isSo = areSessionsEvictable(parts(), collector)
      return isSo === undefined ? [] : [[{}, Number(isSo)]]
    }
  })
  counter({ name: 'prism_events_total', help: 'Bus events, by outcome: published, received, delivered to subscribers, recovered after a gap, lost (reset).', rows: () => Object.entries(eventOutcomes).map(([name, outcome]) => [{ outcome }, parts().events?.[name] ?? 0]) })
  gauge({ name: 'prism_live_connections', help: 'Open live connections.', rows: () => rowsOf('transport', parts().live) })
}

function exposeRequests (registry: MetricsRegistry, parts: () => Parts): void {
  registry.gauge({ name: 'prism_build_info', help: 'Version and commit of the app; always 1.', rows: () => [[{ ...parts().build }, 1]] })
  registry.gauge({ name: 'prism_http_in_flight_requests', help: 'Requests without a complete response; event streams and WebSockets are not counted.', rows: () => [[{}, parts().requests.inFlight.count]] })
  registry.counter({ name: 'prism_http_requests_total', help: 'Completed requests, by route pattern, status and cache outcome.', rows: () => parts().requests.counts.map(({ labels, count }) => [labels, count]) })
  registry.histogram({
    name: 'prism_http_request_duration_seconds',
    help: 'Time from the first byte of a request to the last byte of its response; event streams are not counted.',
    rows: () => parts().requests.tallies.map(({ method, route, durations }) => [{ method, route }, { counts: addUp(durations), sumSeconds: durations.reduce((sum, each) => sum + each.sumSeconds, 0) }])
  })
}

function exposePool (registry: MetricsRegistry, parts: () => Parts): void {
  const pool = () => parts().pool
  const one = (read: (pool: PooledRedis) => number) => (): Row[] => [[{}, read(pool())]]
  registry.histogram({ name: 'prism_redis_round_trip_seconds', help: 'Time from a write to its last reply.', rows: () => [[{}, pool().batch.roundTrips]] })
  registry.histogram({ name: 'prism_redis_command_duration_seconds', help: 'Time from the write of a command to its reply, by command; of evalsha by Lua script.', rows: () => pool().batch.byCommand.all.map(({ command, script, durations }) => [{ command, script }, durations]) })
  registry.counter({ name: 'prism_redis_command_errors_total', help: 'Commands with an error reply, or without a reply before the deadline.', rows: () => pool().batch.byCommand.all.map(({ command, script, errors }): Row => [{ command, script }, errors]) })
  registry.counter({ name: 'prism_redis_writes_total', help: 'Writes to Redis; each is a batch.', rows: one(({ batch }) => batch.counts.writes) })
  registry.counter({ name: 'prism_redis_commands_total', help: 'Commands in those writes.', rows: one(({ batch }) => batch.counts.commands) })
  registry.counter({ name: 'prism_redis_operations_total', help: 'Operations in those commands; divided by writes: the batch size.', rows: one(({ batch }) => batch.counts.operations) })
  registry.counter({ name: 'prism_redis_timeouts_total', help: 'Writes with a reply that missed the deadline.', rows: one(({ batch }) => batch.counts.timeouts) })
  registry.counter({ name: 'prism_redis_connections_lost_total', help: 'Connections to Redis that were lost or could not be established.', rows: one(({ losses }) => losses.lost) })
  registry.counter({ name: 'prism_redis_pool_exhausted_total', help: 'Writes sent while all pool connections were saturated and the pool was at redis.max.', rows: one(({ losses }) => losses.exhausted) })
  registry.gauge({ name: 'prism_redis_pool_connections', help: 'Connections of the pool.', rows: one(({ load }) => load.connections) })
  registry.gauge({ name: 'prism_redis_in_flight_commands', help: 'Commands waiting for a reply.', rows: one(({ load }) => load.inFlight) })
  registry.gauge({ name: 'prism_redis_unusable', help: '1 while this process cannot use Redis (holds="all") or the sessions\' own Redis (holds="sessions"), by reason.', rows: () => unusableRows(unusableOf(pool())) })
  registry.gauge({ name: 'prism_redis_circuit_breaker_open', help: '1 while the circuit breaker of Redis, or of a Cluster node, is open after three consecutive failures.', rows: one(({ isCircuitOpen }) => Number(isCircuitOpen)) })
}

/** Takes a snapshot of all counters. */
export function readProcess (parts: Parts, collector: RedisCollector): MetricsSnapshot {
  const { requests, pool, cache: { counts: cache } = { counts: {}, storedBytes: 0, memory: { level: 'normal' } }, events, live } = parts
  const { tallies } = requests
  const { counts } = requests
  const sum = (isMeant: (labels: Readonly<Record<string, string>>) => boolean) => counts.reduce((all, { labels, count }) => isMeant(labels) ? all + count : all, 0)
  return {
    at: Date.now(),
    counts: {
      requests: sum(() => true),
      rejected: requests.decisions.reduce((all, { labels, count }) => labels.outcome === 'rejected' ? all + count : all, 0),
      failed: sum(({ status }) => status?.startsWith('5') === true),
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
    pool: { ...pool.load, isCircuitOpen: pool.isCircuitOpen },
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

function unusableOf ({ reason, namedPools }: PooledRedis): MetricsSnapshot['unusable'] {
  return { redis: reason, sessions: namedPools.get('sessions')?.reason }
}

/** A dedicated Redis is checked by the session store. */
function areSessionsEvictable ({ areSessionsApart }: Parts, { sample }: RedisCollector): boolean | undefined {
  return areSessionsApart ? false : sample?.nodes.some(({ memoryPolicy }) => mayEvictSessions(memoryPolicy))
}
