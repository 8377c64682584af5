import { createError } from '@fastify/error'
import type { FastifyError } from '@fastify/error'

// All error classes of the package. A released code is never renamed or reused; the documented table of errors repeats this file, and a test compares them.
// A message names the thing and what to do, and contains no secret, Redis key or address.

/** An open circuit breaker is probed twice in this time. */
const retryAfterSeconds = 1

/** An error with status 503: when to retry (RFC 9110 section 10.2.3), in the response headers, which Fastify's error handler sends, and as a number. */
interface UnavailableError extends FastifyError {
  headers: { 'retry-after': string }
  retryAfterSeconds: number
}

function createUnavailableError<Args extends unknown[] = []> (code: string, message: string): new (...args: Args) => UnavailableError {
  // The name of the class is that of @fastify/error: NestJS responds 500 to errors of classes with another one.
  return class FastifyError extends createError<Args>(code, message, 503) {
    headers = { 'retry-after': String(retryAfterSeconds) }
    retryAfterSeconds = retryAfterSeconds
  }
}

export const OptionError = createError<[option: string, wanted: string, came: string]>('PRISM_ERR_OPTION', 'Option %s must be %s, but is %s.', 500, TypeError)
/** An {@link OptionError} for an option that does not exist. */
export const UnknownOptionError = createError<[option: string, known: string]>('PRISM_ERR_OPTION', 'Unknown option %s. Known options: %s.', 500, OptionError as unknown as ErrorConstructor)
/** An {@link OptionError} for an option of another package. */
export const ForeignOptionError = createError<[option: string, owner: string, instead: string]>('PRISM_ERR_OPTION', 'Unknown option %s. It is an option of %s: here, %s.', 500, OptionError as unknown as ErrorConstructor)
export const ScopeError = createError<[call: string, reason: string]>('PRISM_ERR_SCOPE', '%s is not possible in this scope: %s.', 500)
export const PeerMissingError = createError<[feature: string, peer: string, peerAgain: string]>('PRISM_ERR_PEER_MISSING', '%s needs the package %s, which is not installed: npm install %s.', 500)
export const RouteConfigError = createError<[faults: string]>('PRISM_ERR_ROUTE_CONFIG', 'Route config is not in effect: %s.', 500)
export const RedisUnavailableError = createUnavailableError<[reason: string]>('PRISM_ERR_REDIS_UNAVAILABLE', 'Redis is unavailable: %s.')
export const RedisClosedError = createUnavailableError('PRISM_ERR_REDIS_CLOSED', 'The Redis pool is closed.')
export const RedisReplyError = createError<[message: string]>('PRISM_ERR_REDIS_REPLY', 'Redis rejected a command: %s.', 500)
export const RedisSharedError = createError<[command: string]>('PRISM_ERR_REDIS_SHARED', '%s would block or change a connection that all requests share. Use a dedicated connection: redisPool.lease().', 500)
export const QuotaExceededError = createError<[quotas: string, seconds: number]>('PRISM_ERR_QUOTA_EXCEEDED', 'Quota %s exceeded. Retry in %s seconds.', 429)
export const TopicError = createError('PRISM_ERR_TOPIC', 'A topic must have 1 to 128 characters of visible ASCII without " * < > \\ { }. Encode others by encodeURIComponent', 400)
export const EventError = createError<[fault: string]>('PRISM_ERR_EVENT', 'An event %s.', 500, TypeError)
export const EventTooLargeError = createError<[bytes: number, limit: number]>('PRISM_ERR_EVENT_TOO_LARGE', 'Event of %s bytes exceeds the limit of %s bytes.', 413)
export const TooManyTopicsError = createUnavailableError<[limit: number]>('PRISM_ERR_TOO_MANY_TOPICS', 'This process is already subscribed to the maximum of %s topics.')
export const EventsClosedError = createUnavailableError('PRISM_ERR_EVENTS_CLOSED', 'The event bus is closed.')
export const SessionRequiredError = createError('PRISM_ERR_SESSION_REQUIRED', 'A session is required. Sign in first.', 401)
export const SessionUnavailableError = createUnavailableError<[reason: string]>('PRISM_ERR_SESSION_UNAVAILABLE', 'Session temporarily unavailable: %s.')
export const SessionEndedError = createError('PRISM_ERR_SESSION_ENDED', 'The session has ended. Changes were not saved.', 401)
export const SessionConflictError = createError<[key: string]>('PRISM_ERR_SESSION_CONFLICT', 'Another request changed %s in this session after this request read it. Retry, or use session.update(), which runs again on the newer value.', 409)
export const SessionTooLargeError = createError<[came: number, limit: number]>('PRISM_ERR_SESSION_TOO_LARGE', 'Session data of %s bytes exceeds the limit of %s bytes.', 413)
export const SessionValueError = createError<[key: string, reason: string]>('PRISM_ERR_SESSION_VALUE', 'The value of %s cannot be stored in a session: %s.', 500)
export const SessionAssignmentError = createError<[name: string, remedy: string]>('PRISM_ERR_SESSION_ASSIGNMENT', '%s cannot be assigned: %s.', 500)
export const SessionSentError = createError<[call: string]>('PRISM_ERR_SESSION_SENT', '%s must set the session cookie, but the response headers have been sent. Await it before sending the reply.', 500)
export const SessionCorruptError = createError('PRISM_ERR_SESSION_CORRUPT', 'Stored session data is corrupt.', 500)
export const SessionDisabledError = createError<[call: string]>('PRISM_ERR_SESSION_DISABLED', '%s cannot be called on a route with session: false.', 500)
export const OriginError = createError('PRISM_ERR_ORIGIN', 'Cross-origin request rejected.', 403)
export const TopicForbiddenError = createError<[topic: string]>('PRISM_ERR_TOPIC_FORBIDDEN', 'Access to topic %s denied.', 403)
export const TopicsPerConnectionError = createError<[limit: number]>('PRISM_ERR_TOPICS_PER_CONNECTION', 'A connection can subscribe to at most %s topics.', 400)
export const TooManyConnectionsError = createError<[limit: number]>('PRISM_ERR_TOO_MANY_CONNECTIONS', 'Too many live connections (limit %s). Close one first.', 429)
export const LastEventIdError = createError('PRISM_ERR_LAST_EVENT_ID', 'Invalid Last-Event-ID: expected an event ID, or topics with IDs as sent by a stream.', 400)
export const UpgradeRequiredError = createError('PRISM_ERR_UPGRADE_REQUIRED', 'This URL serves WebSocket connections only. Send an upgrade request.', 426)
export const DrainingError = createUnavailableError('PRISM_ERR_DRAINING', 'The server is shutting down. Retry the request.')
export const OnlyIfCachedError = createError('PRISM_ERR_ONLY_IF_CACHED', 'The request has only-if-cached, and no stored response is usable.', 504)
export const CacheConcurrencyError = createUnavailableError<[limit: number]>('PRISM_ERR_CACHE_CONCURRENCY', 'Too many concurrent cache fills (limit %s). Retry later.')
export const WrapRecursionError = createError<[name: string]>('PRISM_ERR_WRAP_RECURSION', 'cache.wrap of %s is called within its own function with the same parameters, and would wait for itself. Call the function directly.', 500)
export const AdminAuthError = createError('PRISM_ERR_ADMIN_AUTH', 'Admin authentication required. Send ADMIN_TOKEN as a bearer token.', 401)
export const AdminDisabledError = createError('PRISM_ERR_ADMIN_DISABLED', 'Not found.', 404)
