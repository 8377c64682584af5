import type { Batch } from '../redis/batch/batch.ts'
import { Script } from '../redis/batch/script.ts'
import { leaseMs } from './quota.ts'

/** A place that a request under way holds until it gives it back. */
export interface Slot {
  release (): void
}

/** A place in Redis. Times are of the process's clock. */
interface SlotLease {
  readonly key: string
  readonly id: string
  /** when Redis was last asked to keep it */
  keptAt: number
  /** when it is to be kept, or to be given back, once more */
  dueAt: number
  /** when Redis forgets it by itself */
  endsAt: number
}

const keepEveryMs = 10_000
/** Whatever was asked before is answered, refused or forgotten after this: see `LimitStore.deadlineMs`. */
const doubtMs = 1000
const lookEveryMs = 1000
const leasesACall = 100

const keep = new Script<boolean>({
  url: new URL('./extend-slots.lua', import.meta.url),
  costMicroseconds: 20,
  read: (reply) => reply === 1
})

/**
 * Looks after the places that this process has in Redis: keeps them while their requests are under way, and gives them back for sure.
 *
 * What was given back while Redis could not be asked, or may have been taken although no answer came, is given back again until Redis has
 * confirmed it: after an outage nobody finds a place taken by a request that is over. A crashed process's places end by themselves.
 */
export class ConcurrencySlots {
  readonly #batch: Batch
  readonly #deadlineMs: () => number
  readonly #held = new Set<SlotLease>()
  readonly #owed = new Set<SlotLease>()
  readonly #timer: NodeJS.Timeout

  /** @param deadlineMs by Redis's clock, when an ask made now is too old to be heeded */
  constructor (batch: Batch, deadlineMs: () => number) {
    this.#batch = batch
    this.#deadlineMs = deadlineMs
    this.#timer = setInterval(() => this.#look(performance.now()), lookEveryMs).unref()
  }

  /** Looks after a place that Redis has granted. */
  hold (key: string, id: string): Slot {
    const now = performance.now()
    const lease = { key, id, keptAt: -doubtMs, dueAt: now + keepEveryMs, endsAt: now + leaseMs }
    this.#held.add(lease)
    return { release: () => { if (this.#held.delete(lease)) this.#scheduleRelease(lease) } }
  }

  /** Gives back what Redis may have granted: it was asked, and no answer came. It may also still be asked. */
  releaseUnconfirmed (key: string, id: string): void {
    const now = performance.now()
    this.#owed.add({ key, id, keptAt: now, dueAt: now + doubtMs, endsAt: now + doubtMs + leaseMs })
  }

  /** Redis is back, or is another: it may have lost what is held, and does not know what was given back. */
  recover (): void {
    const now = performance.now()
    for (const lease of this.#held) lease.dueAt = Math.min(lease.dueAt, now)
    this.#look(now)
  }

  close (): void {
    clearInterval(this.#timer)
    for (const lease of this.#held) this.#giveBack(lease)
    this.#held.clear()
  }

  #scheduleRelease (lease: SlotLease): void {
    this.#owed.add(lease)
    // Its keeping may still be under way, and be read after what gives it back.
    lease.dueAt = lease.keptAt + doubtMs
    if (lease.dueAt <= performance.now()) this.#giveBack(lease)
  }

  #giveBack (lease: SlotLease): void {
    lease.dueAt = performance.now() + lookEveryMs
    this.#batch.command('zrem', [lease.key, lease.id], 'background').then(() => this.#owed.delete(lease), () => {}) // tried again at the next look
  }

  #look (now: number): void {
    for (const lease of this.#owed) {
      if (lease.endsAt < now) this.#owed.delete(lease)
      else if (lease.dueAt <= now) this.#giveBack(lease)
    }
    const due = [...this.#held].filter(({ dueAt }) => dueAt <= now)
    for (const [key, leases] of Map.groupBy(due, ({ key }) => key)) {
      for (let from = 0; from < leases.length; from += leasesACall) this.#keep(key, leases.slice(from, from + leasesACall), now)
    }
  }

  #keep (key: string, leases: readonly SlotLease[], now: number): void {
    for (const lease of leases) {
      lease.keptAt = now
      lease.dueAt = now + keepEveryMs
      lease.endsAt = now + leaseMs
    }
    this.#batch.runScript(keep, [key], [leaseMs, this.#deadlineMs(), ...leases.map(({ id }) => id)], 'background').catch(() => {}) // there is time for two more
  }
}
