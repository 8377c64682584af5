import type { Redis } from 'ioredis'
import { addressGroup, bareAddress } from '../http/ip-subnet.ts'
import { customPartition, keyPartition } from '../rate-limit/partition.ts'
import { encodePart } from '../redis/keys.ts'
import { UsageError } from './command.ts'
import type { Command } from './command.ts'
import { durationText, table } from './output.ts'

const pageSize = 1000

interface Counter { endpoint: string, used: number | null, endsInMs: number }

/** Shows what a client has used of its quotas, or forgets it. */
export const limits: Command = {
  usage: 'limits <partition> [--reset]',
  summary: 'shows what a client has used of its quotas; --reset forgets it',
  help: ['A partition is an address (203.0.113.9; of IPv6 its /64 counts), or user:…, key:…, custom:… as the route counts.', 'A process that has rejected the client meanwhile notices a reset within 10 s.'],
  flags: { reset: { type: 'boolean' } },
  run: async ({ words: [partition], flags, masters, prefix, output }) => {
    if (partition === undefined) throw new UsageError('limits needs a partition: fastify-prism limits 203.0.113.9')
    const counters: Counter[] = []
    let [seen, forgotten] = [0, 0]
    for (const redis of await masters()) {
      const names = await find(redis, patternOf(prefix, partition), (page) => {
        seen += page
        output.progress(`${seen} keys looked through`)
      })
      if (flags.reset !== true) counters.push(...await Promise.all(names.map((name) => look(redis, name))))
      else if (names.length > 0) forgotten += await redis.unlink(...names)
    }
    output.progress('')
    const facts = flags.reset === true ? { partition, reset: forgotten } : { partition, counters }
    const lines = flags.reset === true
      ? [`Forgot ${forgotten} ${forgotten === 1 ? 'counter' : 'counters'} of ${partition}.`]
      : counters.length === 0 ? [`${partition} has used nothing.`] : table(['endpoint', 'used', 'ends in'], counters.map(({ endpoint, used, endsInMs }) => [endpoint, used ?? '-', durationText(endsInMs)]))
    output.tell(facts, lines)
    return 0
  }
}

/** The hash tag that all counters of a partition share. */
function tagOf (partition: string): string {
  const [kind = '', who = ''] = /^(ip|user|key|custom):(.+)$/s.exec(partition)?.slice(1) ?? ['ip', partition]
  if (kind === 'user') return encodePart(who)
  if (kind === 'key') return `key:${encodePart(keyPartition(who).id)}`
  if (kind === 'custom') return `custom:${encodePart(customPartition(who).id)}`
  const group = addressGroup(bareAddress(who))
  if (group === undefined) throw new UsageError(`${who} is no address: write user:…, key:… or custom:… for others.`)
  return `ip:${encodePart(group)}`
}

function patternOf (prefix: string, partition: string): string {
  const tag = tagOf(partition)
  return `${`${prefix}ratelimit:{${tag}}:`.replace(/[[\]?*\\^]/g, '\\$&')}*`
}

async function find (redis: Redis, pattern: string, progress: (page: number) => void): Promise<string[]> {
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

async function look (redis: Redis, name: string): Promise<Counter> {
  const [type, endsInMs] = await Promise.all([redis.type(name), redis.pttl(name)])
  const used = type === 'zset' ? await redis.zcard(name) : unitsOf(await redis.getBuffer(name))
  return { endpoint: decodeURIComponent(name.slice(name.indexOf('}:') + 2)), used, endsInMs }
}

/** Of a sliding counter, as consume.lua packs it: the code of its algorithm, then the units used. */
function unitsOf (value: Buffer | null): number | null {
  return value !== null && value.length >= 5 && value[0] === 's'.charCodeAt(0) ? value.readUInt32BE(1) : null
}
