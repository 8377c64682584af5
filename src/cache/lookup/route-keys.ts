import { presentInputs } from '../handler/absent-inputs.ts'
import type { CacheReply, CacheRequest } from '../http-message.ts'
import { uriTag } from '../invalidation/uri-tag.ts'
import type { RoutePolicy } from '../options.ts'
import type { CacheRequestState } from '../request-state.ts'
import type { CacheRuntime } from '../runtime.ts'
import { sessionIdentity } from '../../shared/session-identity.ts'
import type { RequestWithIdentity } from '../../shared/session-identity.ts'
import { CacheKeyBuilder } from './cache-key.ts'
import type { CacheKey } from './cache-key.ts'
import { encodeText } from './encode-text.ts'
import { partitionNamedBy, TagFunctions } from './identity-functions.ts'
import { KeyedFieldReader } from './keyed-fields.ts'
import type { KeyedFields } from './keyed-fields.ts'
import { QueryParsing } from './query-parsing.ts'
import { StrippedQuery } from './stripped-query.ts'

/** What the responses of one route are stored under: the key with its partition, and the tags. */
export class RouteKeys<Request extends CacheRequest> {
  readonly builder: CacheKeyBuilder
  readonly tagFunctions: TagFunctions<Request>
  readonly #policy: RoutePolicy<Request>
  readonly #pattern: string
  readonly #runtime: CacheRuntime
  readonly #fieldReader: KeyedFieldReader
  readonly #queryParsing = new QueryParsing()
  readonly #strippedQuery = new StrippedQuery()

  constructor (policy: RoutePolicy<Request>, pattern: string, runtime: CacheRuntime) {
    this.#policy = policy
    this.#pattern = pattern
    this.#runtime = runtime
    this.#fieldReader = new KeyedFieldReader(policy)
    this.builder = new CacheKeyBuilder(policy, runtime.store.keys.cacheEntry('GET', pattern))
    this.tagFunctions = new TagFunctions(policy.tagsOf, (err) => runtime.warn({ route: pattern, err }, 'Response not cached: the tags function of the route failed'))
  }

  /** Decides by the query as received which URL the key contains. */
  readQuery (request: Request, state: CacheRequestState, url: string): void {
    const { inputs } = state
    if (inputs === undefined) return
    state.isExact = !this.#queryParsing.isUsual(url, inputs.query)
    // A proxy forwards the URL as it is, and a listed query is normalized by its list.
    if (!state.isExact && this.#policy.query === undefined && this.#policy.ttlMs !== undefined) state.keyedUrl = this.#strippedQuery.urlOf(request, url, inputs.query)
  }

  /** The partition by the identity in the cookie, before the session has been verified; undefined if the request has none. */
  unverifiedPartitionOf (request: Request, partition: 'user' | 'session' | undefined): string | undefined {
    if (partition === undefined) return this.presentInputs(request)
    const unverified = (request as RequestWithIdentity)[sessionIdentity]?.unverified
    const id = partition === 'user' ? unverified?.userId : unverified?.id
    return id === undefined ? undefined : `${this.presentInputs(request)}${partition}:${encodeText(id)}`
  }

  /** @param state has the results of `readQuery` and `readFields`; without it, URL and headers are as the app has left it */
  keyOf (request: Request, partition: string, state?: CacheRequestState): CacheKey {
    const keyed = state?.keyed ?? this.#fieldReader.read(request)
    const origin = this.#policy.ttlMs === undefined ? `${request.protocol}://${keyed.host}` : this.hostOf(keyed)
    return this.builder.make(state?.keyedUrl ?? request.raw.url ?? '', keyed.headers, origin === '' ? '' : encodeURI(origin), partition, state?.isExact)
  }

  /** Reads headers and host for the key, before validation and later hooks change them. */
  readFields (request: Request, state: CacheRequestState): void {
    state.keyed = this.#fieldReader.read(request)
  }

  /**
   * Compares headers and host with those for the key. Where hooks have changed them, the key has to be made again, of what the handler sees.
   *
   * @returns the name of a header of which no key can be made
   */
  reviewFields (request: Request, state: CacheRequestState): string | undefined {
    const change = state.keyed === undefined ? 'none' : this.#fieldReader.changeSince(state.keyed, request)
    if (change === 'none') return undefined
    if (change !== 'other') return change.unknown
    state.hasOtherFields = true
    state.keyed = this.#fieldReader.read(request)
    return undefined
  }

  /** The host where the route's `hosts` name it: a part of the key; else ''. */
  hostOf (keyed: KeyedFields | undefined): string {
    return keyed !== undefined && this.#policy.hosts?.has(keyed.host) === true ? keyed.host : ''
  }

  tagsOf (request: Request, { named }: CacheRequestState): readonly string[] {
    const { tags, tagsOf, ttlMs } = this.#policy
    const isWritten = ttlMs === undefined || this.#runtime.unsafeRoutes.has(this.#pattern)
    if (tagsOf.length === 0 && !isWritten) return tags
    const url = request.raw.url ?? ''
    const uri = isWritten ? [uriTag(request, url)] : []
    return [...new Set([...tags, ...named ?? [], ...uri])]
  }

  /** The tags of the request after the handler has run. */
  tagsToStore (request: Request, state: CacheRequestState): readonly string[] {
    if (this.tagFunctions.isEmpty) return this.tagsOf(request, state)
    if ((state.named = this.tagFunctions.tryAt(request)) === undefined) state.bypass ??= 'tags'
    return this.tagsOf(request, state)
  }

  /** Inputs that a request has and that most have not: they are part of the key, before the partition. */
  presentInputs (request: Request, reply?: CacheReply): string {
    return this.#policy.trackInputs ? presentInputs(request, reply) : ''
  }

  /** The partition by the verified session, after all hooks; undefined if the response must not be shared. */
  partitionOf (request: Request, present: string): string | undefined {
    const { partition } = this.#policy
    if (partition === undefined) return present
    if (typeof partition === 'function') {
      const named = partitionNamedBy(partition, request)
      return named === undefined ? undefined : `${present}:${encodeText(named)}`
    }
    const identity = (request as RequestWithIdentity)[sessionIdentity]
    const id = partition === 'user' ? identity?.userId : identity?.id
    return identity?.state !== 'live' || id === undefined ? undefined : `${present}${String(partition)}:${encodeText(id)}`
  }
}
