import type { CacheRequest, CacheReply } from '../http-message.ts'
import type { RoutePolicy } from '../options.ts'
import type { HandlerRun, CacheRequestState } from '../request-state.ts'

/** Errors that pass: they say nothing about what is stored. */
const temporaryStatuses = new Set([408, 425, 429])
/** Errors that speak of who asked, where the request bore credentials. */
const identityStatuses = new Set([401, 403, 407])

/** One handler's answer that may not be stored. */
interface UncacheableResponse {
  readonly request: CacheRequest
  readonly reply: Pick<CacheReply, 'statusCode'>
  readonly state: CacheRequestState
  readonly run: HandlerRun
}

/**
 * Whether an answer that may not be stored takes the place of the stored one that it was made to confirm (RFC 9111 section 4.3.3): then that is removed.
 * A failure of the handler leaves it in service, and so does an answer that depends on an input outside the key: it speaks of one visitor alone.
 *
 * @param reason why it may not be stored
 */
export function isSuperseding ({ request, reply: { statusCode }, state, run }: UncacheableResponse, reason: string, policy: Pick<RoutePolicy, 'trackInputs'>): boolean {
  if (run.stale === undefined || isForOneClient(state, run) || statusCode >= 500 || temporaryStatuses.has(statusCode)) return false
  // An answer to HEAD, or to a request that forbids storing, tells only that there is nothing any more.
  if (run.detail === 'method' || run.detail === 'no-store') return statusCode === 404 || statusCode === 410
  // What an error handler made of an unknown error is no answer of the handler's.
  if (run.hasFailed === true && statusCode < 400) return false
  if (reason === 'authorization') return false
  return policy.trackInputs || !identityStatuses.has(statusCode) || !hasCredentials(request)
}

function isForOneClient (state: CacheRequestState, run: HandlerRun): boolean {
  const { reading } = run.givenWay ?? { reading: run.tracker?.unkeyedInput }
  return state.bypass !== undefined || state.changed !== undefined || reading !== undefined
}

function hasCredentials ({ raw: { headers } }: CacheRequest): boolean {
  return headers.authorization !== undefined || headers.cookie !== undefined
}
