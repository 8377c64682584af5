import type { PooledRedis } from '../client.ts'
import type { UnreachableReason } from './unreachable-reason.ts'

/** As much of a log as is written to. */
export interface ReasonLog {
  warn (facts: object, text: string): void
  info (facts: object, text: string): void
}

/** Writes to the log why Redis cannot be used, at each change of the reason, and when it can be used again. */
export function logReasons (pool: PooledRedis, log: ReasonLog, holds?: string): void {
  const facts = holds === undefined ? {} : { holds }
  pool.on('reason', (reason: UnreachableReason | undefined) => {
    if (reason === undefined) log.info({ redis: facts }, 'Redis can be used again')
    else log.warn({ redis: { ...facts, reason: reason.code } }, `${reason.sentence} ${reason.remedy}`)
  })
}
