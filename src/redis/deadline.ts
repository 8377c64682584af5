import { RedisUnavailableError } from '../errors.ts'

/** No answer of Redis is waited for longer than this. */
export const deadlineMs = 200

/**
 * Calls back after so long, once what has arrived meanwhile was read: an event loop that stood still runs its timers before it reads its sockets,
 * and would give up answers that lie there.
 *
 * @returns for `clearTimeout`; what is called back all the same finds what it waited for settled
 */
export function afterReading (ms: number, callBack: () => void): NodeJS.Timeout {
  return setTimeout(() => setImmediate(callBack), ms)
}

/**
 * Waits for an answer that did not leave with a batch, and no longer than the deadline; what comes later is dropped.
 *
 * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE after the deadline
 */
export async function within<Answer> (answer: Promise<Answer>): Promise<Answer> {
  const late = Promise.withResolvers<never>()
  const timer = afterReading(deadlineMs, () => late.reject(new RedisUnavailableError(`no answer within ${deadlineMs} ms`)))
  try {
    return await Promise.race([answer, late.promise])
  } finally {
    clearTimeout(timer)
  }
}
