/** Cookies of a client by name. */
export type Jar = Map<string, string>

/** Request parts besides method and path. */
export interface Sent {
  cookies?: Jar
  /** the counted client */
  client?: string
}

/** A response. */
export interface Reply {
  status: number
  body: unknown
  /** Cache-Status */
  cache: string
}

const hangMs = 15_000

/** Sends requests to any of the apps, and records what they report of their trouble. */
export class Client {
  readonly #urls: readonly string[]
  readonly #trouble = new Map<number, number>()
  readonly #recoveries = new Map<number, number>()

  constructor (urls: readonly string[]) {
    this.#urls = urls
  }

  /** Number of apps. */
  get apps (): number {
    return this.#urls.length
  }

  /** Noticed troubles so far. */
  get noticed (): number {
    return sumOf(this.#trouble) + this.recoveries
  }

  /** How often the apps have discarded their local counts. */
  get recoveries (): number {
    return sumOf(this.#recoveries)
  }

  /** @throws if no response arrives, because the connection failed or the request hangs */
  async send (app: number, method: string, path: string, { cookies, client }: Sent = {}): Promise<Reply> {
    const headers = { ...cookies === undefined || cookies.size === 0 ? {} : { cookie: fieldOf(cookies) }, ...client === undefined ? {} : { 'x-client': client } }
    const response = await fetch(`${this.#urls[app]}${path}`, { method, headers, signal: AbortSignal.timeout(hangMs) })
    const text = await response.text()
    this.#hear(app, response.headers)
    for (const line of response.headers.getSetCookie()) keep(line, cookies)
    return { status: response.status, body: text === '' ? undefined : JSON.parse(text), cache: response.headers.get('cache-status') ?? '' }
  }

  #hear (app: number, headers: Headers): void {
    raise(this.#trouble, app, Number(headers.get('x-trouble')))
    raise(this.#recoveries, app, Number(headers.get('x-recoveries')))
  }
}

function sumOf (counts: ReadonlyMap<number, number>): number {
  return [...counts.values()].reduce((sum, each) => sum + each, 0)
}

/** Responses can arrive in another order than they were sent in. */
function raise (counts: Map<number, number>, app: number, count: number): void {
  counts.set(app, Math.max(counts.get(app) ?? 0, count))
}

function fieldOf (cookies: Jar): string {
  return [...cookies].map(([name, value]) => `${name}=${value}`).join('; ')
}

function keep (line: string, cookies: Jar = new Map()): void {
  const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
  if (/max-age=0/i.test(line)) cookies.delete(name)
  else cookies.set(name, value)
}
