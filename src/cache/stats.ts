/**
 * Events that are counted. `store`: a write to Redis starts; `kept`: it succeeded; `lost`: it failed, or the entry was purged meanwhile.
 * `refuse`: the response is not storable; `decline`: it is storable, but Redis memory is too full; `shed`: a stored entry was evicted for memory.
 * `fill`: the handler runs for a storable response; `wait`: a request waits for another request's run; `collapse`: the request was served from that run.
 * `refresh`: a stale entry is refreshed in the background; `deny`: `maxConcurrency` was reached and nothing stale could be served.
 */
export type CacheEvent = 'hit' | 'stale' | 'miss' | 'bypass' | 'fill' | 'wait' | 'collapse' | 'refresh' | 'deny' | 'store' | 'kept' | 'lost' | 'refuse' | 'decline' | 'shed' | 'purge'

/** Counts cache events and notifies listeners. */
export class CacheStats {
  readonly #counts: Record<CacheEvent, number> = { hit: 0, stale: 0, miss: 0, bypass: 0, fill: 0, wait: 0, collapse: 0, refresh: 0, deny: 0, store: 0, kept: 0, lost: 0, refuse: 0, decline: 0, shed: 0, purge: 0 }
  readonly #listeners = new Map<CacheEvent, ((count: number) => void)[]>()

  /** Number of events by type since the start. */
  get all (): Readonly<Record<CacheEvent, number>> {
    return { ...this.#counts }
  }

  add (event: CacheEvent): void {
    const count = this.#counts[event] += 1
    const listeners = this.#listeners.get(event)
    if (listeners !== undefined) for (const listener of listeners) listener(count)
  }

  /** Calls `listener` on each event with the number of such events so far. The listener must not throw. */
  on (event: CacheEvent, listener: (count: number) => void): void {
    this.#listeners.set(event, [...this.#listeners.get(event) ?? [], listener])
  }
}
