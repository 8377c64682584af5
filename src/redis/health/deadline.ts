import { RedisUnavailableError } from '../../shared/errors.ts'

/** Default of `redis.commandTimeout`: the time limit for a reply. */
export const defaultDeadlineMs = 200

/** Factor for other timeouts, which are chosen for the default deadline: a Redis with slower replies also takes longer to connect. At least 1. */
export function slownessOf (deadlineMs: number): number {
  return Math.max(1, deadlineMs / defaultDeadlineMs)
}

/**
 * A timeout that fires after sockets were read: a blocked event loop runs its timers before it reads its sockets, and would discard replies that have
 * arrived.
 *
 * @returns for `clearTimeout`. The callback may still run after that, so it must check whether its operation has settled
 */
export function setTimeoutAfterIo (ms: number, callBack: () => void): NodeJS.Timeout {
  return setTimeout(() => setImmediate(callBack), ms)
}

/**
 * Waits for a reply outside a batch until the deadline; a later reply is ignored.
 *
 * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE after the deadline
 */
export async function withDeadline<Reply> (reply: Promise<Reply>, deadlineMs: number): Promise<Reply> {
  const late = Promise.withResolvers<never>()
  const timer = setTimeoutAfterIo(deadlineMs, () => late.reject(new RedisUnavailableError(`no reply within ${deadlineMs} ms`)))
  try {
    return await Promise.race([reply, late.promise])
  } finally {
    clearTimeout(timer)
  }
}
