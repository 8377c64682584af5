import type { Batch } from '../../../src/redis/batch/batch.ts'
import type { PooledRedis } from '../../../src/redis/client.ts'

const beatMs = 50
const stallMs = 150

/** What an app noticed of its Redis, and of its machine, since its start. */
export interface Trouble {
  /** asks without an answer, and times when the event loop stood still for so long that some may have come too late */
  readonly count: number
  /** how often Redis was back, or another one: then what was counted without it is forgotten */
  readonly recoveries: number
  /** ends the watch */
  end (): void
}

/** Watches a pool: who knows that nothing was amiss may ask for more than what holds at any time. */
export function watchTrouble (pool: PooledRedis): Trouble {
  const trouble = { count: 0, recoveries: 0, end: () => clearInterval(beat) }
  const amiss = () => { trouble.count += 1 }
  let seenAt = performance.now()
  const beat = setInterval(() => {
    if (performance.now() - seenAt > beatMs + stallMs) amiss()
    seenAt = performance.now()
  }, beatMs)
  noteFailures(pool.batch, amiss)
  pool.on('outage', (isOut: boolean) => { if (!isOut) trouble.recoveries += 1 })
  pool.on('server', () => { trouble.recoveries += 1 })
  return trouble
}

/** Whoever asks is handed the failure as before: one that nobody takes still ends the process. */
function noteFailures (batch: Batch, amiss: () => void): void {
  const noted = async <Answer>(answer: Promise<Answer>): Promise<Answer> => {
    try {
      return await answer
    } catch (error) {
      amiss()
      throw error
    }
  }
  const { get, runScript, command } = batch
  batch.get = (...given) => noted(get.apply(batch, given))
  batch.runScript = (script, ...given) => noted(runScript.call(batch, script, ...given) as ReturnType<typeof batch.runScript<ReturnType<typeof script.read>>>)
  batch.command = (...given) => noted(command.apply(batch, given))
}
