import type { Batch } from '../../redis/batch/batch.ts'
import { isCompleted } from '../../redis/health/cluster-identity.ts'
import type { Keys } from '../../redis/keys.ts'
import type { TagVersion } from './tag-versions.ts'

/** The epoch is raised above `seen`, unless it is at least `least` already. */
export interface Raise {
  readonly seen: number
  readonly least: number
}

/** Dependencies of {@link ServerEpoch}. */
interface EpochOptions {
  readonly batch: Batch
  readonly keys: Keys
  /** `run_id` of the connected server; '' if unknown */
  readonly runId: () => string
  /** raises the epoch stored under a key, and returns it */
  readonly raise: (key: string, how: Raise) => Promise<number>
}

/** One read of the epoch, shared by all lookups of a batch. */
export class EpochRead {
  readonly runId: string
  /** the epoch; null if the key is missing; undefined while pending or if the read failed */
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

  /** Calls `wake` when the read has settled. */
  onSettled (wake: () => void): void {
    this.#waiting.push(wake)
  }
}

/**
 * The tag version of all entries of one Redis server: entries filled before it are unusable, whatever their tags. Its key contains the server's
 * `run_id`, so a restarted server (perhaps with an older snapshot) and a promoted replica (perhaps without the last purges) have no epoch until a
 * process raises it. A process that observes a change of server always raises the epoch, because the server may have been master before.
 */
export class ServerEpoch {
  readonly #options: EpochOptions
  #runId = ''
  #key = ''
  #read: EpochRead | undefined
  #tick = -1
  /** a lower epoch is not accepted; Infinity from a change of server until the epoch was raised */
  #least = 0
  /** highest sequence known to this process */
  #seen = 0
  #isRaised = true
  #raising: Promise<void> | undefined
  #renewedAt = performance.now()
  /** last epoch read from the current server */
  #known: number | undefined

  constructor (options: EpochOptions) {
    this.#options = options
    if (options.runId() !== '') this.reached()
  }

  /** Call when connected to a Redis server. If it is not the previous server, or has no epoch, raises the epoch now or before the next fill. Responses requested before this are not stored. */
  reached (): void {
    this.#check()
    this.raise().catch(() => {}) // the next fill retries
  }

  /** Reads the epoch with the current batch, once a tick. */
  read (): EpochRead {
    const { batch } = this.#options
    this.#check()
    if (this.#read !== undefined && this.#tick === batch.tick) return this.#read
    const read = new EpochRead(this.#runId)
    this.#read = read
    this.#tick = batch.tick
    batch.enqueueGet(this.#key).subscribe({ onReply: (text) => this.#onReply(read, text), onError: () => this.#onError(read) })
    return read
  }

  #onReply (read: EpochRead, text: Buffer | null): void {
    const value = text === null ? null : Number(text.toString('latin1'))
    if (read.runId === this.#runId) this.#known = value ?? undefined
    read.settle(value)
  }

  /** In a Cluster the master of the epoch's slot may be down. The epoch is only raised after a change of server, so without one the last value is valid. */
  #onError (read: EpochRead): void {
    read.settle(read.runId === this.#runId ? this.#known : undefined)
  }

  /** The epoch of a read; null if the key is missing or the server has changed since. */
  epochOf ({ runId, value }: EpochRead): TagVersion {
    this.#check()
    const isKnown = value != null && runId === this.#runId && value >= this.#least
    if (!isKnown) this.#isRaised = false
    return isKnown ? value : null
  }

  /** Records a sequence: an epoch raised later is higher, even if the next master's clock is behind. */
  notice (sequence: number): void {
    if (sequence > this.#seen && Number.isFinite(sequence)) this.#seen = sequence
  }

  /** Highest sequence known to this process. */
  get seen (): number {
    return this.#seen
  }

  /** Extends the key's lifetime, at most 24 times per lifetime: the epoch must outlive the entries. */
  renew (lifetimeMs: number): void {
    const now = performance.now()
    if (now - this.#renewedAt < lifetimeMs / 24) return
    this.#renewedAt = now
    // A failure is ignored: the next call extends it.
    this.#options.batch.command('PEXPIRE', [this.#key, lifetimeMs, 'GT'], 'background').catch(() => {})
  }

  /** Whether a fill may start. If not, the epoch must be raised first. */
  get isRaised (): boolean {
    this.#check()
    return this.#isRaised && this.#raising === undefined
  }

  /**
   * Raises the epoch. Concurrent calls share one operation.
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
    const epoch = await this.#options.raise(this.#key, { seen: this.#seen, least })
    this.notice(epoch)
    if (runId !== this.#runId) return
    if (least === Infinity) this.#least = epoch
    this.#known = epoch
    this.#isRaised = true
  }

  #check (): void {
    const runId = this.#options.runId()
    if (runId === this.#runId && this.#key !== '') return
    // Neither the first server of this process is a change, nor a Cluster master that was down at start and is now reachable.
    if (this.#runId !== '' && !isCompleted(this.#runId, runId)) {
      this.#least = Infinity
      this.#isRaised = false
    }
    this.#runId = runId
    this.#key = this.#options.keys.cacheEpoch(runId)
    this.#read = undefined
    this.#known = undefined
  }
}
