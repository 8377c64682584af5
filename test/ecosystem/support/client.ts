import { request } from 'undici'
import type { Dispatcher } from 'undici'
import { until } from '../../support/until.ts'
import type { EcosystemApp } from './app.ts'

/** What a request is sent with. */
export interface Init {
  method?: Dispatcher.HttpMethod
  headers?: Record<string, string>
  body?: Dispatcher.DispatchOptions['body'] | FormData
  signal?: AbortSignal
}

/** A response and its body. */
export interface ClientResponse {
  status: number
  headers: Headers
  text: string
  body: any
  isHit: boolean
}

/** A client with a cookie jar and header fields of its own. It adds no field: `fetch` adds `Cache-Control: no-cache` to conditional requests. */
export class Client {
  #url: string
  #headers: Record<string, string>
  #cookies = new Map<string, string>()

  constructor ({ url }: Pick<EcosystemApp, 'url'>, headers: Record<string, string> = {}) {
    this.#url = url
    this.#headers = headers
  }

  /** The same client, whose next requests go to another process. */
  at (url: string): this {
    this.#url = url
    return this
  }

  /** The Cookie field of the next request. */
  get cookie (): string {
    return [...this.#cookies].map(([name, value]) => `${name}=${value}`).join('; ')
  }

  /** Sends a request and reads the response, its body as JSON where it is JSON; follows no redirect. */
  async get (path: string, { method = 'GET', headers, body, signal }: Init = {}): Promise<ClientResponse> {
    const { cookie } = this
    const response = await request(this.#url + path, { method, signal, headers: { ...this.#headers, ...cookie ? { cookie } : {}, ...headers }, body: body as Dispatcher.DispatchOptions['body'] })
    const fields = new Headers()
    for (const [name, value] of Object.entries(response.headers)) for (const line of [value].flat()) fields.append(name, line ?? '')
    for (const line of fields.getSetCookie()) this.#keep(line)
    const text = await response.body.text()
    return { status: response.statusCode, headers: fields, text, body: parsed(text), isHit: /; *hit/.test(fields.get('cache-status') ?? '') }
  }

  async post (path: string, init: Init = {}): Promise<ClientResponse> {
    return await this.get(path, { method: 'POST', ...init })
  }

  async put (path: string, init: Init = {}): Promise<ClientResponse> {
    return await this.get(path, { method: 'PUT', ...init })
  }

  /** Repeats a request until it is a hit: a response is stored after it has left. */
  async hit (path: string, init: Init = {}): Promise<ClientResponse> {
    let last: ClientResponse | undefined
    return await until(async () => (last = await this.get(path, init)).isHit && last, { what: `${path} is served from the cache`, deadlineMs: 3_000, everyMs: 20 }).catch((error: Error) => {
      error.message += `; last ${last?.status}, ${last?.headers.get('cache-status')}`
      throw error
    })
  }

  #keep (line: string): void {
    const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
    if (/max-age=0|expires=Thu, 01 Jan 1970/i.test(line)) this.#cookies.delete(name)
    else this.#cookies.set(name, value)
  }
}

function parsed (text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
