import type { PendingReply } from '../../redis/batch/pending-reply.ts'

/**
 * Where the purge sequence stood when a request came, before its session was read and any guard had run: its handler may know of nothing younger.
 */
export class SequenceAtRequest {
  /** of the batch that reads it */
  readonly tick: number
  #sequence: number | undefined = 0
  /** Redis did not answer: whatever else of the request can do without it is not asked any more */
  hasFailed = false

  constructor (tick: number, reading: PendingReply<Buffer | null>) {
    this.tick = tick
    reading.subscribe({ onReply: (text) => { this.#sequence = text === null ? undefined : Number(text.toString('latin1')) }, onError: () => { this.hasFailed = true } })
  }

  /** Undefined where there was none: nothing was purged, or all of that was lost, and the first fill begins anew. 0 where nobody knows. */
  get sequence (): number | undefined {
    return this.#sequence
  }
}
