import router from 'find-my-way'
import { CachedRoute } from '../../src/cache/cached-route.ts'
import type { CacheRequest } from '../../src/cache/http-message.ts'
import { inspectEntry } from '../../src/cache/storage/inspect-entry.ts'
import type { EntryInspection } from '../../src/cache/storage/inspect-entry.ts'

/** Origin of URLs without one. */
export interface RequestTarget {
  readonly protocol: string
  readonly host: string
}

type Part = CachedRoute<CacheRequest>

/** Finds the stored response of a URL, as for a request without fields of its own. */
export class EntryFinder {
  readonly #routes = router({ maxParamLength: 1000 })

  /** Registers a route; `part` is its resolved cache policy. */
  add (url: string, part: unknown): void {
    if (part instanceof CachedRoute && !this.#routes.hasRoute('GET', url)) this.#routes.on('GET', url, () => {}, { url, part })
  }

  /** Never rejects: a Redis outage is reported as `unavailable`. */
  async find (text: string, place: RequestTarget): Promise<EntryInspection> {
    const { protocol = '', host = '', pathname = '', search = '' } = URL.parse(text, `${place.protocol}://${place.host}`) ?? {}
    const path = pathname + search
    const match = this.#routes.find('GET', path)
    if (match === null) return { found: 'uncached', route: null }
    const { url: route, part } = match.store as { url: string, part: Part }
    const found = await part.peek({ method: 'GET', url: path, protocol: protocol.slice(0, -1), host, headers: {}, raw: { url: path, headers: {} }, query: match.searchParams, params: match.params })
    if (found === undefined) return { found: 'apart', route }
    if (found.outcome !== 'found') return { found: found.outcome === 'none' ? 'nothing' : 'unavailable', route }
    return { route, ...inspectEntry(found.entry, Date.now()) }
  }
}
