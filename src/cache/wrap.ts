import { hash } from 'node:crypto'
import { readDuration, readRecord, readText } from '../options.ts'
import type { Duration } from '../options.ts'
import { Fills } from './fill.ts'
import type { Kept } from './lookup.ts'
import { readTags } from './policy.ts'
import type { CacheStore } from './store.ts'

/** How long a wrapped value is kept, and what purges it. */
export interface WrapOptions {
  ttl: Duration
  tags?: readonly string[]
}

/**
 * What stands in Redis under `api:cache:wrap:<name>:{<hash>}`, as JSON: any service may read it.
 * `expiresAt` is in milliseconds since 1970, `key` the parameters as they were hashed, `sequence` and `tags` what a purge compares.
 */
interface Envelope extends Kept {
  readonly version: 1
  readonly key: string
  readonly expiresAt: number
  readonly value: unknown
}

/** The cache for values that are not answers: a query's rows, another service's reply. */
export class Wraps {
  readonly #store: CacheStore
  readonly #fills = new Fills<Envelope>()

  constructor (store: CacheStore) {
    this.#store = store
  }

  /**
   * Gives a value that was made before, or makes it. It is kept as JSON: what JSON cannot say, a hit does not have.
   *
   * @param params what the value depends on; their order does not matter
   * @throws whatever `make` throws; never because of Redis
   */
  async wrap<Value> (name: string, params: unknown, options: WrapOptions, make: () => Value | Promise<Value>): Promise<Value> {
    readRecord('wrap', options, ['ttl', 'tags'])
    const ttlMs = readDuration('wrap.ttl', options.ttl)
    const tags = readTags(options.tags ?? [])
    const key = stableJson(params)
    const redisKey = this.#store.keys.cacheWrap(readText('wrap name', name), hash('sha256', key, 'hex').slice(0, 32))

    const lookup = this.#store.look(redisKey, tags, (packed) => readEnvelope(packed, key))
    const found = await lookup.settled()
    // The value came through the same name, parameters and code: its type is theirs.
    if (found.outcome === 'found' && found.entry.expiresAt > Date.now()) return found.entry.value as Value
    const sequence = await this.#store.begin(lookup.unmarked).catch(() => undefined)
    if (found.outcome === 'unavailable' || sequence === undefined) return await make()

    const shared = this.#fills.find(redisKey, lookup.requiredSequence ?? sequence, -1)
    const made = shared === undefined ? undefined : await shared.result
    if (typeof made === 'object') return made.value as Value
    return await this.#fill(redisKey, { version: 1, key, tags, sequence, expiresAt: ttlMs }, make)
  }

  async #fill<Value> (redisKey: string, head: Omit<Envelope, 'value'>, make: () => Value | Promise<Value>): Promise<Value> {
    const fill = this.#fills.begin(redisKey, head.sequence)
    try {
      const value = await make()
      const envelope = { ...head, expiresAt: Date.now() + head.expiresAt, value }
      const json = value === undefined ? undefined : JSON.stringify(envelope)
      // Kept or not, the value is right: a store that fails costs the next caller a run, no more.
      if (json !== undefined && this.#store.admits(redisKey, Buffer.byteLength(json))) this.#store.keep(redisKey, head, json, head.expiresAt).catch(() => false)
      fill.end(json === undefined ? 'alone' : JSON.parse(json) as Envelope)
      return value
    } finally {
      fill.end('again')
    }
  }
}

function readEnvelope (packed: Buffer, key: string): Envelope | undefined {
  try {
    const envelope = JSON.parse(packed.toString()) as Partial<Envelope> | null
    const isOurs = envelope?.version === 1 && envelope.key === key && Array.isArray(envelope.tags) &&
      typeof envelope.sequence === 'number' && typeof envelope.expiresAt === 'number'
    return isOurs ? envelope as Envelope : undefined
  } catch {
    return undefined // not JSON: not ours
  }
}

/** JSON with the keys of every object in order. */
function stableJson (value: unknown): string {
  const sorted = (_name: string, each: unknown) => typeof each === 'object' && each !== null && !Array.isArray(each)
    ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => a < b ? -1 : 1))
    : each
  return JSON.stringify(value, sorted) ?? 'undefined'
}
