import { RedisUnavailableError } from '../errors.ts'

/** No answer of Redis is waited for longer than this. */
export const deadlineMs = 200

/**
 * Waits for an answer that did not leave with a batch, and no longer than the deadline; what comes later is dropped.
 *
 * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE after the deadline
 */
export async function within<Answer> (answer: Promise<Answer>): Promise<Answer> {
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(() => late.reject(new RedisUnavailableError(`no answer within ${deadlineMs} ms`)), deadlineMs)
  try {
    return await Promise.race([answer, late.promise])
  } finally {
    clearTimeout(timer)
  }
}
