import { Cluster, Redis } from 'ioredis'
import type { RedisOptions as ClientOptions } from 'ioredis'
import { readCount, readDuration, readRecord, readString, invalidOption, rejectOption } from '../shared/option-readers.ts'
import type { Duration } from '../shared/option-readers.ts'
import { readAddress } from './address.ts'
import type { Address } from './address.ts'
import { defaultDeadlineMs } from './health/deadline.ts'

const connectionNames = ['username', 'password', 'db', 'family', 'tls', 'sentinels', 'name', 'sentinelUsername', 'sentinelPassword', 'sentinelTLS', 'natMap', 'connectionName'] as const

/** Address of Redis and size of the connection pool. */
export interface RedisOptions {
  /** `redis://`, `rediss://`, `unix://`, several separated by commas for a Cluster, or `redis+sentinel://`; see {@link readAddress}. Default: the app's @fastify/redis, else `redis://127.0.0.1:6379`. */
  url?: string | undefined
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
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function resolveRedisPolicy (options: RedisOptions = {}): RedisPolicy {
  readRecord('redis', options, ['url', 'client', 'connection', 'min', 'max', 'prefix', 'commandTimeout', 'app'])
  const min = readCount('redis.min', options.min ?? 5, { max: 1000 })
  const max = readCount('redis.max', options.max ?? Math.max(10, min), { min, max: 1000 })
  const prefix = options.prefix ? readString('redis.prefix', options.prefix) : ''
  if (/[{}]/.test(prefix)) invalidOption('redis.prefix', 'without braces, because they would set the Cluster slot of every key', prefix)
  const from = readFrom(options)
  return Object.freeze({ from, connection: readConnection(options.connection, from), min, max, prefix, app: options.app === undefined ? undefined : readString('redis.app', options.app), deadlineMs: readDeadline(options.commandTimeout) })
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

function readFrom ({ url, client }: RedisOptions): RedisPolicy['from'] {
  if (client !== undefined && url !== undefined) return rejectOption('redis.client', 'left out beside redis.url', 'there')
  if (client instanceof Redis || client instanceof Cluster) return client
  if (client !== undefined) return rejectOption('redis.client', 'an ioredis Redis or Cluster, of the ioredis that this package has', `another ${typeof client}`)
  return readAddress('redis.url', url === undefined ? 'redis://127.0.0.1:6379' : readString('redis.url', url))
}
