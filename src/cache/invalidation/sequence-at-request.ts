import type { PendingReply } from '../../redis/batch/pending-reply.ts'

/**
 * The purge sequence read when the request arrived, before its session was loaded. The response may contain data as old as this, so it must not be
 * stored with a higher sequence.
 */
export class SequenceAtRequest {
  /** tick of the batch that reads it */
  readonly tick: number
  #sequence: number | undefined = 0
  /** the read failed: the request skips further optional Redis operations */
  hasFailed = false

  constructor (tick: number, reading: PendingReply<Buffer | null>) {
    this.tick = tick
    reading.subscribe({ onReply: (text) => { this.#sequence = text === null ? undefined : Number(text.toString('latin1')) }, onError: () => { this.hasFailed = true } })
  }

  /** Undefined if the key does not exist: nothing was purged, or the key was lost and the next fill creates it. 0 if the reply is missing. */
  get sequence (): number | undefined {
    return this.#sequence
  }
}
