import { createHmac } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'

/** Where messages go, and how often and how long they are tried. */
export interface WebhookOptions {
  readonly url: string
  /** signs each body; undefined: no signature */
  readonly secret: string | undefined
  /** before the second try, in milliseconds; doubled each time. Default 1000 */
  readonly retryMs?: number
  /** told of a message that was given up */
  readonly onLost: (reason: string) => void
}

const tries = 6
const timeoutMs = 5000

/** Sends messages to an address, in order, each until it is taken or was refused for good. */
export class Webhook {
  readonly #options: WebhookOptions
  readonly #closing = new AbortController()
  #last: Promise<void> = Promise.resolve()

  constructor (options: WebhookOptions) {
    this.#options = options
  }

  /** @returns settles when the message was taken, or given up */
  send (message: object): Promise<void> {
    const body = JSON.stringify(message)
    this.#last = this.#last.then(() => this.#deliver(body))
    return this.#last
  }

  /** Gives up what waits. */
  close (): void {
    this.#closing.abort()
  }

  async #deliver (body: string): Promise<void> {
    let reason = 'closed'
    for (let attempt = 0; attempt < tries && !this.#closing.signal.aborted; attempt++) {
      if (attempt > 0) await pause((this.#options.retryMs ?? 1000) * 2 ** (attempt - 1), undefined, { ref: false, signal: this.#closing.signal }).catch(() => {}) // closing: the loop ends
      const answer = await this.#post(body)
      if (answer === 'taken') return
      reason = answer.reason
      if (answer.isFinal) break
    }
    if (!this.#closing.signal.aborted) this.#options.onLost(reason)
  }

  async #post (body: string): Promise<'taken' | { reason: string, isFinal: boolean }> {
    try {
      const { ok, status } = await fetch(this.#options.url, { method: 'POST', body, headers: this.#headers(body), redirect: 'error', signal: AbortSignal.any([AbortSignal.timeout(timeoutMs), this.#closing.signal]) })
      return ok ? 'taken' : { reason: `status ${status}`, isFinal: status < 500 && status !== 429 && status !== 408 }
    } catch (error) {
      return { reason: error instanceof Error ? error.name : 'unknown', isFinal: false }
    }
  }

  #headers (body: string): Record<string, string> {
    const { secret } = this.#options
    const headers = { 'content-type': 'application/json', 'user-agent': 'fastify-prism' }
    return secret === undefined ? headers : { ...headers, 'x-prism-signature': sign(body, secret) }
  }
}

/** The value of `X-Prism-Signature`: HMAC-SHA256 of the body. Receivers compare it in constant time. */
export function sign (body: string, secret: string): string {
  return `sha256=${createHmac('sha256', secret).update(body).digest('hex')}`
}
