import type { CachedRoute } from './cached-route.ts'
import type { CacheRequest } from './http-message.ts'
import { inspectEntry } from './storage/inspect-entry.ts'
import type { EntryInspection } from './storage/inspect-entry.ts'
import { wallMs } from '../shared/clock.ts'

/** A GET request without headers whose stored response is inspected. */
export interface InspectedTarget {
  /** path and query */
  readonly url: string
  /** `http` or `https` */
  readonly protocol: string
  readonly host: string
  readonly params: Readonly<Record<string, string | undefined>>
  readonly query: Readonly<Record<string, unknown>>
}

/**
 * Reads what is stored for a URL, as `fastify.cache.inspect` does.
 *
 * @param cached undefined: the route is not cached
 */
export async function inspectRoute<Request extends CacheRequest> (route: string, cached: CachedRoute<Request> | undefined, { url, ...target }: InspectedTarget): Promise<EntryInspection> {
  if (cached === undefined) return { found: 'uncached', route: null }
  const found = await cached.peek({ ...target, method: 'GET', url, headers: {}, raw: { url, headers: {} } } as unknown as Request)
  if (found === undefined) return { found: 'apart', route }
  if (found.outcome !== 'found') return { found: found.outcome === 'none' ? 'nothing' : 'unavailable', route }
  return { route, ...inspectEntry(found.entry, wallMs()) }
}
