import { AsyncLocalStorage } from 'node:async_hooks'
import { hash } from 'node:crypto'
import { WrapRecursionError } from '../shared/errors.ts'
import { readDuration, readRecord, readString } from '../shared/option-readers.ts'
import type { Duration } from '../shared/option-readers.ts'
import type { LockQueue } from './single-flight/lock-queue.ts'
import { FillError } from './single-flight/fill-error.ts'
import { SingleFlightGroup } from './single-flight/in-process-fill.ts'
import type { InProcessFill } from './single-flight/in-process-fill.ts'
import type { FillLock } from './single-flight/fill-lock.ts'
import { acquireRequestOf } from './single-flight/fill-lock.ts'
import type { StoredMeta, Lookup } from './lookup/lookup.ts'
import { readTags } from './options.ts'
import type { CacheStore } from './storage/cache-store.ts'
import { stableJson } from './stable-json.ts'
import { wallMs } from '../shared/clock.ts'

/** Options of `cache.wrap`. */
export interface WrapOptions {
  ttl: Duration
  tags?: readonly string[]
}

/**
 * The record in Redis under `api:cache:wrap:<name>:{<hash>}`, as JSON, so that other services can read it.
 * `expiresAt` is in milliseconds since 1970, `key` holds the parameters, whose hash is in the Redis key; `sequence` and `tags` are compared with purges.
 * Variable fields come first, because store.lua detects a concurrent write by comparing the first 48 bytes.
 */
interface MemoRecord extends StoredMeta {
  readonly version: 1
  readonly expiresAt: number
  readonly key: string
  readonly value: unknown
}

/** A value for the waiting callers of this process. Serialized, so that callers do not share a mutable object. */
interface SerializedValue {
  readonly json: string
}

/** One call of `wrap`. */
interface MemoRequest<Value> {
  readonly redisKey: string
  readonly key: string
  readonly ttlMs: number
  readonly tags: readonly string[]
  readonly make: () => Value | Promise<Value>
  /** deadline of the wait for another call's run, on the `performance.now()` clock */
  readonly until: number
  /** the call has timed out once and does not wait again */
  readonly hasWaited: boolean
}

/** A run of a function, and the run in which it was started. */
interface Frame {
  readonly redisKey: string
  readonly outer: Frame | undefined
  isRunning: boolean
}

type MemoizedValue<Value> = { readonly value: Value } | 'again'

/** Caches function results, such as database rows, with the same single flight and tags as responses. */
export class Memoizer {
  readonly #store: CacheStore
  readonly #lockQueue: LockQueue
  readonly #lockTimeoutMs: number
  readonly #singleFlight = new SingleFlightGroup<SerializedValue>()
  readonly #frames = new AsyncLocalStorage<Frame>()

  /** @param lockTimeoutMs longest wait for another call's run */
  constructor (store: CacheStore, lockQueue: LockQueue, lockTimeoutMs: number) {
    this.#store = store
    this.#lockQueue = lockQueue
    this.#lockTimeoutMs = lockTimeoutMs
  }

  /**
   * Returns the cached value, or calls `make` in one process and caches its result. The value is stored as JSON: a hit lacks what JSON cannot represent.
   *
   * @param params inputs of the value, JSON-serializable; the order of object keys does not matter
   * @throws what `make` throws; a call that waited for another call's run receives a copy of its error. A Redis failure does not throw
   * @throws {WrapRecursionError} PRISM_ERR_WRAP_RECURSION if called within its own `make`
   * @throws {OptionError} PRISM_ERR_OPTION for an invalid option, and for parameters that JSON cannot represent
   */
  async wrap<Value> (name: string, params: unknown, options: WrapOptions, make: () => Value | Promise<Value>): Promise<Value> {
    readRecord('wrap', options, ['ttl', 'tags'])
    const key = stableJson('wrap params', params)
    // The lock key contains only the hash, so the hash must include the name.
    const redisKey = this.#store.keys.cacheWrap(readString('wrap name', name), hash('sha256', `${name}\n${key}`, 'hex').slice(0, 32))
    this.#refuseRecursion(redisKey, name)
    const call = { redisKey, key, ttlMs: readDuration('wrap.ttl', options.ttl), tags: readTags(options.tags ?? []), make, until: performance.now() + this.#lockTimeoutMs, hasWaited: false }
    for (;;) {
      const memoized = await this.#attempt(call)
      if (memoized !== 'again') return memoized.value
    }
  }

  /** The call would wait for the run that it is part of. */
  #refuseRecursion (redisKey: string, name: string): void {
    for (let frame = this.#frames.getStore(); frame !== undefined; frame = frame.outer) {
      // What a finished run has left behind, such as a timer, may call again.
      if (frame.redisKey === redisKey && frame.isRunning) throw new WrapRecursionError(name)
    }
  }

  async #make<Value> ({ redisKey, make }: MemoRequest<Value>): Promise<Value> {
    const frame = { redisKey, outer: this.#frames.getStore(), isRunning: true }
    try {
      return await this.#frames.run(frame, make)
    } finally {
      frame.isRunning = false
    }
  }

  async #attempt<Value> (call: MemoRequest<Value>): Promise<MemoizedValue<Value>> {
    const { redisKey, key, tags } = call
    const lookup = this.#store.look(redisKey, tags, (packed) => readMemoRecord(packed, key))
    const found = await lookup.settled()
    if (found.outcome === 'unavailable') return await this.#runWithoutRedis(call)
    // The stored value was made by a call with the same name and parameters, so it has the same type.
    if (found.outcome === 'found' && found.entry.expiresAt > wallMs()) return { value: found.entry.value as Value }
    const required = lookup.minSequence
    const underWay = this.#singleFlight.find(redisKey, required, this.#store.tick)
    if (underWay !== undefined) return await this.#join(call, underWay, lookup)
    return await this.#lead(call, lookup, this.#singleFlight.begin(redisKey, required ?? 0, { tick: this.#store.tick }))
  }

  /** Redis is unavailable: nothing is stored, but concurrent calls of this process share one run. */
  async #runWithoutRedis<Value> (call: MemoRequest<Value>): Promise<MemoizedValue<Value>> {
    const name = `${call.redisKey} without`
    const underWay = this.#singleFlight.find(name, 0, -1)
    return underWay === undefined ? await this.#run(call, this.#singleFlight.begin(name, 0), undefined) : await this.#join(call, underWay)
  }

  /** @param lookup undefined while Redis is unavailable */
  async #join<Value> (call: MemoRequest<Value>, fill: InProcessFill<SerializedValue>, lookup?: Lookup<MemoRecord>): Promise<MemoizedValue<Value>> {
    const ending = await fill.resultWithin(call.until - performance.now())
    if (ending === 'late') return await this.#replaceHungRun(call, fill, lookup)
    if (ending === 'again') return 'again'
    if (ending instanceof FillError) throw ending.copy()
    return { value: typeof ending === 'object' ? JSON.parse(ending.json) as Value : await this.#make(call) }
  }

  /** After `lockTimeout`, one call starts its own run and becomes the new leader. Other calls that time out wait for that run, but only once. */
  async #replaceHungRun<Value> (call: MemoRequest<Value>, hung: InProcessFill<SerializedValue>, lookup: Lookup<MemoRecord> | undefined): Promise<MemoizedValue<Value>> {
    if (call.hasWaited || lookup === undefined) return { value: await this.#make(call) }
    const late = { ...call, hasWaited: true, until: performance.now() + this.#lockTimeoutMs }
    // The leader itself still waits for the Redis lock, and times out before this call.
    if (!hung.isRunning) return await this.#join({ ...late, hasWaited: false }, hung, lookup)
    const underWay = this.#singleFlight.find(call.redisKey, lookup.minSequence, this.#store.tick)
    if (underWay !== undefined && underWay !== hung) return await this.#join(late, underWay, lookup)
    return await this.#lead(late, lookup, this.#singleFlight.begin(call.redisKey, lookup.minSequence ?? 0, { tick: this.#store.tick }))
  }

  /** Calls `make` for all callers in this process, unless another process holds the lock. A call that has waited takes the lock over. */
  async #lead<Value> (call: MemoRequest<Value>, lookup: Lookup<MemoRecord>, fill: InProcessFill<SerializedValue>): Promise<MemoizedValue<Value>> {
    const request = acquireRequestOf(lookup)
    // A Redis failure is counted by the connection pool.
    const acquisition = await this.#lockQueue.acquireOrWait(call.redisKey, call.hasWaited ? { ...request, minSequence: Infinity } : request, call.until).catch(() => undefined)
    if (acquisition === undefined) return await this.#run(call, fill, undefined)
    fill.sequence = acquisition.sequence
    if (acquisition.status === 'taken') return await this.#run(call, fill, acquisition.sequence, acquisition.lock)
    if (acquisition.status === 'pass' || acquisition.status === 'failed') return await this.#run(call, fill, acquisition.sequence)
    fill.end('again')
    return 'again'
  }

  /** @param sequence purge sequence before the run; undefined: Redis is unavailable, and nothing is stored */
  async #run<Value> (call: MemoRequest<Value>, fill: InProcessFill<SerializedValue>, sequence: number | undefined, lock?: FillLock): Promise<MemoizedValue<Value>> {
    fill.lock = lock
    fill.isRunning = true
    try {
      const value = await this.#make(call)
      const json = JSON.stringify(value) as string | undefined
      if (json === undefined) this.#lockQueue.abandon(fill, 'alone')
      else this.#write(call, fill, sequence, json)
      return { value }
    } catch (error) {
      this.#lockQueue.abandon(fill, fill.hasWaiters ? FillError.of(error) ?? 'failed' : 'failed')
      throw error
    }
  }

  /** Writes the value in the background: if the write fails, the next caller runs `make` again. */
  #write<Value> ({ redisKey, key, tags, ttlMs }: MemoRequest<Value>, fill: InProcessFill<SerializedValue>, sequence: number | undefined, json: string): void {
    const done = (isKept: boolean) => this.#lockQueue.committed(fill, isKept)
    fill.end({ json })
    if (sequence === undefined) return
    const head = JSON.stringify({ version: 1, expiresAt: wallMs() + ttlMs, sequence, key, tags })
    const serialized = `${head.slice(0, -1)},"value":${json}}`
    if (this.#store.admits(redisKey, Buffer.byteLength(serialized))) this.#store.write(redisKey, { sequence, tags }, serialized, ttlMs, fill.lock).then(done, () => done(false))
    else done(false)
  }
}

function readMemoRecord (packed: Buffer, key: string): MemoRecord | undefined {
  try {
    const record = JSON.parse(packed.toString()) as Partial<MemoRecord> | null
    const isValid = record?.version === 1 && record.key === key && Array.isArray(record.tags) &&
      typeof record.sequence === 'number' && typeof record.expiresAt === 'number'
    return isValid ? record as MemoRecord : undefined
  } catch {
    return undefined // not JSON: not written by this package
  }
}
