import type { Batch } from '../../redis/batch/batch.ts'
import { isCompleted } from '../../redis/health/server-info.ts'
import type { Keys } from '../../redis/keys.ts'
import type { TagVersion } from './tag-versions.ts'

/** How the global marker is raised: above `seen`, unless it stands at `least` already. */
export interface Raise {
  readonly seen: number
  readonly least: number
}

/** What an epoch needs of the rest. */
export interface EpochOptions {
  readonly batch: Batch
  readonly keys: Keys
  /** the `run_id` of the server that was reached last; '' where it is not known */
  readonly runId: () => string
  /** raises the marker under a key, and returns it */
  readonly raise: (key: string, how: Raise) => Promise<number>
}

/** The global marker as one batch reads it, for all who look with that batch. */
export class EpochRead {
  readonly runId: string
  /** what stands there; undefined while it is under way or could not be read */
  value: TagVersion | undefined
  isSettled = false
  readonly #waiting: (() => void)[] = []

  constructor (runId: string) {
    this.runId = runId
  }

  settle (value: TagVersion | undefined): void {
    this.value = value
    this.isSettled = true
    for (const wake of this.#waiting) wake()
  }

  /** Calls back once it has settled. */
  onSettled (wake: () => void): void {
    this.#waiting.push(wake)
  }
}

/**
 * The global marker: what was filled before it is gone, whatever its tags. Its key bears the server's `run_id`, so a server that was started anew,
 * perhaps with an older snapshot, or a replica that became master, perhaps with purges that it never heard of, has none until somebody raises it.
 * A process that saw the change raises it at once, and in any case: the server may have been master before.
 */
export class ServerEpoch {
  readonly #options: EpochOptions
  #runId = ''
  #key = ''
  #reading: EpochRead | undefined
  #tick = -1
  /** what stands there must not be lower; Infinity until it was raised after a change */
  #least = 0
  /** the highest sequence that this process knows of */
  #seen = 0
  #isRaised = true
  #raising: Promise<void> | undefined
  #renewedAt = performance.now()
  /** what was read last from the servers that are known now */
  #known: number | undefined

  constructor (options: EpochOptions) {
    this.#options = options
    if (options.runId() !== '') this.reached()
  }

  /** A server was reached: where it is another than before, or has no marker, that is raised now, or before the next fill. An answer that was asked for before that is not kept. */
  reached (): void {
    this.#check()
    this.raise().catch(() => {}) // whoever wants to fill tries again
  }

  /** Reads it with what leaves in this tick: once, for all who look. */
  read (): EpochRead {
    const { batch } = this.#options
    this.#check()
    if (this.#reading !== undefined && this.#tick === batch.tick) return this.#reading
    const reading = new EpochRead(this.#runId)
    this.#reading = reading
    this.#tick = batch.tick
    batch.enqueueGet(this.#key).subscribe({ onReply: (text) => this.#answered(reading, text), onError: () => this.#failed(reading) })
    return reading
  }

  #answered (reading: EpochRead, text: Buffer | null): void {
    const value = text === null ? null : Number(text.toString('latin1'))
    if (reading.runId === this.#runId) this.#known = value ?? undefined
    reading.settle(value)
  }

  /** Where the one master of a Cluster that has it is away: it is raised for another server, and as long as no other was seen it is what it was. */
  #failed (reading: EpochRead): void {
    reading.settle(reading.runId === this.#runId ? this.#known : undefined)
  }

  /** What a reading tells: null where it tells nothing, for the server is another by now, or the marker is missing. */
  epochOf ({ runId, value }: EpochRead): TagVersion {
    this.#check()
    const isKnown = value != null && runId === this.#runId && value >= this.#least
    if (!isKnown) this.#isRaised = false
    return isKnown ? value : null
  }

  /** Notes a sequence: a marker that is raised will be higher, also where the next master's clock is behind. */
  notice (sequence: number): void {
    if (sequence > this.#seen && Number.isFinite(sequence)) this.#seen = sequence
  }

  /** The highest sequence that this process knows of. */
  get seen (): number {
    return this.#seen
  }

  /** Keeps it longer, now and then: it shall outlive what is stored. */
  renew (lifetimeMs: number): void {
    const now = performance.now()
    if (now - this.#renewedAt < lifetimeMs / 24) return
    this.#renewedAt = now
    // What Redis did not hear is told an hour later.
    this.#options.batch.command('PEXPIRE', [this.#key, lifetimeMs, 'GT'], 'background').catch(() => {})
  }

  /** Whether a fill may begin: else the marker must be raised before. */
  get isRaised (): boolean {
    this.#check()
    return this.#isRaised && this.#raising === undefined
  }

  /**
   * Raises it, once for all who ask at the same time.
   *
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE
   */
  async raise (): Promise<void> {
    this.#raising ??= this.#raise().finally(() => { this.#raising = undefined })
    await this.#raising
  }

  async #raise (): Promise<void> {
    const runId = this.#runId
    const least = this.#least
    const marker = await this.#options.raise(this.#key, { seen: this.#seen, least })
    this.notice(marker)
    if (runId !== this.#runId) return
    if (least === Infinity) this.#least = marker
    this.#known = marker
    this.#isRaised = true
  }

  #check (): void {
    const runId = this.#options.runId()
    if (runId === this.#runId && this.#key !== '') return
    // The first one that is reached is no change, nor is the first answer of a Cluster's master that was away when this process began.
    if (this.#runId !== '' && !isCompleted(this.#runId, runId)) {
      this.#least = Infinity
      this.#isRaised = false
    }
    this.#runId = runId
    this.#key = this.#options.keys.cacheEpoch(runId)
    this.#reading = undefined
    this.#known = undefined
  }
}
