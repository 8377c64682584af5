import type { LockQueue } from './single-flight/lock-queue.ts'
import { FillError } from './single-flight/fill-error.ts'
import { SingleFlightGroup } from './single-flight/in-process-fill.ts'
import type { InProcessFill } from './single-flight/in-process-fill.ts'
import type { AcquireRequest, FillLock } from './single-flight/fill-lock.ts'
import { acquireRequestOf } from './single-flight/fill-lock.ts'
import type { Lookup } from './lookup/lookup.ts'
import { SharedLookups } from './memo-lookup.ts'
import type { SharedLookup } from './memo-lookup.ts'
import { MemoKeys, packMemoRecord } from './memo-record.ts'
import type { MemoKey, MemoRecord } from './memo-record.ts'
import { RecursionGuard } from './recursion-guard.ts'
import type { CacheStore } from './storage/cache-store.ts'
import { wallMs } from '../shared/clock.ts'
import { checkWrapOptions, readRefresh, readTtlMs, readWrapTags } from './wrap-options.ts'
import type { WrapOptions } from './wrap-options.ts'

export type { WrapOptions } from './wrap-options.ts'

const noTags: readonly string[] = Object.freeze([])

/** A value for the waiting callers of this process. Serialized, so that callers do not share a mutable object. */
interface SerializedValue {
  readonly json: string
}

/** One call of `wrap`. */
interface MemoRequest<Value> extends MemoKey {
  readonly ttlMs: number
  readonly tags: readonly string[]
  readonly make: () => Value | Promise<Value>
  /** deadline of the wait for another call's run, on the `performance.now()` clock */
  readonly until: number
  /** the call has waited once for a run without a result to share, and does not wait again */
  readonly hasWaited: boolean
}

/** A refresh that other calls may share. */
interface PendingRefresh {
  /** the tick whose batch purges the fence: a call of a later tick must purge it again, because a run may have begun between the purge and the call */
  readonly tick: number
  readonly fill: InProcessFill<SerializedValue>
  /** settles once its value has replaced what was stored */
  readonly replaced: Promise<unknown>
}

/** `isStored`: whether the value of a run was stored, once that is known. */
type MemoizedValue<Value> = { readonly value: Value, readonly isStored?: Promise<boolean> } | 'again'

/** Caches function results, such as database rows, with the same single flight and tags as responses. */
export class Memoizer {
  readonly #store: CacheStore
  readonly #lockQueue: LockQueue
  readonly #lockTimeoutMs: number
  readonly #singleFlight = new SingleFlightGroup<SerializedValue>()
  /** refreshes that are neither sent nor running */
  readonly #refreshes = new Map<string, PendingRefresh>()
  readonly #recursion = new RecursionGuard()
  readonly #keys: MemoKeys
  readonly #lookups: SharedLookups

  /** @param lockTimeoutMs longest wait for another call's run */
  constructor (store: CacheStore, lockQueue: LockQueue, lockTimeoutMs: number) {
    this.#store = store
    this.#lockQueue = lockQueue
    this.#lockTimeoutMs = lockTimeoutMs
    this.#keys = new MemoKeys(store.keys)
    this.#lookups = new SharedLookups(store)
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
    checkWrapOptions(options, make)
    const memoKey = this.#keys.of(name, params)
    this.#recursion.check(memoKey.redisKey, name)
    const [isRefresh, ttlMs, tags] = [readRefresh(options), readTtlMs(options), readWrapTags(options)]
    const shared = isRefresh ? undefined : this.#look(memoKey, tags)
    if (shared !== undefined) {
      const found = await shared.settled
      this.#lookups.forget()
      // The stored value was made by a call with the same name and parameters, so it has the same type.
      if (found.outcome === 'found' && found.entry.expiresAt > wallMs()) return shared.value() as Value
    }
    const call = { ...memoKey, ttlMs, tags, make, until: performance.now() + this.#lockTimeoutMs, hasWaited: false }
    for (let first = shared; ; first = undefined) {
      const memoized = isRefresh ? await this.#refresh(call) : await this.#attempt(call, first ?? this.#look(memoKey, tags))
      if (memoized !== 'again') return memoized.value
    }
  }

  /**
   * Reads a value that `wrap` has stored. It calls no function, and waits for none that runs.
   *
   * @returns undefined if none is stored, if it has expired or was purged, and while Redis is unavailable
   * @throws {OptionError} PRISM_ERR_OPTION for parameters that JSON cannot represent
   */
  async get<Value = unknown> (name: string, params: unknown): Promise<Value | undefined> {
    const memoKey = this.#keys.of(name, params)
    const shared = this.#look(memoKey, noTags)
    const found = await shared.settled
    this.#lookups.forget()
    return found.outcome === 'found' && found.entry.expiresAt > wallMs() ? shared.value() as Value : undefined
  }

  /**
   * Deletes a value. Afterwards no call of `wrap` or `get`, in any process, returns the value of a run that began before.
   *
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE: the value may or may not have been deleted; it is safe to retry
   * @throws {OptionError} PRISM_ERR_OPTION for parameters that JSON cannot represent
   */
  async delete (name: string, params: unknown): Promise<void> {
    const { redisKey, fence } = this.#keys.of(name, params)
    await this.#store.delete(redisKey, fence)
  }

  /**
   * Reads an entry. A call that finds a run of this process also reads the fence, because it must not join a run from before a `delete`. All other calls need not:
   * store.lua compares the fence, so what is stored is not older. In a Cluster it cannot, because the fence is in another slot than the entry.
   */
  #look (memoKey: MemoKey, tags: readonly string[]): SharedLookup {
    const isFenced = this.#store.isCluster || this.#singleFlight.has(memoKey.redisKey)
    return this.#lookups.look(memoKey, isFenced ? [...tags, memoKey.fence] : tags)
  }

  async #attempt<Value> (call: MemoRequest<Value>, shared: SharedLookup): Promise<MemoizedValue<Value>> {
    const { redisKey } = call
    const { lookup } = shared
    const found = await shared.settled
    this.#lookups.forget()
    if (found.outcome === 'unavailable') return await this.#runWithoutRedis(call)
    if (found.outcome === 'found' && found.entry.expiresAt > wallMs()) return { value: shared.value() as Value }
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
    return { value: typeof ending === 'object' ? JSON.parse(ending.json) as Value : await this.#recursion.run(call.redisKey, call.make) }
  }

  /** After `lockTimeout`, one call starts its own run and becomes the new leader. Other calls that time out wait for that run, but only once. */
  async #replaceHungRun<Value> (call: MemoRequest<Value>, hung: InProcessFill<SerializedValue>, lookup: Lookup<MemoRecord> | undefined): Promise<MemoizedValue<Value>> {
    if (call.hasWaited || lookup === undefined) return { value: await this.#recursion.run(call.redisKey, call.make) }
    const late = { ...call, hasWaited: true, until: performance.now() + this.#lockTimeoutMs }
    // The leader itself still waits for the Redis lock, and times out before this call.
    if (!hung.isRunning) return await this.#join({ ...late, hasWaited: false }, hung, lookup)
    const underWay = this.#singleFlight.find(call.redisKey, lookup.minSequence, this.#store.tick)
    if (underWay !== undefined && underWay !== hung) return await this.#join(late, underWay, lookup)
    return await this.#lead(late, lookup, this.#singleFlight.begin(call.redisKey, lookup.minSequence ?? 0, { tick: this.#store.tick }))
  }

  /** Calls `make` for all callers in this process, unless another process holds the lock. A call that has waited takes the lock over. */
  async #lead<Value> (call: MemoRequest<Value>, lookup: Lookup<MemoRecord>, fill: InProcessFill<SerializedValue>): Promise<MemoizedValue<Value>> {
    const request = fencedRequest(lookup, call)
    // A Redis failure is counted by the connection pool.
    const acquisition = await this.#lockQueue.acquireOrWait(call.redisKey, call.hasWaited ? { ...request, minSequence: Infinity } : request, call.until).catch(() => undefined)
    if (acquisition === undefined) return await this.#run(call, fill, undefined)
    fill.sequence = acquisition.sequence
    if (acquisition.status === 'taken') return await this.#run(call, fill, acquisition.sequence, acquisition.lock)
    if (acquisition.status === 'pass' || acquisition.status === 'failed') return await this.#run(call, fill, acquisition.sequence)
    fill.end('again')
    return 'again'
  }

  /**
   * Calls `make` now, and replaces what is stored: not at once, but with the result. Calls of one tick share a run.
   * The fence is purged first: runs that began before are neither stored over the result nor joined, in any process. So the last refresh to begin wins.
   */
  async #refresh<Value> (call: MemoRequest<Value>): Promise<MemoizedValue<Value>> {
    const pending = call.hasWaited ? undefined : this.#refreshes.get(call.redisKey)
    if (pending?.tick === this.#store.tick) return await this.#joinRefresh(call, pending)
    // Under a name of its own: other calls are served what is stored, and where nothing is, they wait for the lock.
    const fill = this.#singleFlight.begin(`${call.redisKey} refresh`, 0)
    const started = () => { if (this.#refreshes.get(call.redisKey)?.fill === fill) this.#refreshes.delete(call.redisKey) }
    const make = () => {
      started()
      return call.make()
    }
    const { tick } = this.#store
    const replaced = this.#replace({ ...call, make }, fill)
    this.#refreshes.set(call.redisKey, { tick, fill, replaced })
    try {
      return await replaced
    } finally {
      started()
    }
  }

  /** The value of a refresh that had not started, once it has replaced what was stored. If it has none to share, this call's own refresh. */
  async #joinRefresh<Value> (call: MemoRequest<Value>, { fill, replaced }: PendingRefresh): Promise<MemoizedValue<Value>> {
    const ending = await fill.resultWithin(call.until - performance.now())
    if (ending instanceof FillError) throw ending.copy()
    if (typeof ending !== 'object') return await this.#refresh({ ...call, hasWaited: true })
    // The value is there before it is written: until then others still read the old one.
    await replaced.catch(() => {})
    return { value: JSON.parse(ending.json) as Value }
  }

  /** The run of a refresh. If its value is not stored, what was stored before is removed, unless another value has replaced it: it is older than the returned one. */
  async #replace<Value> (call: MemoRequest<Value>, fill: InProcessFill<SerializedValue>): Promise<MemoizedValue<Value>> {
    // Not in one batch: an older run that is stored after the look-up but before the purge would be neither replaced nor removed.
    const isFenced = await this.#store.purge([call.fence]).then(() => true, () => false)
    const shared = this.#look(call, call.tags)
    const { lookup } = shared
    await shared.settled
    this.#lookups.forget()
    const isAvailable = isFenced && lookup.found?.outcome !== 'unavailable'
    const acquisition = isAvailable ? await this.#lockQueue.tryAcquire(call.redisKey, { ...fencedRequest(lookup, call), minSequence: Infinity }).catch(() => undefined) : undefined
    if (acquisition === undefined) return await this.#run(call, fill, undefined)
    if (acquisition.status === 'changed') return await this.#replace(call, fill)
    fill.sequence = acquisition.sequence
    const { value, isStored } = await this.#run(call, fill, acquisition.sequence, acquisition.status === 'taken' ? acquisition.lock : undefined)
    // After a failure the entry expires by itself.
    if (!await isStored) await this.#store.removeUnchanged(call.redisKey, lookup.entryPrefix).catch(() => {})
    return { value }
  }

  /** @param sequence purge sequence before the run; undefined: Redis is unavailable, and nothing is stored */
  async #run<Value> (call: MemoRequest<Value>, fill: InProcessFill<SerializedValue>, sequence: number | undefined, lock?: FillLock): Promise<{ value: Value, isStored: Promise<boolean> }> {
    fill.lock = lock
    fill.isRunning = true
    try {
      const value = await this.#recursion.run(call.redisKey, call.make)
      const json = JSON.stringify(value) as string | undefined
      if (json !== undefined) return { value, isStored: this.#write(call, fill, sequence, json) }
      this.#lockQueue.abandon(fill, 'alone')
      return { value, isStored: Promise.resolve(false) }
    } catch (error) {
      this.#lockQueue.abandon(fill, fill.hasWaiters ? FillError.of(error) ?? 'failed' : 'failed')
      throw error
    }
  }

  /** Writes the value in the background: if the write fails, the next caller runs `make` again. */
  async #write<Value> ({ redisKey, key, tags, fence, ttlMs }: MemoRequest<Value>, fill: InProcessFill<SerializedValue>, sequence: number | undefined, json: string): Promise<boolean> {
    fill.end({ json })
    if (sequence === undefined) return false
    // A lookup compares the fence only where it is among the tags of the entry.
    const stored = this.#store.isCluster ? [...tags, fence] : tags
    const packed = packMemoRecord({ expiresAt: wallMs() + ttlMs, sequence, key, tags: stored }, json)
    const isAdmitted = this.#store.admits(redisKey, Buffer.byteLength(packed))
    const isKept = isAdmitted && await this.#store.write(redisKey, { sequence, tags, fence }, packed, ttlMs, fill.lock).catch(() => false)
    this.#lockQueue.committed(fill, isKept)
    return isKept
  }
}

/** Makes the lock script compare the fence too, unless the lookup has read it: a holder from before a `delete` is not waited for. */
function fencedRequest (lookup: Lookup<MemoRecord>, { fence }: MemoKey): AcquireRequest {
  const request = acquireRequestOf(lookup)
  return lookup.tags.includes(fence) ? request : { ...request, tagsWithoutVersion: [...request.tagsWithoutVersion, fence] }
}
