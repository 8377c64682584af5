import { RedisUnavailableError } from '../../shared/errors.ts'

/** No answer of Redis is waited for longer than this, unless `redis.commandTimeout` says otherwise. */
export const defaultDeadlineMs = 200

/** By how much times grow that are chosen for the default: a Redis that may take longer to answer takes longer to connect to. They never shrink. */
export function slownessOf (deadlineMs: number): number {
  return Math.max(1, deadlineMs / defaultDeadlineMs)
}

/**
 * Calls back after so long, once what has arrived meanwhile was read: an event loop that stood still runs its timers before it reads its sockets,
 * and would give up answers that lie there.
 *
 * @returns for `clearTimeout`; what is called back all the same finds what it waited for settled
 */
export function setTimeoutAfterIo (ms: number, callBack: () => void): NodeJS.Timeout {
  return setTimeout(() => setImmediate(callBack), ms)
}

/**
 * Waits for an answer that did not leave with a batch, and no longer than the deadline; what comes later is dropped.
 *
 * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE after the deadline
 */
export async function withDeadline<Answer> (answer: Promise<Answer>, deadlineMs: number): Promise<Answer> {
  const late = Promise.withResolvers<never>()
  const timer = setTimeoutAfterIo(deadlineMs, () => late.reject(new RedisUnavailableError(`no answer within ${deadlineMs} ms`)))
  try {
    return await Promise.race([answer, late.promise])
  } finally {
    clearTimeout(timer)
  }
}
