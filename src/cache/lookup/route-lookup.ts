import type { CacheRequest, RequestHeaders } from '../http-message.ts'
import { forbidsFill } from '../http-message.ts'
import type { RoutePolicy } from '../options.ts'
import type { CacheRequestState } from '../request-state.ts'
import type { CacheRuntime } from '../runtime.ts'
import type { Entry } from '../storage/entry-codec.ts'
import type { CacheKey } from './cache-key.ts'
import type { LookupHints, LookupResult, Lookup } from './lookup.ts'
import type { RouteKeys } from './route-keys.ts'
import type { VaryIndex } from './vary-index.ts'

/** Looks up the stored responses of one route. */
export class RouteLookup<Request extends CacheRequest> {
  readonly #policy: RoutePolicy<Request>
  readonly #pattern: string
  readonly #runtime: CacheRuntime
  readonly #keys: RouteKeys<Request>
  readonly #varyIndex: VaryIndex
  readonly #hints: LookupHints<Entry>

  constructor (policy: RoutePolicy<Request>, pattern: string, runtime: CacheRuntime, keys: RouteKeys<Request>, varyIndex: VaryIndex) {
    this.#policy = policy
    this.#pattern = pattern
    this.#runtime = runtime
    this.#keys = keys
    this.#varyIndex = varyIndex
    this.#hints = { known: runtime.store.knownEntries }
  }

  /** Starts a lookup in the batch of the current tick. The request's later steps use it. */
  look (request: Request, state: CacheRequestState, partition: string): Lookup<Entry> {
    const key = this.#keys.keyOf(request, partition, state)
    state.key = key
    state.partition = partition
    const { headers } = state.keyed ?? request
    const unpack = (packed: Buffer) => this.#varyIndex.unpack(packed, key, headers, state)
    const lookup = this.#runtime.store.look(key.name, this.#keys.tagsOf(request, state), unpack, this.#hintsOf(key, headers))
    state.lookup = lookup
    return lookup
  }

  /** Starts a lookup and, in the same batch, requests the key's lock, so that a miss does not need another round trip. */
  lookAndPrefetch (request: Request, state: CacheRequestState, partition: string): Lookup<Entry> {
    this.releasePrefetchedLock(state)
    const lookup = this.look(request, state, partition)
    const { singleFlight, prefetchedLocks } = this.#runtime
    const mayFill = request.method === 'GET' && !lookup.isGuessed && !singleFlight.has(lookup.name) && !(this.#policy.honorRequestCacheControl && forbidsFill(request))
    state.prefetchedLock = mayFill ? prefetchedLocks.begin(lookup.name, lookup.tags, this.#pattern) : undefined
    return lookup
  }

  /** Releases the prefetched lock if this request has not used it. */
  releasePrefetchedLock ({ prefetchedLock }: CacheRequestState): void {
    if (prefetchedLock !== undefined) this.#runtime.prefetchedLocks.release(prefetchedLock)
  }

  /** The entry that a request would find, fresh or stale, for inspection. */
  async peek (request: Request): Promise<LookupResult<Entry>> {
    const key = this.#keys.keyOf(request, '')
    return await this.#runtime.store.look(key.name, [], (packed) => this.#varyIndex.unpack(packed, key, request.headers)).settled()
  }

  #hintsOf (key: CacheKey, fields: RequestHeaders): LookupHints<Entry> {
    const guess = this.#varyIndex.predictVariant(key, fields)
    return guess === undefined ? this.#hints : { ...this.#hints, guess }
  }
}
