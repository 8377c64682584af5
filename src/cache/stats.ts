/**
 * What happens in a cache that somebody may want to count or hear of. `store`: an answer is on its way to Redis, where it is `kept`, or `lost`
 * because it was purged meanwhile or Redis failed; `refuse`: it may not be stored; `decline`: it might be, but Redis is too full; `shed`: a stored one was given up for that; `fill`: the handler runs for an answer that others may want;
 * `wait`: a request waits for another's run; `collapse`: that answered it; `refresh`: a stale answer is made anew in the background;
 * `deny`: it could not be made, for the route makes as many as it may.
 */
export type CacheEvent = 'hit' | 'stale' | 'miss' | 'bypass' | 'fill' | 'wait' | 'collapse' | 'refresh' | 'deny' | 'store' | 'kept' | 'lost' | 'refuse' | 'decline' | 'shed' | 'purge'

/** Counts what happens, and tells who listens. */
export class CacheStats {
  readonly #counts: Record<CacheEvent, number> = { hit: 0, stale: 0, miss: 0, bypass: 0, fill: 0, wait: 0, collapse: 0, refresh: 0, deny: 0, store: 0, kept: 0, lost: 0, refuse: 0, decline: 0, shed: 0, purge: 0 }
  readonly #listeners = new Map<CacheEvent, ((count: number) => void)[]>()

  /** How often each has happened since the start. */
  get all (): Readonly<Record<CacheEvent, number>> {
    return { ...this.#counts }
  }

  add (event: CacheEvent): void {
    const count = this.#counts[event] += 1
    const listeners = this.#listeners.get(event)
    if (listeners !== undefined) for (const listener of listeners) listener(count)
  }

  /** Calls `listener` each time, with how often it has happened. It must not throw. */
  on (event: CacheEvent, listener: (count: number) => void): void {
    this.#listeners.set(event, [...this.#listeners.get(event) ?? [], listener])
  }
}
