import { randomBytes } from 'node:crypto'
import { RedisUnavailableError } from '../errors.ts'
import type { Batch } from '../redis/batch.ts'
import { Script } from '../redis/script.ts'
import type { Failure } from './policy.ts'

/** What a request under way wants a place of. */
export interface PlaceClaim {
  readonly key: string
  /** places */
  readonly limit: number
  readonly failure: Failure
}

/** A place that a request holds until it gives it back. */
export interface Place {
  readonly claim: PlaceClaim
  readonly id: string
  renewAt: number
}

/** A crashed process's places are free after this. */
const leaseMs = 30_000
const renewEveryMs = 10_000

const hold = new Script<boolean>({
  url: new URL('./hold.lua', import.meta.url),
  costMicroseconds: 15,
  read: (reply) => (reply as number[])[0] === 1
})

/** Counts what is under way at the same time, in all processes together; while Redis cannot be asked, in this one. */
export class Places {
  readonly #batch: Batch
  readonly #deadlineMs: () => number
  readonly #process = randomBytes(6).toString('base64url')
  readonly #held = new Set<Place>()
  readonly #heldLocally = new Set<Place>()
  readonly #local = new Map<string, number>()
  readonly #timer: NodeJS.Timeout
  #made = 0

  /** @param deadlineMs by Redis's clock, when an ask made now is too old to be heeded */
  constructor (batch: Batch, deadlineMs: () => number) {
    this.#batch = batch
    this.#deadlineMs = deadlineMs
    this.#timer = setInterval(() => this.#renew(), renewEveryMs / 4).unref()
  }

  /**
   * Takes a place; what is asked leaves with the tick.
   *
   * @returns the place, to be given back; undefined when all are taken, `free` where nobody counts
   * @throws {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE where the policy is `closed`
   */
  async take (claim: PlaceClaim): Promise<Place | 'free' | undefined> {
    const place = { claim, id: `${this.#process}.${++this.#made}`, renewAt: performance.now() + renewEveryMs }
    try {
      if (!await this.#hold(place, this.#deadlineMs())) return undefined
    } catch (error) {
      return this.#takeWithoutRedis(place, error as Error)
    }
    this.#held.add(place)
    return place
  }

  /** Gives a place back; twice does no harm. */
  release (place: Place): void {
    const { key } = place.claim
    if (this.#heldLocally.delete(place)) this.#countLocally(key, -1)
    if (!this.#held.delete(place)) return
    this.#batch.command('zrem', [key, place.id], 'background').catch(() => {}) // it ends by itself
  }

  close (): void {
    clearInterval(this.#timer)
    for (const place of this.#held) this.release(place)
  }

  #hold ({ claim: { key, limit }, id }: Place, deadlineMs: number): Promise<boolean> {
    return this.#batch.ask(hold, [key], [limit, leaseMs, id, deadlineMs])
  }

  #takeWithoutRedis (place: Place, error: Error): Place | 'free' | undefined {
    const { claim } = place
    if (claim.failure === 'open') return 'free'
    if (claim.failure === 'closed') throw error instanceof RedisUnavailableError ? error : new RedisUnavailableError('places could not be counted')
    if ((this.#local.get(claim.key) ?? 0) >= claim.limit) return undefined
    this.#countLocally(claim.key, 1)
    this.#heldLocally.add(place)
    return place
  }

  #countLocally (key: string, change: number): void {
    const count = (this.#local.get(key) ?? 0) + change
    if (count > 0) this.#local.set(key, count)
    else this.#local.delete(key)
  }

  #renew (): void {
    const now = performance.now()
    for (const place of this.#held) {
      if (place.renewAt > now) continue
      place.renewAt = now + renewEveryMs
      this.#hold(place, 0).catch(() => {}) // there is time for two more
    }
  }
}
