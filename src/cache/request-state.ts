import type { Forwarded } from '../http/cache-status.ts'
import type { Entry } from './storage/entry-codec.ts'
import type { InProcessFill } from './single-flight/in-process-fill.ts'
import type { Fields } from './freshness.ts'
import type { Inputs } from './handler/input-snapshot.ts'
import type { CacheKey } from './lookup/cache-key.ts'
import type { KeyedFields } from './lookup/keyed-fields.ts'
import type { Lookup } from './lookup/lookup.ts'
import type { PendingResponse } from './response/pending-response.ts'
import type { BackgroundRefresh } from './revalidation/background-refresh.ts'
import type { PrefetchedLock } from './single-flight/prefetched-locks.ts'
import type { SequenceAtRequest } from './invalidation/sequence-at-request.ts'
import type { VaryRecord } from './lookup/vary-index.ts'
import type { UnkeyedInput, InputTracker } from './handler/input-tracker.ts'

/** Cache state of one request. All fields are initialized, because adding one later changes the hidden class and copies the object. */
export class CacheRequestState {
  /** whether method and body as received allow caching; undefined until known */
  mayBeStored: boolean | undefined = undefined
  /** cache key; undefined until the partition is known */
  key: CacheKey | undefined = undefined
  /** path and query as received: if a hook rewrites them later, the lookup used the wrong key */
  url: string | undefined = undefined
  /** the same without query parameters that validation removes: what the key is made of */
  keyedUrl: string | undefined = undefined
  /** headers and host that the key contains */
  keyed: KeyedFields | undefined = undefined
  /** hooks have changed these since the lookup */
  hasOtherFields = false
  /** the purge sequence, read before any input of the handler; a background refresh reads it before its request is sent */
  sequenceAtRequest: Pick<SequenceAtRequest, 'sequence' | 'hasFailed'> | undefined = undefined
  /** query and parameters as received: changes by hooks are not part of the cache key */
  inputs: Inputs | undefined = undefined
  /** the first input of the key that a hook changed */
  changed: UnkeyedInput | undefined = undefined
  partition: string | undefined = undefined
  /** tags returned by the route's functions; undefined if not called yet or failed */
  named: readonly string[] | undefined = undefined
  lookup: Lookup<Entry> | undefined = undefined
  /** the lookup was repeated with the tags of the validated request */
  hasRepeatedLookup = false
  /** the key's lock, if requested together with the lookup */
  prefetchedLock: PrefetchedLock | undefined = undefined
  /** the Vary record of this URL, once read */
  varyRecord: VaryRecord | undefined = undefined
  /** tags added with `reply.tag` */
  tags: readonly string[] = none
  /** reason given to `reply.cache.bypass` */
  bypass: string | undefined = undefined
  /** a stored entry that is sent through onSend hooks which run after the cache */
  handed: Entry | undefined = undefined
  /** what is left to do once these hooks have run */
  deferred: DeferredConditions | undefined = undefined
  /** the stored response has no Content-Type: the one that Fastify adds is removed */
  hasNoType = false
  /** the response is a stored entry, or the result of another request's fill */
  isServed = false
  /** the key contains the URL as received */
  isExact = false
  run: HandlerRun | undefined = undefined
  /** set on the internal request of a background refresh */
  refresh: BackgroundRefresh | undefined = undefined
}

/** Conditions and a range that are evaluated after all onSend hooks, which may change the body. */
interface DeferredConditions {
  /** the payload that the hooks received */
  readonly payload: unknown
  /** an entity tag that the cache made from the body */
  readonly ownTag: string | undefined
  /** @returns the payload to send */
  readonly apply: (payload: unknown, mayCut: boolean) => unknown
}

const none: readonly string[] = Object.freeze([])

/** One run of the handler. */
export interface HandlerRun {
  readonly reason: Forwarded
  readonly detail?: string | undefined
  readonly startedAt: number
  /** reply headers before the handler ran */
  readonly before: Fields
  /** headers of hooks that the handler has set again, with its values */
  written?: ReadonlyMap<string, Fields[string]>
  /** reply headers when the handler had finished */
  after?: Fields
  /** purge sequence of the response; undefined: the response cannot be stored */
  readonly sequence?: number | undefined
  readonly fill?: InProcessFill<Entry> | undefined
  /** stale entry that this run may revalidate, or that may be served instead of an error */
  readonly stale?: Entry | undefined
  tracker?: InputTracker | undefined
  /** releases the concurrency slot */
  readonly free?: (() => void) | undefined
  /** removes tracking and restores the request */
  restore?: () => void
  isSettled?: boolean
  /** the handler did not see the client's conditions and range */
  readonly hidesConditions?: boolean
  /** the client has its response, and a stream is read on to be stored */
  isDraining?: boolean
  /** a payload that holds resources until it is read: released when the response has been sent or aborted */
  payload?: object | undefined
  /** the response is storable, and its header block has not been sent yet */
  pending?: PendingResponse
  /** `Cache-Status` before this cache added its member */
  statusBefore?: { readonly field: string | undefined }
  /** unkeyed input at the time the reply was passed to an error handler or not-found handler: their reads are not the handler's */
  givenWay?: { readonly reading: UnkeyedInput | undefined }
  /** the handler threw: the response is the error handler's */
  hasFailed?: boolean
  /** the request waited for another request's run, and failed with its error */
  isCollapsed?: boolean
}
