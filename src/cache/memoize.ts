import { AsyncLocalStorage } from 'node:async_hooks'
import { hash } from 'node:crypto'
import { WrapRecursionError } from '../shared/errors.ts'
import { TwoGenerationLru } from '../shared/lru.ts'
import { readDuration, readRecord, readString } from '../shared/option-readers.ts'
import type { Duration } from '../shared/option-readers.ts'
import type { LockQueue } from './single-flight/lock-queue.ts'
import { FillError } from './single-flight/fill-error.ts'
import { SingleFlightGroup } from './single-flight/in-process-fill.ts'
import type { InProcessFill } from './single-flight/in-process-fill.ts'
import type { FillLock } from './single-flight/fill-lock.ts'
import { acquireRequestOf } from './single-flight/fill-lock.ts'
import type { Lookup } from './lookup/lookup.ts'
import { SharedLookup } from './memo-lookup.ts'
import type { MemoRecord } from './memo-lookup.ts'
import { readTags } from './options.ts'
import type { CacheStore } from './storage/cache-store.ts'
import { stableJson } from './stable-json.ts'

/** Options of `cache.wrap`. */
export interface WrapOptions {
  ttl: Duration
  tags?: readonly string[]
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

const noTags: readonly string[] = Object.freeze([])
/** Redis keys of names and parameters that were used last: their hash costs more than the rest of a hit. */
const rememberedKeys = 1000
const longestRememberedKey = 300
const rememberedTtls = 100

/** Caches function results, such as database rows, with the same single flight and tags as responses. */
export class Memoizer {
  readonly #store: CacheStore
  readonly #lockQueue: LockQueue
  readonly #lockTimeoutMs: number
  readonly #singleFlight = new SingleFlightGroup<SerializedValue>()
  readonly #frames = new AsyncLocalStorage<Frame>()
  /** look-ups of the current tick that have not settled, by Redis key */
  readonly #lookups = new Map<string, SharedLookup>()
  readonly #redisKeys = new TwoGenerationLru<string, string>(rememberedKeys)
  readonly #ttls = new Map<unknown, number>()

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
    if (!hasOnlyKnown(options)) readRecord('wrap', options, ['ttl', 'tags'])
    const key = stableJson('wrap params', params)
    const redisKey = this.#redisKeyOf(name, key)
    const ttlMs = this.#ttlMsOf(options.ttl)
    const given = options.tags ?? noTags
    const tags = given === noTags ? given : areUsualTags(given) ? [...given] : readTags(given)
    this.#refuseRecursion(redisKey, name)
    const lookup = this.#lookUp(redisKey, key, tags)
    const found = await lookup.settled
    this.#forget(redisKey, lookup)
    // The stored value was made by a call with the same name and parameters, so it has the same type.
    if (found.outcome === 'found' && found.entry.expiresAt > Date.now()) return lookup.value() as Value
    return await this.#runOrJoin({ redisKey, key, ttlMs, tags, make, until: performance.now() + this.#lockTimeoutMs, hasWaited: false }, lookup)
  }

  /** The lock key contains only the hash, so the hash must include the name. */
  #redisKeyOf (name: string, key: string): string {
    const text = `${readString('wrap name', name)}\n${key}`
    const known = this.#redisKeys.get(text)
    if (known !== undefined) return known
    const redisKey = this.#store.keys.cacheWrap(name, hash('sha256', text, 'hex').slice(0, 32))
    if (text.length <= longestRememberedKey) this.#redisKeys.set(text, redisKey)
    return redisKey
  }

  #ttlMsOf (ttl: Duration): number {
    const known = this.#ttls.get(ttl)
    if (known !== undefined) return known
    const ttlMs = readDuration('wrap.ttl', ttl)
    if (this.#ttls.size >= rememberedTtls) this.#ttls.clear()
    this.#ttls.set(ttl, ttlMs)
    return ttlMs
  }

  /** Reads in the current batch. Calls of one tick share a look-up: their reads would be answered by the same write. */
  #lookUp (redisKey: string, key: string, tags: readonly string[]): SharedLookup {
    const shared = this.#lookups.get(redisKey)
    if (shared !== undefined && shared.isFor(this.#store.tick, key, tags)) return shared
    const lookup = new SharedLookup(this.#store, redisKey, key, tags)
    this.#lookups.set(redisKey, lookup)
    return lookup
  }

  #forget (redisKey: string, lookup: SharedLookup): void {
    if (this.#lookups.get(redisKey) === lookup) this.#lookups.delete(redisKey)
  }

  /** The value is not stored: runs `make`, or waits for a run; repeated where that run has stored nothing. */
  async #runOrJoin<Value> (call: MemoRequest<Value>, first: SharedLookup): Promise<Value> {
    for (let shared = first; ; shared = this.#lookUp(call.redisKey, call.key, call.tags)) {
      const memoized = await this.#attempt(call, shared)
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

  async #attempt<Value> (call: MemoRequest<Value>, shared: SharedLookup): Promise<MemoizedValue<Value>> {
    const { redisKey } = call
    const found = await shared.settled
    this.#forget(redisKey, shared)
    if (found.outcome === 'unavailable') return await this.#runWithoutRedis(call)
    if (found.outcome === 'found' && found.entry.expiresAt > Date.now()) return { value: shared.value() as Value }
    const { lookup } = shared
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
    const head = JSON.stringify({ version: 1, expiresAt: Date.now() + ttlMs, sequence, key, tags })
    const serialized = `${head.slice(0, -1)},"value":${json}}`
    if (this.#store.admits(redisKey, Buffer.byteLength(serialized))) this.#store.write(redisKey, { sequence, tags }, serialized, ttlMs, fill.lock).then(done, () => done(false))
    else done(false)
  }
}

/** Cheap tests of what is right almost always; the option readers name what is wrong. */
function areUsualTags (tags: readonly string[]): boolean {
  if (!Array.isArray(tags)) return false
  for (const tag of tags) if (typeof tag !== 'string' || tag === '' || tag.startsWith('=')) return false
  return true
}

function hasOnlyKnown (options: WrapOptions): boolean {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) return false
  for (const name in options) if (name !== 'ttl' && name !== 'tags') return false
  return true
}
