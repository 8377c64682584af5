import type { PooledRedis } from '../client.ts'
import type { UnreachableReason } from './unreachable-reason.ts'

/** The log methods in use. */
interface ReasonLog {
  warn (facts: object, text: string): void
  info (facts: object, text: string): void
}

/** Logs each change of the reason why Redis cannot be used, and when it can be used again. */
export function logReasons (pool: PooledRedis, log: ReasonLog, holds?: string): void {
  const facts = holds === undefined ? {} : { holds }
  pool.on('reason', (reason: UnreachableReason | undefined) => {
    if (reason === undefined) log.info({ redis: facts }, 'Redis can be used again')
    else log.warn({ redis: { ...facts, reason: reason.code } }, `${reason.sentence} ${reason.remedy}`)
  })
}
