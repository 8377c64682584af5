import { latin1, word } from '../arguments.ts'
import { command, many } from '../call.ts'
import type { Call, Command } from '../call.ts'
import { bytesOf } from '../keyspace.ts'
import { bulk, ErrorReply, MapReply } from '../reply.ts'
import type { Reply } from '../reply.ts'
import type { ServerState } from '../server-state.ts'
import { matchesPattern } from '../pubsub.ts'
import { emulatedVersion } from '../version.ts'

type Fields = Readonly<Record<string, string | number>>

/** The cache keeps below it, as on a server; the in-memory server itself rejects nothing. */
const maxmemory = 256 * 1024 * 1024

/** Sections of INFO. Nothing is evicted or written to a disk, and there are no replicas. */
const sections: Readonly<Record<string, (server: ServerState) => Fields>> = {
  Server: ({ runId, startedAt, nowMs }) => ({ redis_version: emulatedVersion, redis_mode: 'standalone', process_id: process.pid, run_id: runId, tcp_port: 0, server_time_usec: nowMs * 1000, uptime_in_seconds: Math.floor((nowMs - startedAt) / 1000) }),
  Clients: ({ clients }) => ({ connected_clients: clients.size, blocked_clients: 0 }),
  Memory: (server) => ({ used_memory: usedBytes(server), used_memory_rss: usedBytes(server), maxmemory, maxmemory_policy: 'noeviction', mem_fragmentation_ratio: '1.00', mem_not_counted_for_evict: 0 }),
  Persistence: () => ({ loading: 0, rdb_changes_since_last_save: 0, rdb_last_bgsave_status: 'ok', aof_enabled: 0, aof_last_write_status: 'ok' }),
  Stats: ({ counts, keyspaces }) => ({
    total_connections_received: counts.connections,
    total_commands_processed: counts.commands,
    rejected_connections: 0,
    expired_keys: keyspaces.reduce((sum, { expiredKeys }) => sum + expiredKeys, 0),
    evicted_keys: 0,
    evicted_clients: 0,
    keyspace_hits: counts.hits,
    keyspace_misses: counts.misses
  }),
  Replication: () => ({ role: 'master', connected_slaves: 0, master_repl_offset: 0 }),
  Cluster: () => ({ cluster_enabled: 0 }),
  Keyspace: ({ keyspaces }) => Object.fromEntries(keyspaces.flatMap((keyspace, index) => {
    const expiring = [...keyspace.entries()].filter(([, { expiresAt }]) => expiresAt !== Infinity).length
    return keyspace.size === 0 ? [] : [[`db${index}`, `keys=${keyspace.size},expires=${expiring},avg_ttl=0`]]
  }))
}

const baseBytes = 1_000_000

function usedBytes ({ keyspaces }: ServerState): number {
  return keyspaces.reduce((sum, keyspace) => [...keyspace.entries()].reduce((all, [key, entry]) => all + bytesOf(key, entry), sum), baseBytes)
}

function info ({ args, server }: Call): Reply {
  const requested = new Set(args.map((arg) => latin1(arg).toLowerCase()))
  const isAll = requested.size === 0 || ['all', 'default', 'everything'].some((name) => requested.has(name))
  const chosen = Object.entries(sections).filter(([name]) => isAll || requested.has(name.toLowerCase()))
  const texts = chosen.map(([name, read]) => [`# ${name}`, ...Object.entries(read(server)).map(([field, value]) => `${field}:${value}`), ''].join('\r\n'))
  return bulk(texts.join('\r\n'))
}

function time ({ server }: Call): Reply {
  return [bulk(String(Math.floor(server.nowMs / 1000))), bulk(String((server.nowMs % 1000) * 1000))]
}

const settings: Fields = { maxmemory, 'maxmemory-policy': 'noeviction', databases: 16, save: '', appendonly: 'no', timeout: 0, 'notify-keyspace-events': '' }

function config ({ args }: Call): Reply {
  if (word(args[0]) !== 'GET' || args.length < 2) throw new ErrorReply("ERR redis: 'memory' implements CONFIG GET alone")
  const patterns = args.slice(1).map((arg) => latin1(arg).toLowerCase())
  const found = Object.entries(settings).filter(([name]) => patterns.some((pattern) => matchesPattern(pattern, name)))
  return new MapReply(found.flatMap(([name, value]) => [bulk(name), bulk(String(value))]))
}

/** No command is slow enough for the log. */
function slowLog ({ args }: Call): Reply {
  const subcommand = word(args[0])
  if (subcommand === 'LEN') return 0
  if (subcommand === 'GET') return []
  throw new ErrorReply("ERR redis: 'memory' implements SLOWLOG GET and SLOWLOG LEN alone")
}

export const server: Readonly<Record<string, Command>> = {
  info: command(0, many, info),
  time: command(0, 0, time),
  config: command(1, many, config, { isForScripts: false }),
  slowlog: command(1, 2, slowLog),
  cluster: command(1, many, () => { throw new ErrorReply('ERR This instance has cluster support disabled') }),
  wait: command(2, 2, () => 0, { isForScripts: false })
}
