import { invalidatedBy, isUnsafe } from './unsafe-methods.ts'
import type { CacheRequest, CacheReply } from '../http-message.ts'
import type { CacheRuntime } from '../runtime.ts'

/** A route that is not cached. Its unsafe requests invalidate cached responses (RFC 9111 section 4.4). */
export class InvalidatingRoute {
  readonly #shared: Pick<CacheRuntime, 'store' | 'warn'>

  constructor (shared: Pick<CacheRuntime, 'store' | 'warn'>) {
    this.#shared = shared
  }

  /** Purges what the request changed before its response is sent, so that a client reads its own write. */
  finalizeResponse (request: CacheRequest, reply: CacheReply): Promise<undefined> | undefined {
    if (!isUnsafe(request.method)) return undefined
    const tags = invalidatedBy(request, reply)
    return tags.length === 0 ? undefined : this.#purge(tags)
  }

  async #purge (tags: readonly string[]): Promise<undefined> {
    await this.#shared.store.purge(tags).catch((error: unknown) => this.#shared.warn({ err: error }, 'Invalidation after an unsafe request failed: stale responses may be served'))
    return undefined
  }
}
