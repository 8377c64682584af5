import type { Batch } from '../redis/batch/batch.ts'
import { Script } from '../redis/batch/script.ts'
import { leaseMs } from './quota.ts'

/** A concurrency slot that a request in progress holds until it releases it. */
export interface Slot {
  release (): void
}

/** A slot in Redis. Instants of `performance.now()`. */
interface SlotLease {
  readonly key: string
  readonly id: string
  /** when the last renewal was sent */
  renewedAt: number
  /** when to send the next renewal or release */
  dueAt: number
  /** when the slot expires in Redis */
  endsAt: number
}

const renewEveryMs = 10_000
/** An operation sent earlier than this has been executed, or will be ignored: see `LimitStore.deadlineMs`. */
const uncertainMs = 1000
const tickMs = 1000
const leasesPerCall = 100

const extend = new Script<boolean>({
  url: new URL('./extend-slots.lua', import.meta.url),
  costMicroseconds: 20,
  read: (reply) => reply === 1
})

/**
 * The concurrency slots of this process in Redis: renews them while their requests are in progress, and releases them reliably.
 *
 * A release is repeated until Redis has confirmed it, also for slots that may have been granted without a reply: after an outage no slot is
 * occupied by a request that has ended. The slots of a crashed process expire.
 */
export class ConcurrencySlots {
  readonly #batch: Batch
  readonly #deadlineMs: () => number
  readonly #held = new Set<SlotLease>()
  readonly #releasing = new Set<SlotLease>()
  readonly #timer: NodeJS.Timeout

  /** @param deadlineMs the deadline of an operation sent now, by Redis's clock */
  constructor (batch: Batch, deadlineMs: () => number) {
    this.#batch = batch
    this.#deadlineMs = deadlineMs
    this.#timer = setInterval(() => this.#tick(performance.now()), tickMs).unref()
  }

  /** Renews a slot that Redis has granted until it is released. */
  track (key: string, id: string): Slot {
    const now = performance.now()
    const lease = { key, id, renewedAt: -uncertainMs, dueAt: now + renewEveryMs, endsAt: now + leaseMs }
    this.#held.add(lease)
    return { release: () => { if (this.#held.delete(lease)) this.#scheduleRelease(lease) } }
  }

  /** Releases a slot that Redis may have granted, or may still grant: no reply was received. */
  releaseUnconfirmed (key: string, id: string): void {
    const now = performance.now()
    this.#releasing.add({ key, id, renewedAt: now, dueAt: now + uncertainMs, endsAt: now + uncertainMs + leaseMs })
  }

  /** Redis is available again or was replaced: it may have lost held slots and missed releases. */
  recover (): void {
    const now = performance.now()
    for (const lease of this.#held) lease.dueAt = Math.min(lease.dueAt, now)
    this.#tick(now)
  }

  close (): void {
    clearInterval(this.#timer)
    for (const lease of this.#held) this.#release(lease)
    this.#held.clear()
  }

  #scheduleRelease (lease: SlotLease): void {
    this.#releasing.add(lease)
    // A renewal in flight may be executed after the release and would recreate the slot: wait for its deadline.
    lease.dueAt = lease.renewedAt + uncertainMs
    if (lease.dueAt <= performance.now()) this.#release(lease)
  }

  #release (lease: SlotLease): void {
    lease.dueAt = performance.now() + tickMs
    this.#batch.command('zrem', [lease.key, lease.id], 'background').then(() => this.#releasing.delete(lease), () => {}) // retried at the next tick
  }

  #tick (now: number): void {
    for (const lease of this.#releasing) {
      if (lease.endsAt < now) this.#releasing.delete(lease)
      else if (lease.dueAt <= now) this.#release(lease)
    }
    const due = [...this.#held].filter(({ dueAt }) => dueAt <= now)
    for (const [key, leases] of Map.groupBy(due, ({ key }) => key)) {
      for (let from = 0; from < leases.length; from += leasesPerCall) this.#renew(key, leases.slice(from, from + leasesPerCall), now)
    }
  }

  #renew (key: string, leases: readonly SlotLease[], now: number): void {
    for (const lease of leases) {
      lease.renewedAt = now
      lease.dueAt = now + renewEveryMs
      lease.endsAt = now + leaseMs
    }
    this.#batch.runScript(extend, [key], [leaseMs, this.#deadlineMs(), ...leases.map(({ id }) => id)], 'background').catch(() => {}) // two more renewals fit before the slot expires
  }
}
