import type { Batch } from '../../../src/redis/batch/batch.ts'
import type { PooledRedis } from '../../../src/redis/client.ts'

const tickMs = 50
/** A lock is renewed several times before it expires; a longer stall of the process or of Redis can lose it. */
const stallMs = 150

/** What an app noticed of its Redis and its machine since its start. */
export interface Trouble {
  /** operations without a reply, late replies, and blocks of the event loop long enough to delay replies */
  readonly count: number
  /** reconnections and changes of the server: local counts are discarded then */
  readonly recoveries: number
  /** ends the monitoring */
  end (): void
}

/** Monitors a pool: without any trouble stricter assertions apply. */
export function watchTrouble (pool: PooledRedis): Trouble {
  let failures = 0
  const trouble = {
    /** Limits and lookups are operations of the batch, which fail by a missed deadline or a lost connection of their write. */
    get count () { return failures + pool.batch.counts.timeouts + pool.losses.lost },
    recoveries: 0,
    end: () => clearInterval(timer)
  }
  const amiss = () => { failures += 1 }
  let seenAt = performance.now()
  const timer = setInterval(() => {
    const sentAt = performance.now()
    if (sentAt - seenAt > tickMs + stallMs) amiss()
    seenAt = sentAt
    pool.batch.command('PING', []).then(() => { if (performance.now() - sentAt > tickMs + stallMs) amiss() }, () => {}) // a failure is counted as any other
  }, tickMs)
  noteFailures(pool.batch, amiss)
  pool.on('outage', (isOut: boolean) => { if (!isOut) trouble.recoveries += 1 })
  pool.on('server', () => { trouble.recoveries += 1 })
  return trouble
}

/** The caller receives the failure as before; an unhandled one still ends the process. */
function noteFailures (batch: Batch, amiss: () => void): void {
  const noted = async <Reply>(reply: Promise<Reply>): Promise<Reply> => {
    try {
      return await reply
    } catch (error) {
      amiss()
      throw error
    }
  }
  const { get, runScript, command } = batch
  batch.get = (...given) => noted(get.apply(batch, given))
  batch.runScript = (script, ...given) => noted(runScript.call(batch, script, ...given)) as never
  batch.command = (...given) => noted(command.apply(batch, given))
}
