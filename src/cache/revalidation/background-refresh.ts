import type { Entry } from '../storage/entry-codec.ts'
import type { InProcessFill } from '../single-flight/in-process-fill.ts'

/** One background refresh of a stale entry. */
export class BackgroundRefresh {
  /** the handler has started, so no hook has rejected the internal request */
  hasBegun = false
  /** expected cache key: an internal request with another key is not executed */
  readonly name: string
  readonly stale: Entry
  readonly fill: InProcessFill<Entry>

  constructor (name: string, stale: Entry, fill: InProcessFill<Entry>) {
    this.name = name
    this.stale = stale
    this.fill = fill
  }
}

/** Scheme and authority of a request, as Fastify's getters return them. */
export interface RequestOrigin {
  readonly protocol: string
  readonly host: string
  readonly hostname?: string
  readonly port?: number | null
}

/** The internal request of a refresh: hooks and the handler see only what is part of the cache key, and no data of a client. */
export interface RefreshRequest {
  readonly url: string
  readonly fields: Readonly<Record<string, string>>
  /** further fields, which only the router and `rewriteUrl` see */
  readonly routingFields: Readonly<Record<string, string>>
  /** the client's, because a proxy may have changed scheme and host */
  readonly origin: RequestOrigin
  /** the proxy's address, where the app trusts its fields */
  readonly remoteAddress: string | undefined
}

/** Maximum concurrent refreshes of one process. Above it, a stale entry is refreshed by a later request. */
const maxConcurrent = 16
const timeoutMs = 10_000

/** The background refreshes of one process: internal requests run the handler while clients are served the stale entry (RFC 5861 section 3). */
export class BackgroundRefreshes {
  readonly #send: (request: RefreshRequest & { signal: AbortSignal }, refresh: BackgroundRefresh) => Promise<void>
  #running = 0

  /** @param send resolves when the response is complete */
  constructor (send: (request: RefreshRequest & { signal: AbortSignal }, refresh: BackgroundRefresh) => Promise<void>) {
    this.#send = send
  }

  get hasRoom (): boolean {
    return this.#running < maxConcurrent
  }

  /** Counts `work` as a running refresh. */
  async track (work: () => Promise<void>): Promise<void> {
    this.#running += 1
    await work().finally(() => { this.#running -= 1 })
  }

  /**
   * Sends the internal request, with a timeout of 10 s.
   *
   * @throws TimeoutError after 10 s
   */
  async send (request: RefreshRequest, refresh: BackgroundRefresh): Promise<void> {
    await this.#send({ ...request, signal: AbortSignal.timeout(timeoutMs) }, refresh)
  }
}
