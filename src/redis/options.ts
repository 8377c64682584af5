import { Cluster, Redis } from 'ioredis'
import type { RedisOptions as ClientOptions } from 'ioredis'
import { readBoolean, readCount, readDuration, readRecord, readString, invalidOption, rejectOption } from '../shared/option-readers.ts'
import type { Duration } from '../shared/option-readers.ts'
import { readAddress } from './address.ts'
import type { Address } from './address.ts'
import { defaultDeadlineMs } from './health/deadline.ts'
import { memoryRedis } from './memory/memory-redis.ts'
import type { MemoryRedis } from './memory/memory-redis.ts'

const connectionNames = ['username', 'password', 'db', 'family', 'tls', 'sentinels', 'name', 'sentinelUsername', 'sentinelPassword', 'sentinelTLS', 'natMap', 'connectionName'] as const

/** Address of Redis and size of the connection pool. */
export interface RedisOptions {
  /** `redis://`, `rediss://`, `unix://`, several separated by commas for a Cluster, or `redis+sentinel://`; see {@link readAddress}. For development and tests: `memory`, or `memory://name` for one that several apps of a process share. Default: the app's @fastify/redis, else `redis://127.0.0.1:6379`. */
  url?: string | undefined
  /** Whether `memory` is accepted where NODE_ENV is `production`: its data is lost with the process, and other processes do not see it. Default: false. */
  allowMemoryInProduction?: boolean | undefined
  /** Instead of `url`: an ioredis client of the app. Connections are opened with its address and login; the client itself is not used. Default: none. */
  client?: Redis | Cluster | undefined
  /** Further ioredis options: `tls` (CA, client certificate), the login of the Sentinels, `natMap`, … Default: none. */
  connection?: Pick<ClientOptions, typeof connectionNames[number]> | undefined
  /** Minimum number of connections. Default: 5. */
  min?: number | undefined
  /** Maximum number of connections. Default: 10, or `min` if that is larger. */
  max?: number | undefined
  /** Time limit for the reply to a command, `'200ms'` or a number of milliseconds, 10 ms to 10 s; connect timeouts grow with it. Default: `'200ms'`. */
  commandTimeout?: Duration | number | undefined
  /** Prefix of every key and channel, for a Redis that other apps share: `'shop:'`. Default: none. */
  prefix?: string | undefined
  /** Name of the app: another app with the same prefix is reported. Default: the `name` in the app's package.json. */
  app?: string | undefined
}

/** Resolved {@link RedisOptions}. */
export interface RedisPolicy {
  readonly from: Address | Redis | Cluster
  /** a Redis in this process, which must be loaded before the first connection */
  readonly memory: MemoryRedis | undefined
  readonly connection: ClientOptions
  readonly min: number
  readonly max: number
  readonly prefix: string
  /** undefined: the default name */
  readonly app: string | undefined
  readonly deadlineMs: number
}

/**
 * Validates the options and applies defaults.
 *
 * @param given `'memory'` is `{ url: 'memory' }`
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function resolveRedisPolicy (given: RedisOptions | 'memory' = {}): RedisPolicy {
  const options = given === 'memory' ? { url: given } : given
  readRecord('redis', options, ['url', 'client', 'connection', 'min', 'max', 'prefix', 'commandTimeout', 'app', 'allowMemoryInProduction'])
  const min = readCount('redis.min', options.min ?? 5, { max: 1000 })
  const max = readCount('redis.max', options.max ?? Math.max(10, min), { min, max: 1000 })
  const prefix = options.prefix ? readString('redis.prefix', options.prefix) : ''
  if (/[{}]/.test(prefix)) invalidOption('redis.prefix', 'without braces, because they would set the Cluster slot of every key', prefix)
  const memory = readMemory(options)
  const from = memory === undefined ? readFrom(options) : { kind: 'server' as const, options: { Connector: memory.Connector } }
  return Object.freeze({ from, memory, connection: readConnection(options.connection, from), min, max, prefix, app: options.app === undefined ? undefined : readString('redis.app', options.app), deadlineMs: readDeadline(options.commandTimeout) })
}

function readDeadline (timeout: RedisOptions['commandTimeout'] = defaultDeadlineMs): number {
  return readCount('redis.commandTimeout', typeof timeout === 'number' ? timeout : readDuration('redis.commandTimeout', timeout), { min: 10, max: 10_000 })
}

function readConnection (connection: RedisOptions['connection'] = {}, from: RedisPolicy['from']): ClientOptions {
  const { db } = readRecord('redis.connection', connection, connectionNames)
  if (db === undefined) return connection
  // ioredis would use database 0 for a value that is not a number.
  const isCluster = from instanceof Cluster || (!(from instanceof Redis) && from.kind === 'cluster')
  if (readCount('redis.connection.db', db, { min: 0 }) !== 0 && isCluster) invalidOption('redis.connection.db', 'left out or 0, because a Cluster has no other database', db)
  return connection
}

/** Text that is not an address of a server: `memory` or `memory://name`. */
const memoryUrl = /^memory(?::\/\/([\w.-]*))?$/

function readMemory ({ url, client, allowMemoryInProduction = false }: RedisOptions): MemoryRedis | undefined {
  const isAllowed = readBoolean('redis.allowMemoryInProduction', allowMemoryInProduction)
  const found = client === undefined && typeof url === 'string' ? memoryUrl.exec(url.trim()) : null
  if (found === null) return undefined
  if (process.env.NODE_ENV === 'production' && !isAllowed) {
    rejectOption('redis.url', 'the address of a Redis where NODE_ENV is production, because the data of an in-memory Redis is lost with the process and not shared with others (redis.allowMemoryInProduction: true accepts that)', "'memory'")
  }
  return memoryRedis(found[1] || undefined)
}

function readFrom ({ url, client }: RedisOptions): RedisPolicy['from'] {
  if (client !== undefined && url !== undefined) return rejectOption('redis.client', 'left out beside redis.url', 'there')
  if (client instanceof Redis || client instanceof Cluster) return client
  if (client !== undefined) return rejectOption('redis.client', 'an ioredis Redis or Cluster, of the ioredis that this package has', `another ${typeof client}`)
  return readAddress('redis.url', url === undefined ? 'redis://127.0.0.1:6379' : readString('redis.url', url))
}
