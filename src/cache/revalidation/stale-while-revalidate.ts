import { LRUCache } from 'lru-cache'
import type { Entry } from '../storage/entry-codec.ts'
import type { InProcessFill } from '../single-flight/in-process-fill.ts'
import type { Lookup } from '../lookup/lookup.ts'
import { acquireRequestOf } from '../single-flight/fill-lock.ts'
import type { CacheRequest } from '../http-message.ts'
import type { RoutePolicy } from '../options.ts'
import { BackgroundRefresh } from './background-refresh.ts'
import type { CacheRuntime } from '../runtime.ts'
import type { HandlerContext } from '../handler-context.ts'

/** Fields that say who visits: no request of the app's own bears them. */
const identities = new Set(['authorization', 'cookie', 'proxy-authorization'])
/** After a refresh that came to nothing, the next one waits so long. */
const restMs = 1000
/** After hooks have refused a request of the app's own, visitors' requests fill for so long. */
const ownMs = 60_000

/** Who makes a stale answer of one route anew, while everybody is served what is stale (RFC 5861 section 3): one of all processes. */
export class StaleWhileRevalidate<Request extends CacheRequest> {
  readonly #policy: RoutePolicy<Request>
  readonly #shared: CacheRuntime
  readonly #resting = new LRUCache<string, true>({ max: 1000 })
  readonly #isAnonymous: boolean
  #refusedUntil = 0

  constructor (policy: RoutePolicy<Request>, shared: CacheRuntime) {
    this.#policy = policy
    this.#shared = shared
    this.#isAnonymous = policy.partition === undefined && !policy.vary.some((name) => identities.has(name))
  }

  /**
   * Has a stale answer made anew, unless that is under way.
   *
   * @returns the fill that this very request shall make, where nobody else can; undefined when it may take what is stale
   */
  async begin (context: HandlerContext<Request>, lookup: Lookup<Entry>, stale: Entry): Promise<InProcessFill<Entry> | undefined> {
    const name = context.state.key?.name ?? ''
    if (this.#isBusy(name, lookup)) return undefined
    if (this.#mayRefresh()) {
      this.#refresh(context, lookup, stale)
      return undefined
    }
    if (context.request.method !== 'GET') return undefined
    const fill = this.#fill(name, lookup)
    if (await this.#take(fill, name, lookup)) return fill
    fill.end('again')
    return undefined
  }

  /** Has an answer that is still fresh made anew, where no visitor has to do it. */
  early (context: HandlerContext<Request>, lookup: Lookup<Entry>, entry: Entry): void {
    if (this.#mayRefresh() && !this.#isBusy(context.state.key?.name ?? '', lookup)) this.#refresh(context, lookup, entry)
  }

  #mayRefresh (): boolean {
    return this.#isAnonymous && performance.now() > this.#refusedUntil
  }

  #isBusy (name: string, lookup: Lookup<Entry>): boolean {
    const { singleFlight, store, refreshes } = this.#shared
    if (this.#mayRefresh() && !refreshes.hasRoom) return true
    return this.#resting.has(name) || singleFlight.find(name, lookup.minSequence, store.tick, lookup.tick) !== undefined
  }

  #fill (name: string, lookup: Lookup<Entry>): InProcessFill<Entry> {
    return this.#shared.singleFlight.begin(name, lookup.minSequence ?? 0, { tick: this.#shared.store.tick })
  }

  /** Takes the lock where it is free, and waits for nobody: what is stale is there. */
  async #take (fill: InProcessFill<Entry>, name: string, lookup: Lookup<Entry>): Promise<boolean> {
    const taking = await this.#shared.lockQueue.tryAcquire(name, acquireRequestOf(lookup)).catch(() => undefined)
    if (taking?.word !== 'taken') {
      this.#rest(name, taking?.leftMs ?? restMs)
      return false
    }
    fill.sequence = taking.sequence
    fill.lock = taking.lock
    return true
  }

  #refresh ({ request, state }: HandlerContext<Request>, lookup: Lookup<Entry>, stale: Entry): void {
    const name = state.key?.name ?? ''
    const refresh = new BackgroundRefresh(name, stale, this.#fill(name, lookup))
    const asked = { url: state.key?.url ?? '', fields: this.#fieldsOf(request) }
    const { lockQueue, refreshes, stats } = this.#shared
    const work = async () => {
      if (!await this.#take(refresh.fill, name, lookup)) return refresh.fill.end('again')
      stats.add('revalidate')
      await refreshes.send(asked, refresh)
      if (refresh.hasBegun) return
      this.#refusedUntil = performance.now() + ownMs
      lockQueue.abandon(refresh.fill, 'again')
    }
    refreshes.track(work).catch(() => lockQueue.abandon(refresh.fill, 'again'))
    refresh.fill.result.then((ending) => { if (typeof ending === 'string' && refresh.hasBegun) this.#rest(name, restMs) })
  }

  #rest (name: string, ms: number): void {
    if (ms > 0) this.#resting.set(name, true, { ttl: ms })
  }

  /** What the key holds of a request's fields; and its host, where it may be part of the key. */
  #fieldsOf ({ raw: { headers } }: Request): Record<string, string> {
    const fields: Record<string, string> = { 'user-agent': 'fastify-prism' }
    for (const name of ['host', ...this.#policy.vary]) {
      const value = headers[name]
      if (value !== undefined) fields[name] = String(value)
    }
    return fields
  }
}
