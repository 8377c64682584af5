import router, { type HTTPMethod } from 'find-my-way'

/** Characters. A longer path has no methods: each lookup would decode it. */
const longestPath = 2048

/** The methods of each path, for `Allow` (RFC 9110 section 10.2.1). */
export class Methods {
  readonly #routes = router({ maxParamLength: 128 })
  readonly #known = new Set<HTTPMethod>(['OPTIONS'])

  /** Registers a route. */
  add (pattern: string, methods: readonly string[]): void {
    for (const method of methods as readonly HTTPMethod[]) {
      this.#known.add(method)
      if (!this.#routes.hasRoute(method, pattern)) this.#routes.on(method, pattern, () => {})
    }
  }

  /** The methods of a path, empty if it has no route; for `*`, which means the server, the methods of all paths. */
  of (url: string): readonly string[] {
    if (url === '*') return [...this.#known].sort()
    const end = url.indexOf('?')
    const path = end === -1 ? url : url.slice(0, end)
    if (path.length > longestPath) return []
    const found = [...this.#known].filter((method) => this.#routes.find(method, path) !== null)
    return found.length === 0 ? [] : [...new Set([...found, 'OPTIONS'])].sort()
  }
}
