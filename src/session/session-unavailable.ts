import { SessionCorruptError, SessionUnavailableError } from '../shared/errors.ts'

/** What a request is told whose session cannot be used: that it is corrupt, or to come again. */
export function unavailable (failure: Error): Error {
  return failure instanceof SessionCorruptError ? failure : Object.assign(new SessionUnavailableError('Redis is away'), { retryAfterSeconds: 1, cause: failure })
}
