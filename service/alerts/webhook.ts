import { createHmac } from 'node:crypto'
import { unescape } from 'node:querystring'
import { setTimeout as pause } from 'node:timers/promises'

/** Destination and retry policy. */
interface WebhookOptions {
  readonly url: string
  /** HMAC key that signs each body; undefined: no signature */
  readonly secret: string | undefined
  /** delay before the first retry, in milliseconds, doubled for each further one; default 1000 */
  readonly retryMs?: number
  /** maximum number of attempts; default 6 */
  readonly tries?: number
  /** called when a message is dropped */
  readonly onLost: (reason: string) => void
}

const defaultTries = 6
const timeoutMs = 5000

/** Posts messages to a URL and retries failures. Messages of one alert are delivered in order; different alerts do not block each other. */
export class Webhook {
  readonly #options: WebhookOptions
  readonly #target: { readonly url: string, readonly login: Record<string, string> }
  readonly #closing = new AbortController()
  readonly #last = new Map<string, Promise<unknown>>()

  constructor (options: WebhookOptions) {
    this.#options = options
    this.#target = targetOf(options.url)
  }

  /**
   * @param alert messages with the same name are sent one after the other
   * @returns undefined once the message is accepted, or the reason if it is dropped
   */
  async send (alert: string, message: object): Promise<string | undefined> {
    const body = JSON.stringify(message)
    const sent = Promise.resolve(this.#last.get(alert)).then(() => this.#deliver(body))
    this.#last.set(alert, sent)
    const reason = await sent
    if (this.#last.get(alert) === sent) this.#last.delete(alert)
    return reason
  }

  /** Aborts pending messages. */
  close (): void {
    this.#closing.abort()
  }

  async #deliver (body: string): Promise<string | undefined> {
    const { retryMs = 1000, tries = defaultTries, onLost } = this.#options
    let reason = 'closed'
    for (let attempt = 0; attempt < tries && !this.#closing.signal.aborted; attempt++) {
      if (attempt > 0) await pause(retryMs * 2 ** (attempt - 1), undefined, { ref: false, signal: this.#closing.signal }).catch(() => {}) // closing: the loop ends
      const result = await this.#post(body)
      if (result === 'accepted') return undefined
      reason = result.reason
      if (result.isFinal) break
    }
    if (!this.#closing.signal.aborted) onLost(reason)
    return reason
  }

  async #post (body: string): Promise<'accepted' | { reason: string, isFinal: boolean }> {
    try {
      const response = await fetch(this.#target.url, { method: 'POST', body, headers: this.#headers(body), redirect: 'error', signal: AbortSignal.any([AbortSignal.timeout(timeoutMs), this.#closing.signal]) })
      const { ok, status } = response
      await response.body?.cancel() // an unread response body occupies its connection
      return ok ? 'accepted' : { reason: `status ${status}`, isFinal: status < 500 && status !== 429 && status !== 408 }
    } catch (error) {
      return { reason: wordOf(error), isFinal: false }
    }
  }

  #headers (body: string): Record<string, string> {
    const { secret } = this.#options
    const headers = { 'content-type': 'application/json', 'user-agent': 'fastify-prism', ...this.#target.login }
    return secret === undefined ? headers : { ...headers, 'x-prism-signature': sign(body, secret) }
  }
}

/** Reason of a failed attempt, without the URL, which may contain a secret. */
function wordOf (error: unknown): string {
  if (!(error instanceof Error)) return 'unknown'
  const { cause } = error
  if (!(cause instanceof Error)) return error.name
  const code: unknown = 'code' in cause ? cause.code : undefined
  return typeof code === 'string' ? code : fetchFaults[cause.message] ?? error.name
}

/** Errors of `fetch` that have no code, by their text. */
const fetchFaults: Readonly<Record<string, string>> = { 'unexpected redirect': 'a redirect', 'bad port': 'a port that fetch does not use' }

/** `fetch` rejects an address with a login: it is sent as a header. @see RFC 7617 */
function targetOf (address: string): { url: string, login: Record<string, string> } {
  const url = new URL(address)
  const { username, password } = url
  if (username === '' && password === '') return { url: address, login: {} }
  url.username = url.password = ''
  return { url: url.href, login: { authorization: `Basic ${Buffer.from(`${unescape(username)}:${unescape(password)}`).toString('base64')}` } }
}

/** The value of `X-Prism-Signature`: HMAC-SHA256 of the body. Receivers compare it in constant time. */
export function sign (body: string, secret: string): string {
  return `sha256=${createHmac('sha256', secret).update(body).digest('hex')}`
}
