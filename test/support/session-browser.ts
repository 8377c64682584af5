import type { FastifyInstance } from 'fastify'

/** A response that a browser has received. */
export interface BrowserResponse {
  status: number
  /** its JSON, or its text */
  body: unknown
  setCookie: string[]
}

/** A browser: stores its cookies, and uses an app in this process or at an address. */
export class Browser {
  readonly cookies = new Map<string, string>()
  #home: FastifyInstance | string

  constructor (home: FastifyInstance | string) {
    this.#home = home
  }

  /** Another browser with the same cookies, like a second tab or a thief; optionally at another process. */
  copy (home: FastifyInstance | string = this.#home): Browser {
    const copy = new Browser(home)
    for (const [name, value] of this.cookies) copy.cookies.set(name, value)
    return copy
  }

  get cookieField (): string {
    return [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ')
  }

  async get (path: string, headers: Record<string, string> = {}): Promise<BrowserResponse> {
    return await this.send('GET', path, headers)
  }

  async post (path: string, body?: unknown, headers: Record<string, string> = {}): Promise<BrowserResponse> {
    return await this.send('POST', path, headers, body)
  }

  async delete (path: string): Promise<BrowserResponse> {
    return await this.send('DELETE', path)
  }

  async send (method: 'GET' | 'POST' | 'DELETE', path: string, headers: Record<string, string> = {}, body?: unknown): Promise<BrowserResponse> {
    const sent = { ...(this.cookies.size > 0 ? { cookie: this.cookieField } : {}), ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers }
    const payload = body === undefined ? undefined : JSON.stringify(body)
    const { status, text, setCookie } = typeof this.#home === 'string' ? await overWire(this.#home + path, method, sent, payload) : await inside(this.#home, path, method, sent, payload)
    for (const line of setCookie) this.#keep(line)
    return { status, body: parse(text), setCookie }
  }

  #keep (line: string): void {
    const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
    if (/max-age=0/i.test(line)) this.cookies.delete(name)
    else this.cookies.set(name, value)
  }
}

interface Raw { status: number, text: string, setCookie: string[] }

async function overWire (url: string, method: string, headers: Record<string, string>, body: string | undefined): Promise<Raw> {
  const response = await fetch(url, { method, headers, body: body ?? null })
  return { status: response.status, text: await response.text(), setCookie: response.headers.getSetCookie() }
}

async function inside (app: FastifyInstance, url: string, method: 'GET' | 'POST' | 'DELETE', headers: Record<string, string>, payload: string | undefined): Promise<Raw> {
  const response = await app.inject({ method, url, headers, ...(payload === undefined ? {} : { payload }) })
  return { status: response.statusCode, text: response.body, setCookie: [response.headers['set-cookie'] ?? []].flat() }
}

function parse (text: string): unknown {
  try {
    return JSON.parse(text)
  } catch { // not JSON: the text itself
    return text
  }
}
