/** What Fastify's own constraints read: `host` is part of the URL. */
const fieldOf = { host: undefined, version: 'accept-version' } as const

/**
 * Routes that Fastify selects by their `constraints`. A cache on the way, or the browser's own, tells the responses of one URL apart only by `Vary`
 * (RFC 9110 section 12.5.5).
 */
export class ConstrainedRoutes {
  /** by the name of a constraint: the field that it reads; `*` where it is the app's own, because its fields are not known */
  readonly #fields = new Map<string, 'accept-version' | '*' | undefined>()
  readonly #patterns = new Set<string>()
  #hasVersions = false

  /**
   * Notes a route that is being declared.
   *
   * @param isInUse whether the app has replaced a constraint of Fastify; tells it only until a route uses the constraint
   */
  add (pattern: string, constraints: Readonly<Record<string, unknown>> | undefined, isInUse: (constraint: string) => boolean): void {
    for (const name of Object.keys(constraints ?? {})) {
      if (!this.#fields.has(name)) this.#fields.set(name, name in fieldOf && !isInUse(name) ? fieldOf[name as keyof typeof fieldOf] : '*')
      const field = this.#fields.get(name)
      if (field === '*') this.#patterns.add(pattern)
      else if (field !== undefined) this.#hasVersions = true
    }
  }

  /**
   * The `Vary` of a route's responses. Any route may have the URL of a versioned one, because patterns overlap. Responses of the app's own constraints
   * vary by `*`, unless the route declares fields.
   *
   * @param declared the route's `vary`
   * @returns undefined if nothing is to be added
   */
  varyOf (pattern: string, declared: readonly string[]): 'accept-version' | '*' | undefined {
    if (declared.length === 0 && this.#patterns.size > 0 && this.#patterns.has(pattern)) return '*'
    return this.#hasVersions ? 'accept-version' : undefined
  }
}
