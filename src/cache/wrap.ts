import { hash } from 'node:crypto'
import { readDuration, readRecord, readText } from '../options.ts'
import type { Duration } from '../options.ts'
import type { Entrance } from './fill/entrance.ts'
import { Fills } from './fill/fill.ts'
import type { Fill } from './fill/fill.ts'
import type { Lock } from './fill/lock.ts'
import { wishOf } from './fill/lock.ts'
import type { Kept, Lookup } from './lookup.ts'
import { readTags } from './policy.ts'
import type { CacheStore } from './store.ts'
import { stableJson } from './stable-json.ts'

/** How long a wrapped value is kept, and what purges it. */
export interface WrapOptions {
  ttl: Duration
  tags?: readonly string[]
}

/**
 * What stands in Redis under `api:cache:wrap:<name>:{<hash>}`, as JSON: any service may read it.
 * `expiresAt` is in milliseconds since 1970, `key` the parameters, which are hashed behind the name, `sequence` and `tags` what a purge compares.
 * What differs from one value to the next stands first: who stores compares the first bytes.
 */
interface Envelope extends Kept {
  readonly version: 1
  readonly expiresAt: number
  readonly key: string
  readonly value: unknown
}

/** A value for those of this process who wait for it: as JSON, so that nobody changes what another one holds. */
interface Made {
  readonly json: string
}

/** One call. */
interface Wanting<Value> {
  readonly redisKey: string
  readonly key: string
  readonly ttlMs: number
  readonly tags: readonly string[]
  readonly make: () => Value | Promise<Value>
}

type Answer<Value> = { readonly value: Value } | 'again'

/** Nobody waits longer than this for another process. */
const patienceMs = 5000

/** The cache for values that are not answers: a query's rows, another service's reply. */
export class Wraps {
  readonly #store: CacheStore
  readonly #entrance: Entrance
  readonly #fills = new Fills<Made>()

  constructor (store: CacheStore, entrance: Entrance) {
    this.#store = store
    this.#entrance = entrance
  }

  /**
   * Gives a value that was made before, or makes it, in one of all processes. It is kept as JSON: what JSON cannot say, a hit does not have.
   *
   * @param params what the value depends on, anything that JSON can say; the order of names does not matter
   * @throws whatever `make` throws; never because of Redis
   * @throws {OptionError} PRISM_ERR_OPTION for an option that is wrong, and for parameters that JSON cannot tell apart
   */
  async wrap<Value> (name: string, params: unknown, options: WrapOptions, make: () => Value | Promise<Value>): Promise<Value> {
    readRecord('wrap', options, ['ttl', 'tags'])
    const key = stableJson('wrap params', params)
    // Names share no lock, which is named by the hash alone.
    const redisKey = this.#store.keys.cacheWrap(readText('wrap name', name), hash('sha256', `${name}\n${key}`, 'hex').slice(0, 32))
    const wanting = { redisKey, key, ttlMs: readDuration('wrap.ttl', options.ttl), tags: readTags(options.tags ?? []), make }
    for (;;) {
      const answer = await this.#answer(wanting)
      if (answer !== 'again') return answer.value
    }
  }

  async #answer<Value> (wanting: Wanting<Value>): Promise<Answer<Value>> {
    const { redisKey, key, tags } = wanting
    const lookup = this.#store.look(redisKey, tags, (packed) => readEnvelope(packed, key))
    const found = await lookup.settled()
    if (found.outcome === 'unavailable') return await this.#without(wanting)
    // The value came through the same name, parameters and code: its type is theirs.
    if (found.outcome === 'found' && found.entry.expiresAt > Date.now()) return { value: found.entry.value as Value }
    const required = lookup.requiredSequence
    const underWay = this.#fills.find(redisKey, required, this.#store.tick)
    if (underWay !== undefined) return await this.#join(wanting, underWay)
    return await this.#lead(wanting, lookup, this.#fills.begin(redisKey, required ?? 0, { tick: this.#store.tick }))
  }

  /** Without Redis nothing is kept, but those of this process who want the same at the same time share one run. */
  async #without<Value> (wanting: Wanting<Value>): Promise<Answer<Value>> {
    const name = `${wanting.redisKey} without`
    const underWay = this.#fills.find(name, 0, -1)
    return underWay === undefined ? await this.#run(wanting, this.#fills.begin(name, 0), undefined) : await this.#join(wanting, underWay)
  }

  async #join<Value> ({ make }: Wanting<Value>, fill: Fill<Made>): Promise<Answer<Value>> {
    const ending = await fill.result
    if (ending === 'again') return 'again'
    return { value: ending === 'alone' ? await make() : JSON.parse(ending.json) as Value }
  }

  /** Makes it for all who come by this process, unless another process does. */
  async #lead<Value> (wanting: Wanting<Value>, lookup: Lookup<Envelope>, fill: Fill<Made>): Promise<Answer<Value>> {
    // Where Redis has gone meanwhile, that is counted where connections are.
    const taking = await this.#entrance.enter(wanting.redisKey, wishOf(lookup), performance.now() + patienceMs).catch(() => undefined)
    if (taking === undefined) return await this.#run(wanting, fill, undefined)
    fill.sequence = taking.sequence
    if (taking.word === 'taken') return await this.#run(wanting, fill, taking.sequence, taking.lock)
    if (taking.word === 'pass') return await this.#run(wanting, fill, taking.sequence)
    fill.end('again')
    return 'again'
  }

  /** @param sequence where the purge sequence stood before; undefined: Redis is away, and nothing is kept */
  async #run<Value> (wanting: Wanting<Value>, fill: Fill<Made>, sequence: number | undefined, lock?: Lock): Promise<Answer<Value>> {
    fill.lock = lock
    try {
      const value = await wanting.make()
      const json = JSON.stringify(value) as string | undefined
      if (json === undefined) this.#entrance.leave(fill, 'alone')
      else this.#keep(wanting, fill, sequence, json)
      return { value }
    } catch (error) {
      // It may succeed for the next one, who has a `make` of his own.
      this.#entrance.leave(fill, 'again')
      throw error
    }
  }

  /** Kept or not, the value is right: a store that fails costs the next caller a run, no more. */
  #keep<Value> ({ redisKey, key, tags, ttlMs }: Wanting<Value>, fill: Fill<Made>, sequence: number | undefined, json: string): void {
    const done = (isKept: boolean) => this.#entrance.stored(fill, isKept)
    fill.end({ json })
    if (sequence === undefined) return
    const head = JSON.stringify({ version: 1, expiresAt: Date.now() + ttlMs, sequence, key, tags })
    const envelope = `${head.slice(0, -1)},"value":${json}}`
    if (this.#store.admits(redisKey, Buffer.byteLength(envelope))) this.#store.keep(redisKey, { sequence, tags }, envelope, ttlMs, fill.lock).then(done, () => done(false))
    else done(false)
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
