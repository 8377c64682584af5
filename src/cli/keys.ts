import type { Redis } from 'ioredis'
import { Keys, namespaces } from '../redis/keys.ts'
import type { Namespace } from '../redis/keys.ts'
import type { Command } from './command.ts'
import { bytesText, durationText, table } from './output.ts'

interface Row { namespace: Namespace, keys: number, bytes: number, withoutEnd: number, medianMs: number }
interface Big { key: string, bytes: number }

const pageSize = 1000
const biggestKept = 10

/** Shows how keys, memory and lifetimes spread over the namespaces. */
export const keys: Command = {
  usage: 'keys',
  summary: 'shows keys, memory and expiry for each namespace, the largest keys, and keys without an expiry',
  help: ['Reads all keys with SCAN, a thousand at a time, in a Cluster on every master. Redis serves other clients meanwhile.', 'Memory is the MEMORY USAGE of each key. Keys of other apps, and those under another --prefix, are `other`.'],
  examples: ['keys', 'keys --json'],
  run: async ({ masters, prefix, output }) => {
    const stats = new KeyspaceStats(new Keys(prefix))
    for (const redis of await masters()) await stats.take(redis, (seen, all) => output.progress(`${seen} of about ${all} keys`))
    output.progress('')
    const { rows, biggest } = stats
    output.tell({ namespaces: rows, biggest }, [
      ...table(['namespace', 'keys', 'memory', 'median TTL', 'without TTL'], rows.map((row) => [row.namespace, row.keys, bytesText(row.bytes), durationText(row.medianMs), row.withoutEnd])),
      ...biggest.length === 0 ? [] : ['', 'Largest:', ...table(['memory', 'key'], biggest.map(({ key, bytes }) => [bytesText(bytes), key]))]
    ])
    return 0
  }
}

class KeyspaceStats {
  readonly #keys: Keys
  readonly #found = new Map(namespaces.map((namespace) => [namespace, { keys: 0, bytes: 0, lifetimes: [] as number[] }]))
  biggest: Big[] = []

  constructor (keys: Keys) {
    this.#keys = keys
  }

  get rows (): Row[] {
    return [...this.#found].map(([namespace, { keys, bytes, lifetimes }]) => {
      const ending = lifetimes.filter((ms) => ms >= 0).sort((one, other) => one - other)
      return { namespace, keys, bytes, withoutEnd: lifetimes.length - ending.length, medianMs: ending[Math.floor(ending.length / 2)] ?? -1 }
    }).filter((row) => row.keys > 0)
  }

  async take (redis: Redis, progress: (seen: number, all: number) => void): Promise<void> {
    const all = await redis.dbsize()
    let [cursor, seen] = ['0', 0]
    do {
      const [next, page] = await redis.scan(cursor, 'COUNT', pageSize)
      await this.#look(redis, page)
      cursor = next
      progress(seen += page.length, all)
    } while (cursor !== '0')
  }

  async #look (redis: Redis, page: readonly string[]): Promise<void> {
    const pipeline = redis.pipeline()
    for (const key of page) pipeline.call('MEMORY', 'USAGE', key).pttl(key)
    const replies = await pipeline.exec() ?? []
    page.forEach((key, index) => this.#add(key, Number(replies[2 * index]?.[1] ?? 0), Number(replies[2 * index + 1]?.[1] ?? -2)))
  }

  #add (key: string, bytes: number, ttlMs: number): void {
    const row = this.#found.get(this.#keys.namespaceOf(key))
    if (row === undefined || ttlMs === -2) return
    row.keys += 1
    row.bytes += bytes
    row.lifetimes.push(ttlMs)
    if (bytes > (this.biggest[biggestKept - 1]?.bytes ?? 0)) this.biggest = [...this.biggest, { key, bytes }].sort((one, other) => other.bytes - one.bytes).slice(0, biggestKept)
  }
}
