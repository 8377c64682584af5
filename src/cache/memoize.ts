import { hash } from 'node:crypto'
import { readDuration, readRecord, readString } from '../shared/option-readers.ts'
import type { Duration } from '../shared/option-readers.ts'
import type { LockQueue } from './single-flight/lock-queue.ts'
import { SingleFlightGroup } from './single-flight/in-process-fill.ts'
import type { InProcessFill } from './single-flight/in-process-fill.ts'
import type { FillLock } from './single-flight/fill-lock.ts'
import { acquireRequestOf } from './single-flight/fill-lock.ts'
import type { StoredMeta, Lookup } from './lookup/lookup.ts'
import { readTags } from './options.ts'
import type { CacheStore } from './storage/cache-store.ts'
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
interface MemoRecord extends StoredMeta {
  readonly version: 1
  readonly expiresAt: number
  readonly key: string
  readonly value: unknown
}

/** A value for those of this process who wait for it: as JSON, so that nobody changes what another one holds. */
interface SerializedValue {
  readonly json: string
}

/** One call. */
interface MemoRequest<Value> {
  readonly redisKey: string
  readonly key: string
  readonly ttlMs: number
  readonly tags: readonly string[]
  readonly make: () => Value | Promise<Value>
}

type MemoizedValue<Value> = { readonly value: Value } | 'again'

/** Nobody waits longer than this for another process. */
const patienceMs = 5000

/** The cache for values that are not answers: a query's rows, another service's reply. */
export class Memoizer {
  readonly #store: CacheStore
  readonly #lockQueue: LockQueue
  readonly #singleFlight = new SingleFlightGroup<SerializedValue>()

  constructor (store: CacheStore, lockQueue: LockQueue) {
    this.#store = store
    this.#lockQueue = lockQueue
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
    const redisKey = this.#store.keys.cacheWrap(readString('wrap name', name), hash('sha256', `${name}\n${key}`, 'hex').slice(0, 32))
    const wanting = { redisKey, key, ttlMs: readDuration('wrap.ttl', options.ttl), tags: readTags(options.tags ?? []), make }
    for (;;) {
      const answer = await this.#answer(wanting)
      if (answer !== 'again') return answer.value
    }
  }

  async #answer<Value> (wanting: MemoRequest<Value>): Promise<MemoizedValue<Value>> {
    const { redisKey, key, tags } = wanting
    const lookup = this.#store.look(redisKey, tags, (packed) => readMemoRecord(packed, key))
    const found = await lookup.settled()
    if (found.outcome === 'unavailable') return await this.#without(wanting)
    // The value came through the same name, parameters and code: its type is theirs.
    if (found.outcome === 'found' && found.entry.expiresAt > Date.now()) return { value: found.entry.value as Value }
    const required = lookup.minSequence
    const underWay = this.#singleFlight.find(redisKey, required, this.#store.tick)
    if (underWay !== undefined) return await this.#join(wanting, underWay)
    return await this.#lead(wanting, lookup, this.#singleFlight.begin(redisKey, required ?? 0, { tick: this.#store.tick }))
  }

  /** Without Redis nothing is kept, but those of this process who want the same at the same time share one run. */
  async #without<Value> (wanting: MemoRequest<Value>): Promise<MemoizedValue<Value>> {
    const name = `${wanting.redisKey} without`
    const underWay = this.#singleFlight.find(name, 0, -1)
    return underWay === undefined ? await this.#run(wanting, this.#singleFlight.begin(name, 0), undefined) : await this.#join(wanting, underWay)
  }

  async #join<Value> ({ make }: MemoRequest<Value>, fill: InProcessFill<SerializedValue>): Promise<MemoizedValue<Value>> {
    const ending = await fill.result
    if (ending === 'again') return 'again'
    return { value: ending === 'alone' ? await make() : JSON.parse(ending.json) as Value }
  }

  /** Makes it for all who come by this process, unless another process does. */
  async #lead<Value> (wanting: MemoRequest<Value>, lookup: Lookup<MemoRecord>, fill: InProcessFill<SerializedValue>): Promise<MemoizedValue<Value>> {
    // Where Redis has gone meanwhile, that is counted where connections are.
    const taking = await this.#lockQueue.acquireOrWait(wanting.redisKey, acquireRequestOf(lookup), performance.now() + patienceMs).catch(() => undefined)
    if (taking === undefined) return await this.#run(wanting, fill, undefined)
    fill.sequence = taking.sequence
    if (taking.word === 'taken') return await this.#run(wanting, fill, taking.sequence, taking.lock)
    if (taking.word === 'pass') return await this.#run(wanting, fill, taking.sequence)
    fill.end('again')
    return 'again'
  }

  /** @param sequence where the purge sequence stood before; undefined: Redis is away, and nothing is kept */
  async #run<Value> (wanting: MemoRequest<Value>, fill: InProcessFill<SerializedValue>, sequence: number | undefined, lock?: FillLock): Promise<MemoizedValue<Value>> {
    fill.lock = lock
    try {
      const value = await wanting.make()
      const json = JSON.stringify(value) as string | undefined
      if (json === undefined) this.#lockQueue.abandon(fill, 'alone')
      else this.#keep(wanting, fill, sequence, json)
      return { value }
    } catch (error) {
      // It may succeed for the next one, who has a `make` of his own.
      this.#lockQueue.abandon(fill, 'again')
      throw error
    }
  }

  /** Kept or not, the value is right: a store that fails costs the next caller a run, no more. */
  #keep<Value> ({ redisKey, key, tags, ttlMs }: MemoRequest<Value>, fill: InProcessFill<SerializedValue>, sequence: number | undefined, json: string): void {
    const done = (isKept: boolean) => this.#lockQueue.committed(fill, isKept)
    fill.end({ json })
    if (sequence === undefined) return
    const head = JSON.stringify({ version: 1, expiresAt: Date.now() + ttlMs, sequence, key, tags })
    const envelope = `${head.slice(0, -1)},"value":${json}}`
    if (this.#store.admits(redisKey, Buffer.byteLength(envelope))) this.#store.write(redisKey, { sequence, tags }, envelope, ttlMs, fill.lock).then(done, () => done(false))
    else done(false)
  }
}

function readMemoRecord (packed: Buffer, key: string): MemoRecord | undefined {
  try {
    const record = JSON.parse(packed.toString()) as Partial<MemoRecord> | null
    const isOurs = record?.version === 1 && record.key === key && Array.isArray(record.tags) &&
      typeof record.sequence === 'number' && typeof record.expiresAt === 'number'
    return isOurs ? record as MemoRecord : undefined
  } catch {
    return undefined // not JSON: not ours
  }
}
