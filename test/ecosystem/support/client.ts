import { until } from '../../support/until.ts'
import type { EcosystemApp } from './app.ts'

/** A visitor with a cookie jar and the header fields of its own. */
export class Client {
  #url: string
  #headers: Record<string, string>
  #cookies = new Map<string, string>()

  constructor ({ url }: Pick<EcosystemApp, 'url'>, headers: Record<string, string> = {}) {
    this.#url = url
    this.#headers = headers
  }

  /** Sends a request over a socket; the body is to be read by the caller. */
  async fetch (path: string, { headers, ...init }: RequestInit & { headers?: Record<string, string> } = {}): Promise<Response> {
    const cookie = [...this.#cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const response = await fetch(this.#url + path, { redirect: 'manual', ...init, headers: { ...this.#headers, ...cookie ? { cookie } : {}, ...headers } })
    for (const line of response.headers.getSetCookie()) this.#keep(line)
    return response
  }

  /** The same, with the body read as JSON where it is JSON. */
  async get (path: string, init: Parameters<Client['fetch']>[1] = {}): Promise<Answer> {
    const response = await this.fetch(path, init)
    const text = await response.text()
    return { status: response.status, headers: response.headers, text, body: parsed(text), isHit: /; *hit/.test(response.headers.get('cache-status') ?? '') }
  }

  async post (path: string, init: Parameters<Client['fetch']>[1] = {}): Promise<Answer> {
    return await this.get(path, { method: 'POST', ...init })
  }

  async put (path: string, init: Parameters<Client['fetch']>[1] = {}): Promise<Answer> {
    return await this.get(path, { method: 'PUT', ...init })
  }

  /** Repeats a request until it is a hit: a response is stored after it has left. */
  async hit (path: string, init: Parameters<Client['fetch']>[1] = {}): Promise<Answer> {
    return await until(async () => {
      const answer = await this.get(path, init)
      return answer.isHit && answer
    }, { what: `${path} is served from the cache`, deadlineMs: 3_000 })
  }

  #keep (line: string): void {
    const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
    if (/max-age=0|expires=Thu, 01 Jan 1970/i.test(line)) this.#cookies.delete(name)
    else this.#cookies.set(name, value)
  }
}

/** A response and its body. */
export interface Answer {
  status: number
  headers: Headers
  text: string
  body: any
  isHit: boolean
}

function parsed (text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
