import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'

/** A GET that the app injects into itself, such as a background refresh. */
export interface InternalRequest {
  readonly url: string
  /** request headers, names in lower case */
  readonly fields: Readonly<Record<string, string>>
  /** further request headers, which only the router, `rewriteUrl` and hooks registered before the stack see */
  readonly routingFields: Readonly<Record<string, string>>
  /** values of the getters of the request: `protocol`, `host`, … */
  readonly origin: object
  readonly remoteAddress: string | undefined
  /** aborts the request */
  readonly signal: AbortSignal
}

/** As Fastify's `inject` takes it. */
interface Injected {
  readonly method: 'GET'
  readonly url: string
  readonly headers: Record<string, string>
  readonly signal: AbortSignal
  readonly remoteAddress?: string
}

/** Carries a random token that identifies an internal request. A client's value is never a known token, so it has no effect. */
const internalHeader = 'x-prism-internal'

/** The internal requests of an app that are under way. */
export class InternalRequests {
  readonly #inject: (request: Injected) => PromiseLike<unknown>
  readonly #sent = new Map<string, { readonly mark: object, readonly internal: InternalRequest }>()

  constructor (inject: (request: Injected) => PromiseLike<unknown>) {
    this.#inject = inject
  }

  get isEmpty (): boolean {
    return this.#sent.size === 0
  }

  /** Injects a request, which runs all hooks. Resolves when the response is complete. */
  async send (internal: InternalRequest, mark: object): Promise<void> {
    const { url, fields, routingFields, remoteAddress, signal } = internal
    const token = randomUUID()
    this.#sent.set(token, { mark, internal })
    try {
      await this.#inject({ method: 'GET', url, headers: { ...routingFields, ...fields, [internalHeader]: token }, signal, ...(remoteAddress === undefined ? {} : { remoteAddress }) })
    } finally {
      this.#sent.delete(token)
    }
  }

  /** Gives an internal request the fields and the origin that hooks and the handler may see. @returns its mark; undefined for the request of a client */
  reveal (request: { readonly raw: IncomingMessage }): object | undefined {
    const token = request.raw.headers[internalHeader]
    const found = typeof token === 'string' ? this.#sent.get(token) : undefined
    if (found === undefined) return undefined
    const { mark, internal: { fields, origin } } = found
    request.raw.headers = { ...fields }
    request.raw.rawHeaders = Object.entries(fields).flat()
    for (const [name, value] of Object.entries(origin)) Object.defineProperty(request, name, { value, writable: true, configurable: true })
    return mark
  }
}
