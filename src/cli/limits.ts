import type { Redis } from 'ioredis'
import { encodePart } from '../redis/keys.ts'
import { UsageFault } from './command.ts'
import type { Command } from './command.ts'
import { durationText, table } from './output.ts'

interface Counter { endpoint: string, used: number | null, endsInMs: number }

/** Shows what a client has used of its quotas, or forgets it. */
export const limits: Command = {
  usage: 'limits <partition> [--reset]',
  summary: 'shows what a client has used of its quotas; --reset forgets it',
  help: ['A partition is an address (203.0.113.9), or ip:…, user:…, key:…, custom:… as the route counts.', 'A process that has refused the client meanwhile lets it in again within a second or so of a reset.'],
  flags: { reset: { type: 'boolean' } },
  run: async ({ words: [partition], flags, client, prefix, output }) => {
    if (partition === undefined) throw new UsageFault('limits needs a partition: fastify-prism limits 203.0.113.9')
    const redis = await client()
    const names = await find(redis, prefix, partition)
    if (flags.reset === true && names.length > 0) await redis.unlink(...names)
    const counters = flags.reset === true ? [] : await Promise.all(names.map((name) => look(redis, name)))
    const facts = flags.reset === true ? { partition, reset: names.length } : { partition, counters }
    const lines = flags.reset === true
      ? [`Forgot ${names.length} counters of ${partition}.`]
      : counters.length === 0 ? [`${partition} has used nothing.`] : table(['endpoint', 'used', 'ends in'], counters.map(({ endpoint, used, endsInMs }) => [endpoint, used ?? '-', durationText(endsInMs)]))
    output.tell(facts, lines)
    return 0
  }
}

async function find (redis: Redis, prefix: string, partition: string): Promise<string[]> {
  const [kind = '', who] = /^(ip|user|session|key|custom):(.+)$/.exec(partition)?.slice(1) ?? ['ip', partition]
  const tags = kind === 'user' ? [encodePart(who ?? '')] : [`${kind}:${encodePart(who ?? '')}`]
  const pattern = `${prefix}ratelimit:{${tags[0]}}:*`.replace(/[[\]?\\^]/g, '\\$&')
  const found = new Set<string>()
  let cursor = '0'
  do {
    const [next, page] = await redis.scan(cursor, 'MATCH', pattern, 'COUNT', 1000)
    for (const name of page) found.add(name)
    cursor = next
  } while (cursor !== '0')
  return [...found].sort()
}

async function look (redis: Redis, name: string): Promise<Counter> {
  const [value, endsInMs] = await Promise.all([redis.getBuffer(name), redis.pttl(name)])
  // A sliding counter, as take.lua packs it: its tag, then the units used.
  const used = value !== null && value.length >= 5 && value[0] === 's'.charCodeAt(0) ? value.readUInt32BE(1) : null
  return { endpoint: decodeURIComponent(name.slice(name.indexOf('}:') + 2)), used, endsInMs }
}
