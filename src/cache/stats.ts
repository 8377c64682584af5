/**
 * Events of a cache, counted since the start.
 *
 * Outcomes of a request to a cached route: `hit`; `stale`, served after its freshness lifetime; `miss`; `bypass`, the cache was not used.
 *
 * Other events:
 * - `fill`: a handler run started whose response may be stored
 * - `wait`: a request waits for the handler run of another request; `collapse`: it was served from that run
 * - `revalidate`: a stale response is revalidated in the background
 * - `concurrency_rejected`: no handler run started, because `cache.maxConcurrency` runs were in progress
 * - `write`: a response is sent to Redis; then `write_ok`, or `write_failed`: a tag was purged meanwhile, or Redis failed
 * - `uncacheable`: a response may not be stored
 * - `admission_rejected`: a response was not stored because Redis's memory is high
 * - `evicted`: a stored response was removed because Redis's memory is critical
 * - `purge`: tags were purged
 */
export type CacheEvent = 'hit' | 'stale' | 'miss' | 'bypass' | 'fill' | 'wait' | 'collapse' | 'revalidate' | 'concurrency_rejected' | 'write' | 'write_ok' | 'write_failed' | 'uncacheable' | 'admission_rejected' | 'evicted' | 'purge'

/** Counts cache events and notifies listeners. */
export class CacheStats {
  readonly #counts: Record<CacheEvent, number> = {
    hit: 0, stale: 0, miss: 0, bypass: 0, fill: 0, wait: 0, collapse: 0, revalidate: 0, concurrency_rejected: 0, write: 0, write_ok: 0, write_failed: 0, uncacheable: 0, admission_rejected: 0, evicted: 0, purge: 0
  }

  readonly #listeners = new Map<CacheEvent, ((count: number) => void)[]>()

  /** Count of each event since the start. */
  get all (): Readonly<Record<CacheEvent, number>> {
    return { ...this.#counts }
  }

  add (event: CacheEvent): void {
    const count = this.#counts[event] += 1
    const listeners = this.#listeners.get(event)
    if (listeners !== undefined) for (const listener of listeners) listener(count)
  }

  /** Calls `listener` at each event with its count. The listener must not throw. */
  on (event: CacheEvent, listener: (count: number) => void): void {
    this.#listeners.set(event, [...this.#listeners.get(event) ?? [], listener])
  }
}
