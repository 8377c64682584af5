import { Cluster, Redis } from 'ioredis'
import type { RedisOptions as ClientOptions } from 'ioredis'
import { readCount, readDuration, readRecord, readString, invalidOption, refuseAs } from '../shared/option-readers.ts'
import type { Duration } from '../shared/option-readers.ts'
import { readAddress } from './address.ts'
import type { Address } from './address.ts'
import { defaultDeadlineMs } from './health/deadline.ts'

const connectionNames = ['username', 'password', 'db', 'family', 'tls', 'sentinels', 'name', 'sentinelUsername', 'sentinelPassword', 'sentinelTLS', 'natMap', 'connectionName'] as const

/** How to reach Redis, and with how many connections. */
export interface RedisOptions {
  /** `redis://`, `rediss://`, `unix://`, several separated by commas for a Cluster, or `redis+sentinel://`; see {@link readAddress} */
  url?: string | undefined
  /** instead of `url`: an ioredis client of the app's own; connections are opened beside it, with its address and login, and it is left alone */
  client?: Redis | Cluster | undefined
  /** what ioredis is told besides: `tls` (own CA, client certificate), the Sentinels' own login, `natMap`, … */
  connection?: Pick<ClientOptions, typeof connectionNames[number]> | undefined
  /** connections that are always kept; default 5 */
  min?: number | undefined
  /** connections at most; default 10 */
  max?: number | undefined
  /** how long the answer to a command is waited for, `'200ms'` or a number of milliseconds, 10 ms to 10 s; what connecting may take grows with it; default 200 ms */
  commandTimeout?: Duration | number | undefined
  /** stands before every key and channel, for a Redis that is shared with others; default none */
  prefix?: string | undefined
}

/** {@link RedisOptions} after defaults and checks. */
export interface RedisPolicy {
  readonly from: Address | Redis | Cluster
  readonly connection: ClientOptions
  readonly min: number
  readonly max: number
  readonly prefix: string
  readonly deadlineMs: number
}

/**
 * Checks how to reach Redis.
 *
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function resolveRedisPolicy (options: RedisOptions = {}): RedisPolicy {
  readRecord('redis', options, ['url', 'client', 'connection', 'min', 'max', 'prefix', 'commandTimeout'])
  const min = readCount('redis.min', options.min ?? 5, { max: 1000 })
  const max = readCount('redis.max', options.max ?? Math.max(10, min), { min, max: 1000 })
  const prefix = options.prefix ? readString('redis.prefix', options.prefix) : ''
  if (/[{}]/.test(prefix)) invalidOption('redis.prefix', 'without braces, for they would decide the Cluster slot of every key', prefix)
  const from = readFrom(options)
  return Object.freeze({ from, connection: readConnection(options.connection, from), min, max, prefix, deadlineMs: readDeadline(options.commandTimeout) })
}

function readDeadline (timeout: RedisOptions['commandTimeout'] = defaultDeadlineMs): number {
  return readCount('redis.commandTimeout', typeof timeout === 'number' ? timeout : readDuration('redis.commandTimeout', timeout), { min: 10, max: 10_000 })
}

function readConnection (connection: RedisOptions['connection'] = {}, from: RedisPolicy['from']): ClientOptions {
  const { db } = readRecord('redis.connection', connection, connectionNames)
  if (db === undefined) return connection
  // ioredis takes what is no number for database 0.
  const isCluster = from instanceof Cluster || (!(from instanceof Redis) && from.kind === 'cluster')
  if (readCount('redis.connection.db', db, { min: 0 }) !== 0 && isCluster) invalidOption('redis.connection.db', 'left out or 0, for a Cluster has no other database', db)
  return connection
}

function readFrom ({ url, client }: RedisOptions): RedisPolicy['from'] {
  if (client !== undefined && url !== undefined) return refuseAs('redis.client', 'left out beside redis.url', 'there')
  if (client instanceof Redis || client instanceof Cluster) return client
  if (client !== undefined) return refuseAs('redis.client', 'an ioredis Redis or Cluster, of the ioredis that this package has', `another ${typeof client}`)
  return readAddress('redis.url', url === undefined ? 'redis://127.0.0.1:6379' : readString('redis.url', url))
}
