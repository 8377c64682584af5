import router, { type HTTPMethod } from 'find-my-way'

/** A path that is longer than this is looked up by no method: each look decodes it. */
const longestPath = 2048

/** Which methods answer a path, for `Allow` (RFC 9110 section 10.2.1). */
export class Methods {
  readonly #routes = router({ maxParamLength: 128 })
  readonly #known = new Set<HTTPMethod>(['OPTIONS'])

  /** Takes note of a route. */
  add (pattern: string, methods: readonly string[]): void {
    for (const method of methods as readonly HTTPMethod[]) {
      this.#known.add(method)
      if (!this.#routes.hasRoute(method, pattern)) this.#routes.on(method, pattern, () => {})
    }
  }

  /** Those of a path, none where nobody answers it; of `*`, which is the server itself, those of all paths. */
  of (url: string): readonly string[] {
    if (url === '*') return [...this.#known].sort()
    const end = url.indexOf('?')
    const path = end === -1 ? url : url.slice(0, end)
    if (path.length > longestPath) return []
    const found = [...this.#known].filter((method) => this.#routes.find(method, path) !== null)
    return found.length === 0 ? [] : [...new Set([...found, 'OPTIONS'])].sort()
  }
}
