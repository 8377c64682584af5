import router from 'find-my-way'
import type { Cache, EntryInspection } from '../../plugins/index.ts'

/** Scheme and host of a URL that has none. */
interface BaseUrl {
  readonly protocol: string
  readonly host: string
}

/** Finds the stored response of a URL, as a GET request without headers would. */
export class EntryFinder {
  readonly #routes = router({ maxParamLength: 1000 })
  readonly #cache: Pick<Cache, 'inspect'>

  constructor (cache: Pick<Cache, 'inspect'>) {
    this.#cache = cache
  }

  /** Adds a GET route by its pattern. */
  add (pattern: string): void {
    if (!this.#routes.hasRoute('GET', pattern)) this.#routes.on('GET', pattern, () => {}, pattern)
  }

  /** Never rejects: `found` is `unavailable` while Redis is. */
  async find (text: string, base: BaseUrl): Promise<EntryInspection> {
    const { protocol = '', host = '', pathname = '', search = '' } = URL.parse(text, `${base.protocol}://${base.host}`) ?? {}
    const url = pathname + search
    const match = this.#routes.find('GET', url)
    if (match === null) return { found: 'uncached', route: null }
    return await this.#cache.inspect(match.store as string, { url, protocol: protocol.slice(0, -1), host, params: match.params, query: match.searchParams })
  }
}
