import type { Forwarded } from '../http/cache-status.ts'
import type { Entry } from './storage/entry-codec.ts'
import type { InProcessFill } from './single-flight/in-process-fill.ts'
import type { Fields } from './freshness.ts'
import type { Inputs } from './handler/input-snapshot.ts'
import type { CacheKey } from './lookup/cache-key.ts'
import type { Lookup } from './lookup/lookup.ts'
import type { PendingResponse } from './response/pending-response.ts'
import type { BackgroundRefresh } from './revalidation/background-refresh.ts'
import type { PrefetchedLock } from './single-flight/prefetched-locks.ts'
import type { SequenceAtRequest } from './invalidation/sequence-at-request.ts'
import type { VaryRecord } from './lookup/vary-index.ts'
import type { UnkeyedInput, InputTracker } from './handler/input-tracker.ts'

/** What one request and the cache have to do with each other. All fields stand there from the beginning: one that comes later costs each request a copy of those that came before. */
export class CacheRequestState {
  /** names the answer; undefined while nobody knows whose it is */
  key: CacheKey | undefined = undefined
  /** path and query as they came: what a hook makes of them later is not what was looked for */
  url: string | undefined = undefined
  /** the purge sequence, read before all that the handler works with; a refresh has read it before it was sent */
  sequenceAtRequest: Pick<SequenceAtRequest, 'sequence' | 'hasFailed'> | undefined = undefined
  /** query and parameters as they came: what hooks make of them is not in the key */
  inputs: Inputs | undefined = undefined
  /** what hooks made of them */
  changed: UnkeyedInput | undefined = undefined
  partition: string | undefined = undefined
  /** tags that the route's functions have named; undefined where they have named none yet, or cannot */
  named: readonly string[] | undefined = undefined
  lookup: Lookup<Entry> | undefined = undefined
  /** the key's lock, where it was asked for along with the look */
  prefetchedLock: PrefetchedLock | undefined = undefined
  /** how answers under this URL are told apart, once that was read */
  varyRecord: VaryRecord | undefined = undefined
  /** tags that were added while the handler ran */
  tags: readonly string[] = none
  /** somebody said that this request shall not use the cache, and why */
  bypass: string | undefined = undefined
  /** the answer came from the store or another's fill */
  isServed = false
  run: HandlerRun | undefined = undefined
  /** it is no visitor's: it makes a stale answer anew */
  refresh: BackgroundRefresh | undefined = undefined
}

const none: readonly string[] = Object.freeze([])

/** One run of the handler. */
export interface HandlerRun {
  readonly reason: Forwarded
  readonly detail?: string | undefined
  readonly askedAt: number
  /** what stood in the reply before */
  readonly before: Fields
  /** what stood in it when the handler had answered */
  after?: Fields
  /** where the purge sequence stood; undefined: the answer cannot be kept */
  readonly sequence?: number | undefined
  readonly fill?: InProcessFill<Entry> | undefined
  /** a stored answer that this run may confirm, or that may stand in for it */
  readonly stale?: Entry | undefined
  tracker?: InputTracker | undefined
  /** lets the next one run, where a route bounds how many do at once */
  readonly free?: (() => void) | undefined
  /** leaves the request as the handler found it */
  restore?: () => void
  isSettled?: boolean
  /** the payload, where it holds something until it is read: released when the exchange is over */
  payload?: object
  /** the answer may be stored, and its header block has not been sent yet */
  pending?: PendingResponse
  /** what `Cache-Status` held before this cache wrote to it */
  statusBefore?: { readonly field: string | undefined }
  /** what the handler had read when it gave way to an error handler, or to that of unknown paths: what these read is not its doing */
  givenWay?: { readonly reading: UnkeyedInput | undefined }
  /** the handler threw: the answer is an error handler's */
  hasFailed?: boolean
}
