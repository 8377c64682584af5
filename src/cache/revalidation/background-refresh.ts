import type { Entry } from '../storage/entry-codec.ts'
import type { InProcessFill } from '../single-flight/in-process-fill.ts'

/** A stale answer that is made anew without a visitor. */
export class BackgroundRefresh {
  /** its handler runs, so no hook has refused it */
  hasBegun = false
  /** the key that is filled: a request that turns out to have another one is not what was meant */
  readonly name: string
  readonly stale: Entry
  readonly fill: InProcessFill<Entry>

  constructor (name: string, stale: Entry, fill: InProcessFill<Entry>) {
    this.name = name
    this.stale = stale
    this.fill = fill
  }
}

/** The request that a refresh is made with: what the key holds, and nothing of who visited. */
export interface RefreshRequest {
  readonly url: string
  readonly fields: Readonly<Record<string, string>>
}

/** So many refreshes of one process at once; what is stale beyond waits for a later visitor. */
const most = 16
const longestMs = 10_000

/** Refreshes of one process: requests of its own that run the handler while visitors take what is stale (RFC 5861 section 3). */
export class BackgroundRefreshes {
  readonly #send: (request: RefreshRequest & { signal: AbortSignal }, refresh: BackgroundRefresh) => Promise<void>
  #running = 0

  /** @param send settles when the answer is complete */
  constructor (send: (request: RefreshRequest & { signal: AbortSignal }, refresh: BackgroundRefresh) => Promise<void>) {
    this.#send = send
  }

  get hasRoom (): boolean {
    return this.#running < most
  }

  /** Counts something as a refresh while it lasts. */
  async track (work: () => Promise<void>): Promise<void> {
    this.#running += 1
    await work().finally(() => { this.#running -= 1 })
  }

  /**
   * Makes an answer anew, within a time.
   *
   * @throws what is thrown where the time is over
   */
  async send (request: RefreshRequest, refresh: BackgroundRefresh): Promise<void> {
    await this.#send({ ...request, signal: AbortSignal.timeout(longestMs) }, refresh)
  }
}
