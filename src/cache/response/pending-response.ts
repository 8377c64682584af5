import { parseCacheControl } from '../../http/cache-control.ts'
import { sentCookies, whenHeadWritten } from '../../http/sent-head.ts'
import type { CacheReply } from '../http-message.ts'
import type { RoutePolicy } from '../options.ts'

/** The header fields that an answer was judged by. */
interface JudgedHead {
  readonly status: number
  readonly cookies: readonly string[]
  readonly control: string
}

/**
 * An answer that may be stored, until its header block has been sent. Hooks that run after the cache's, and code that writes to the response itself,
 * may still add a cookie or forbid storing: what counts is the header block that is sent.
 */
export class PendingResponse {
  readonly #reply: CacheReply
  readonly #policy: Pick<RoutePolicy, 'partition'>
  readonly #judged: JudgedHead
  readonly #refused: (reason: string) => void
  readonly #stopWatching: () => void
  #isWritten = false
  #isEnded = false
  #keep: (() => void) | undefined

  /** @param refused told why the answer may not be stored after all */
  constructor (reply: CacheReply, policy: Pick<RoutePolicy, 'partition'>, refused: (reason: string) => void) {
    this.#reply = reply
    this.#policy = policy
    this.#refused = refused
    // Cookies that are here now were set before the handler ran, or by the session: none of them is part of the answer.
    this.#judged = { status: reply.statusCode, cookies: cookiesOf(reply), control: controlOf(reply) }
    this.#stopWatching = whenHeadWritten(reply.raw, () => this.#written())
  }

  /** The body is complete: `keep` is called now, or once the header block has been sent. */
  complete (keep: () => void): void {
    if (this.#isEnded) return
    this.#keep = keep
    if (this.#isWritten) this.#finish()
  }

  /** There is nothing to store. */
  drop (): void {
    this.#isEnded = true
    this.#keep = undefined
    this.#stopWatching()
  }

  /** Looks at the reply once all hooks have run; @returns whether the answer may still be stored */
  review (): boolean {
    if (this.#isEnded) return false
    const reason = this.#reasonAgainst(this.#reply.statusCode, cookiesOf(this.#reply)) ?? this.#controlAgainst()
    if (reason !== undefined) this.#refuse(reason)
    return reason === undefined
  }

  /** The exchange is over. On HTTP/2 a header block may leave without a call of `writeHead`. */
  over (): void {
    if (!this.#isEnded && !this.#isWritten) this.#written()
  }

  #written (): void {
    if (this.#isEnded) return
    const { raw } = this.#reply
    const reason = this.#reasonAgainst(raw.statusCode, sentCookies(raw) ?? cookiesOf(this.#reply))
    if (reason !== undefined) return this.#refuse(reason)
    this.#isWritten = true
    this.#finish()
  }

  #finish (): void {
    const keep = this.#keep
    if (keep === undefined || this.#isEnded) return
    this.drop()
    keep()
  }

  #refuse (reason: string): void {
    this.drop()
    this.#refused(reason)
  }

  #reasonAgainst (status: number, cookies: readonly string[]): string | undefined {
    if (status !== this.#judged.status) return 'status'
    return cookies.every((cookie) => this.#judged.cookies.includes(cookie)) ? undefined : 'set-cookie'
  }

  #controlAgainst (): string | undefined {
    const field = controlOf(this.#reply)
    if (field === this.#judged.control) return undefined
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
