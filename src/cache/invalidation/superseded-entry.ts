import type { CacheRequest, CacheReply } from '../http-message.ts'
import type { RoutePolicy } from '../options.ts'
import type { HandlerRun, CacheRequestState } from '../request-state.ts'

/** Temporary errors: they do not affect the stored response. */
const temporaryStatuses = new Set([408, 425, 429])
/** Errors that depend on the client's identity, if the request has credentials. */
const identityStatuses = new Set([401, 403, 407])

/** A handler's response that may not be stored. */
interface UncacheableResponse {
  readonly request: CacheRequest
  readonly reply: Pick<CacheReply, 'statusCode'>
  readonly state: CacheRequestState
  readonly run: HandlerRun
}

/**
 * Whether an uncacheable response supersedes the stored response that it revalidated (RFC 9111 section 4.3.3). The caller then removes the entry.
 * A handler error does not, nor does a response that depends on an unkeyed input: it is for one client only.
 *
 * @param reason why the response may not be stored
 */
export function isSuperseding ({ request, reply: { statusCode }, state, run }: UncacheableResponse, reason: string, policy: Pick<RoutePolicy, 'trackInputs'>): boolean {
  if (run.stale === undefined || isForOneClient(state, run) || statusCode >= 500 || temporaryStatuses.has(statusCode)) return false
  // A response to HEAD, or to a request with no-store, supersedes only if the resource is gone.
  if (run.detail === 'method' || run.detail === 'no-store') return statusCode === 404 || statusCode === 410
  // An error handler turned an error into a success response.
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
