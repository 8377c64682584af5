import type { Redis } from 'ioredis'
import { addressGroup, bareAddress } from '../http/ip-subnet.ts'
import { customPartition, keyPartition } from '../rate-limit/partition.ts'
import type { PublishedQuota } from '../rate-limit/published-quotas.ts'
import { quotaCostOf } from '../rate-limit/quota.ts'
import type { Quota } from '../rate-limit/quota.ts'
import { LimitStore } from '../rate-limit/redis-store.ts'
import type { PooledRedis } from '../redis/client.ts'
import { encodePart } from '../redis/keys.ts'
import { UsageError } from './command.ts'
import type { Call, Command } from './command.ts'
import { durationText, table } from './output.ts'

const pageSize = 1000

interface Counter {
  endpoint: string
  /** name of the policy, as in the RateLimit headers; null where no process has published its quota, as for the next three */
  policy: string | null
  used: number | null
  quota: number | null
  windowMs: number | null
  /** until more units become available */
  resetMs: number | null
  /** until the counter is empty */
  endsInMs: number
}

/** Shows what a client has used of its quotas, or resets them. */
export const limits: Command = {
  usage: 'limits <partition> [--reset]',
  summary: 'shows what a client has used of each quota and when it resets; --reset resets the counters',
  help: [
    'A partition is an address (203.0.113.9; IPv6 by its /64 network), or user:<id>, key:<API key>, custom:<text>, as `by` of the route counts.',
    'used and quota are units in the window; resets in: the time until more units become available.',
    'The quota is - where it is a function of the request, or where no process of the app has run for a day.',
    'After a reset, a process that has rejected the client allows it again within 10 s.'
  ],
  examples: ['limits 203.0.113.9', 'limits user:42 --reset'],
  flags: { reset: { type: 'boolean', help: 'deletes the counters of the client' } },
  run: async (call) => {
    const { words: [partition], flags, output } = call
    if (partition === undefined) throw new UsageError(`limits needs a partition: ${call.program} limits 203.0.113.9`)
    const pattern = patternOf(call.prefix, partition)
    const found = await find(call, pattern)
    if (flags.reset === true) {
      const reset = await resetAll(found)
      output.tell({ partition, reset }, [`${reset} ${reset === 1 ? 'counter' : 'counters'} of ${partition} reset.`])
      return 0
    }
    const counters = await look(call, found, partition.startsWith('user:'))
    output.tell({ partition, counters }, counters.length === 0 ? [`No units are used by ${partition}.`] : linesOf(counters))
    return 0
  }
}

function linesOf (counters: readonly Counter[]): string[] {
  const rows = counters.map(({ policy, endpoint, used, quota, windowMs, resetMs }) => [policy ?? '-', endpoint, used ?? '-', quota ?? '-', windowMs === null ? '-' : durationText(windowMs), resetMs === null ? '-' : durationText(resetMs)])
  return table(['policy', 'endpoint', 'used', 'quota', 'window', 'resets in'], rows)
}

/** The hash tag that all counters of a partition share. */
function tagOf (partition: string): string {
  const [kind = '', who = ''] = /^(ip|user|key|custom):(.+)$/s.exec(partition)?.slice(1) ?? ['ip', partition]
  if (kind === 'user') return encodePart(who)
  if (kind === 'key') return `key:${encodePart(keyPartition(who).id)}`
  if (kind === 'custom') return `custom:${encodePart(customPartition(who).id)}`
  const group = addressGroup(bareAddress(who))
  if (group === undefined) throw new UsageError(`${who} is not an IP address: write user:…, key:… or custom:… for other partitions.`)
  return `ip:${encodePart(group)}`
}

function patternOf (prefix: string, partition: string): string {
  const tag = tagOf(partition)
  return `${`${prefix}ratelimit:{${tag}}:`.replace(/[[\]?*\\^]/g, '\\$&')}*`
}

type Found = readonly { readonly redis: Redis, readonly names: readonly string[] }[]

/** The counters on each server. */
async function find ({ masters, output }: Call, pattern: string): Promise<Found> {
  const found = []
  for (const redis of await masters()) {
    const all = await redis.dbsize()
    let seen = 0
    const names = await scan(redis, pattern, (page) => {
      seen += page
      output.progress(`${Math.min(seen, all)} of about ${all} keys searched`)
    })
    found.push({ redis, names })
  }
  output.progress('')
  return found
}

async function scan (redis: Redis, pattern: string, progress: (page: number) => void): Promise<string[]> {
  const found = new Set<string>()
  let cursor = '0'
  do {
    const [next, page] = await redis.scan(cursor, 'MATCH', pattern, 'COUNT', pageSize)
    for (const name of page) found.add(name)
    cursor = next
    progress(pageSize)
  } while (cursor !== '0')
  return [...found].sort()
}

async function resetAll (found: Found): Promise<number> {
  let reset = 0
  for (const { redis, names } of found) if (names.length > 0) reset += await redis.unlink(...names)
  return reset
}

async function look ({ pool }: Call, found: Found, isUser: boolean): Promise<Counter[]> {
  if (found.every(({ names }) => names.length === 0)) return []
  const opened = await pool()
  const [store, quotas] = [new LimitStore(opened.batch), await readQuotas(opened)]
  return await Promise.all(found.flatMap(({ redis, names }) => names.map(async (name) => {
    const endpoint = decodeURIComponent(name.slice(name.indexOf('}:') + 2))
    const { name: policy = null, quota, userQuota } = quotas[endpoint.replace(/^session:[^:]*:/, '')] ?? {}
    const endsInMs = await redis.pttl(name)
    return { endpoint, policy, ...await statusOf(store, redis, name, isUser ? userQuota ?? quota : quota), endsInMs }
  })))
}

/** @returns nothing where no process has published its quotas, or the user's rights forbid the read */
async function readQuotas ({ batch, keyspace }: PooledRedis): Promise<Readonly<Record<string, PublishedQuota | undefined>>> {
  const text = await batch.command('get', [keyspace.rateLimitQuotas()]).catch(() => null)
  return typeof text === 'string' ? JSON.parse(text) as Record<string, PublishedQuota> : {}
}

/** With a known quota the script of the service counts, and consumes nothing. */
async function statusOf (store: LimitStore, redis: Redis, name: string, quota: Quota | undefined): Promise<Pick<Counter, 'used' | 'quota' | 'windowMs' | 'resetMs'>> {
  if (quota === undefined) return { used: await unitsOf(redis, name), quota: null, windowMs: null, resetMs: null }
  const { statuses: [status] } = await store.peek({ keys: [name], costs: [quotaCostOf(quota, 1)] })
  const isConcurrency = quota.algorithm === 'concurrency'
  return { used: quota.quota - (status?.remaining ?? 0), quota: quota.quota, windowMs: isConcurrency ? null : quota.windowMs, resetMs: isConcurrency ? null : status?.resetMs ?? null }
}

/** Of a sliding counter, as consume.lua packs it: the code of its algorithm, then the units used. */
async function unitsOf (redis: Redis, name: string): Promise<number | null> {
  if (await redis.type(name) === 'zset') return await redis.zcard(name)
  const value = await redis.getBuffer(name)
  return value !== null && value.length >= 5 && value[0] === 's'.charCodeAt(0) ? value.readUInt32BE(1) : null
}
