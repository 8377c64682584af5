import { SessionCorruptError, SessionUnavailableError } from '../shared/errors.ts'

/** The error for a session that cannot be used: the corruption itself, or 503 with Retry-After. */
export function unavailable (failure: Error): Error {
  return failure instanceof SessionCorruptError ? failure : Object.assign(new SessionUnavailableError('Redis is away'), { retryAfterSeconds: 1, cause: failure })
}
