import { parseCacheControl } from '../../http/cache-control.ts'
import { sentCookies, whenHeadWritten } from '../../http/sent-head.ts'
import type { CacheReply } from '../http-message.ts'
import type { RoutePolicy } from '../options.ts'

/** The headers that the decision to store was based on. */
interface EvaluatedHead {
  readonly status: number
  readonly cookies: readonly string[]
  readonly control: string
}

/**
 * A cacheable response whose header block has not been sent yet. Later hooks, and code that writes to `reply.raw`, may still add a cookie or forbid
 * storing, so the decision is repeated for the header block that is sent.
 */
export class PendingResponse {
  readonly #reply: CacheReply
  readonly #policy: Pick<RoutePolicy, 'partition'>
  #evaluated: EvaluatedHead
  readonly #onRejected: (reason: string) => void
  readonly #stopWatching: () => void
  #isWritten = false
  #isEnded = false
  #store: (() => void) | undefined

  /** @param onRejected called with the reason if the response may not be stored after all */
  constructor (reply: CacheReply, policy: Pick<RoutePolicy, 'partition'>, onRejected: (reason: string) => void) {
    this.#reply = reply
    this.#policy = policy
    this.#onRejected = onRejected
    // Cookies present now were set before the handler ran, or by the session plugin. They are not part of the stored response.
    this.#evaluated = { status: reply.statusCode, cookies: cookiesOf(reply), control: controlOf(reply) }
    this.#stopWatching = whenHeadWritten(reply.raw, () => this.#onHeadWritten())
  }

  /** Call when the body is complete: `store` is called now, or once the header block has been sent. */
  complete (store: () => void): void {
    if (this.#isEnded) return
    this.#store = store
    if (this.#isWritten) this.#finish()
  }

  /** Call when the cache itself has changed the status, to 304 for one. */
  noteStatus (): void {
    this.#evaluated = { ...this.#evaluated, status: this.#reply.statusCode }
  }

  /** Stores nothing. */
  drop (): void {
    this.#isEnded = true
    this.#store = undefined
    this.#stopWatching()
  }

  /** Call when all hooks have run. @returns whether the response may still be stored */
  review (): boolean {
    if (this.#isEnded) return false
    const reason = this.#headRejection(this.#reply.statusCode, cookiesOf(this.#reply)) ?? this.#cacheControlRejection()
    if (reason !== undefined) this.#reject(reason)
    return reason === undefined
  }

  /** Call when the exchange has ended. On HTTP/2 the header block may be sent without a call to `writeHead`. */
  over (): void {
    if (!this.#isEnded && !this.#isWritten) this.#onHeadWritten()
  }

  #onHeadWritten (): void {
    if (this.#isEnded) return
    const { raw } = this.#reply
    const reason = this.#headRejection(raw.statusCode, sentCookies(raw) ?? cookiesOf(this.#reply))
    if (reason !== undefined) return this.#reject(reason)
    this.#isWritten = true
    this.#finish()
  }

  #finish (): void {
    const store = this.#store
    if (store === undefined || this.#isEnded) return
    this.drop()
    store()
  }

  #reject (reason: string): void {
    this.drop()
    this.#onRejected(reason)
  }

  #headRejection (status: number, cookies: readonly string[]): string | undefined {
    if (status !== this.#evaluated.status) return 'status'
    return cookies.every((cookie) => this.#evaluated.cookies.includes(cookie)) ? undefined : 'set-cookie'
  }

  #cacheControlRejection (): string | undefined {
    const field = controlOf(this.#reply)
    if (field === this.#evaluated.control) return undefined
    const control = parseCacheControl(field)
    if (control.noStore) return 'no-store'
    return control.private === true && this.#policy.partition === undefined ? 'private' : undefined
  }
}

function cookiesOf (reply: CacheReply): readonly string[] {
  return [reply.getHeader('set-cookie') ?? []].flat().map(String)
}

function controlOf (reply: CacheReply): string {
  return String(reply.getHeader('cache-control') ?? '')
}
