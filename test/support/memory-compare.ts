import { Redis } from 'ioredis'
import type { RedisOptions } from 'ioredis'
import { memoryRedis } from '../../src/redis/memory/memory-redis.ts'
import type { Owner } from './cleanup-scope.ts'
import { startRedis } from './redis.ts'

/** The same commands for an in-memory Redis and a real one. */
export interface Pair {
  readonly memory: Redis
  readonly real: Redis
  /** Runs on both at once. */
  both<Result> (run: (client: Redis) => Promise<Result>): Promise<[memory: Result, real: Result]>
  /** Empties both. */
  clear (): Promise<void>
  /** How far two instants may be apart at most: the servers share the clock of the machine, and ran the same command within the time that a call of `both` took. */
  readonly apartMs: number
  /** The keys that differ, with what each server has. Expiries differ if they are more than `apartMs` apart. */
  differingKeys (): Promise<string[]>
}

/** In the real server hashes keep the order of their fields, which otherwise depends on a seed. */
const ordered = ['--hash-max-listpack-value', '65536', '--hash-max-listpack-entries', '4096', '--save', '']
/** A server reads the clock once for a command, in whole milliseconds. */
const roundingMs = 2

export async function startPair (owner: Owner, options: RedisOptions = {}): Promise<Pair> {
  const server = await startRedis(owner, { args: ordered })
  const memory = new Redis({ ...options, Connector: memoryRedis().Connector })
  owner.after(() => memory.disconnect())
  const real = new Redis(server.port, server.host, options)
  owner.after(() => real.disconnect())
  let longestMs = 0
  const apartMs = () => Math.ceil(longestMs) + roundingMs
  const both: Pair['both'] = async (run) => {
    const startedAt = performance.now()
    const results = await Promise.all([run(memory), run(real)])
    longestMs = Math.max(longestMs, performance.now() - startedAt)
    return results
  }
  return {
    memory,
    real,
    both,
    clear: async () => {
      await both((client) => client.flushall())
      longestMs = 0 // no key has an expiry of an earlier call
    },
    get apartMs () { return apartMs() },
    differingKeys: async () => {
      const [one, other] = await Promise.all([dump(memory), dump(real)])
      const names = [...new Set([...one.keys(), ...other.keys()])].sort()
      return names.flatMap((name) => isSame(one.get(name), other.get(name), apartMs()) ? [] : [`${name}: memory has ${JSON.stringify(one.get(name))}, Redis has ${JSON.stringify(other.get(name))}`])
    }
  }
}

interface KeyState { readonly type: string, readonly expiresAt: number, readonly value: unknown }

function isSame (one: KeyState | undefined, other: KeyState | undefined, apartMs: number): boolean {
  if (one === undefined || other === undefined || one.type !== other.type) return false
  const isExpiryClose = (one.expiresAt === -1) === (other.expiresAt === -1) && Math.abs(one.expiresAt - other.expiresAt) <= apartMs
  return isExpiryClose && JSON.stringify(one.value) === JSON.stringify(other.value)
}

const readers: Readonly<Record<string, (key: string) => [string, ...(string | number)[]]>> = {
  string: (key) => ['get', key],
  hash: (key) => ['hgetall', key],
  set: (key) => ['smembers', key],
  list: (key) => ['lrange', key, 0, -1],
  zset: (key) => ['zrange', key, 0, -1, 'WITHSCORES'],
  stream: (key) => ['xrange', key, '-', '+']
}

async function dump (client: Redis): Promise<Map<string, KeyState>> {
  const states = await Promise.all((await client.keys('*')).map(async (key): Promise<[string, KeyState]> => {
    const [type, expiresAt] = await Promise.all([client.type(key), client.pexpiretime(key)])
    const [name, ...args] = readers[type]?.(key) ?? ['exists', key]
    const value = comparable(await client.callBuffer(name, ...args))
    return [key, { type, expiresAt, value: type === 'set' ? (value as string[]).sort() : value }]
  }))
  return new Map(states)
}

/** A reply or an error as JSON values: bytes as latin1. */
export function comparable (reply: unknown): unknown {
  if (Buffer.isBuffer(reply)) return reply.toString('latin1')
  if (reply instanceof Error) return `error ${reply.message}`
  if (Array.isArray(reply)) return reply.map(comparable)
  if (reply instanceof Map) return [...reply].flat().map(comparable)
  if (typeof reply === 'object' && reply !== null) return Object.entries(reply).flat().map(comparable)
  return typeof reply === 'bigint' ? Number(reply) : reply
}
