import type { InfoFields } from '../redis/health/server-info.ts'

/** One figure of a Redis server. A name with `redis_` is redis_exporter's, with its meaning; a test compares them with its source. */
interface RedisFigure {
  readonly name: string
  readonly help: string
  readonly type: 'counter' | 'gauge'
  readonly read: (info: InfoFields) => number
}

const number = (field: string) => (info: InfoFields): number => Number(info.get(field) ?? NaN)
const isOk = (field: string) => (info: InfoFields): number => info.has(field) ? Number(info.get(field) === 'ok') : NaN
const gauge = (name: string, help: string, read: RedisFigure['read']): RedisFigure => ({ name, help, type: 'gauge', read })
const counter = (name: string, help: string, field: string): RedisFigure => ({ name, help, type: 'counter', read: number(field) })

/** `slave0:ip=…,offset=123,lag=1` beside `master_repl_offset`. */
function readReplicaLag (info: InfoFields): number {
  const offsets = [...info].flatMap(([name, text]) => /^slave\d+$/.test(name) ? [Number(/offset=(\d+)/.exec(text)?.[1] ?? NaN)] : [])
  return offsets.length === 0 ? NaN : Math.max(0, Number(info.get('master_repl_offset')) - Math.min(...offsets))
}

/** Metrics read from `INFO`; a field that the server does not report is omitted. */
export const redisFigures: readonly RedisFigure[] = [
  gauge('redis_uptime_in_seconds', 'Seconds since the server was started.', number('uptime_in_seconds')),
  gauge('redis_memory_used_bytes', 'Memory in use, as maxmemory counts it.', number('used_memory')),
  gauge('redis_memory_max_bytes', 'The memory limit; 0 where none is set.', number('maxmemory')),
  gauge('redis_memory_used_rss_bytes', 'Memory that the system counts for the server.', number('used_memory_rss')),
  gauge('redis_mem_fragmentation_ratio', 'Memory that the system counts over memory in use.', number('mem_fragmentation_ratio')),
  gauge('redis_connected_clients', 'Connections of clients.', number('connected_clients')),
  gauge('redis_blocked_clients', 'Clients waiting in a blocking command.', number('blocked_clients')),
  gauge('redis_connected_slaves', 'Replicas that are connected.', number('connected_slaves')),
  gauge('redis_master_link_up', 'Replica only: 1 while the link to the master is up.', (info) => info.has('master_link_status') ? Number(info.get('master_link_status') === 'up') : NaN),
  gauge('prism_redis_replica_lag_bytes', 'Master only: replication lag of the slowest replica, in bytes.', readReplicaLag),
  gauge('redis_master_last_io_seconds_ago', 'Replica only: seconds since the last data from the master.', number('master_last_io_seconds_ago')),
  gauge('redis_rdb_changes_since_last_save', 'Changes since the last snapshot.', number('rdb_changes_since_last_save')),
  gauge('redis_rdb_last_bgsave_status', '1 if the last snapshot succeeded.', isOk('rdb_last_bgsave_status')),
  gauge('redis_aof_last_write_status', '1 if the last write to the append-only file succeeded.', isOk('aof_last_write_status')),
  counter('redis_connections_received_total', 'Connections accepted.', 'total_connections_received'),
  counter('redis_rejected_connections_total', 'Connections rejected because of maxclients.', 'rejected_connections'),
  counter('redis_commands_processed_total', 'Commands run.', 'total_commands_processed'),
  counter('redis_keyspace_hits_total', 'Successful key lookups.', 'keyspace_hits'),
  counter('redis_keyspace_misses_total', 'Failed key lookups.', 'keyspace_misses'),
  counter('redis_expired_keys_total', 'Expired keys.', 'expired_keys'),
  counter('redis_evicted_keys_total', 'Keys evicted because of maxmemory.', 'evicted_keys'),
  counter('redis_evicted_clients_total', 'Clients disconnected because of maxmemory-clients.', 'evicted_clients'),
  counter('redis_net_input_bytes_total', 'Bytes received.', 'total_net_input_bytes'),
  counter('redis_net_output_bytes_total', 'Bytes sent.', 'total_net_output_bytes')
]

/** Memory limit of a server: maxmemory, or the configured limit if that is 0. */
export const memoryLimit = 'prism_redis_memory_limit_bytes'
/** Memory used except for cached responses; estimated. */
export const memoryOther = 'prism_redis_memory_other_bytes'

/** Latency of a command inside the server. */
export interface CommandLatency { readonly command: string, readonly calls: number, readonly p50Seconds: number, readonly p99Seconds: number }

const mostCommands = 20

/** Merges the latencies of several servers: the highest of each command. */
export function worstLatencies (lists: readonly (readonly CommandLatency[])[]): CommandLatency[] {
  const byCommand = [...Map.groupBy(lists.flat(), ({ command }) => command)]
  const rows = byCommand.map(([command, all]) => ({
    command,
    calls: all.reduce((sum, { calls }) => sum + calls, 0),
    p50Seconds: Math.max(...all.map(({ p50Seconds }) => p50Seconds)),
    p99Seconds: Math.max(...all.map(({ p99Seconds }) => p99Seconds))
  }))
  return rows.sort((one, other) => other.calls - one.calls).slice(0, mostCommands)
}

/** Latency of the 20 most frequent commands, which bounds the number of series. */
export function readLatencies (info: InfoFields): CommandLatency[] {
  const calls = (command: string) => Number(/calls=(\d+)/.exec(info.get(`cmdstat_${command}`) ?? '')?.[1] ?? 0)
  const rows = [...info].flatMap(([name, text]) => {
    const command = /^latency_percentiles_usec_(.+)$/.exec(name)?.[1]
    if (command === undefined) return []
    const at = (share: string) => Number(new RegExp(`(?:^|,)p${share}=([\\d.]+)`).exec(text)?.[1] ?? NaN) / 1_000_000
    return [{ command, calls: calls(command), p50Seconds: at('50'), p99Seconds: at('99') }]
  })
  return rows.sort((one, other) => other.calls - one.calls).slice(0, mostCommands)
}

/** Keys in all databases of the server. */
export function readKeyCount (info: InfoFields): number {
  return [...info].reduce((sum, [name, text]) => /^db\d+$/.test(name) ? sum + Number(/keys=(\d+)/.exec(text)?.[1] ?? 0) : sum, 0)
}
