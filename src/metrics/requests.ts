import { Histogram } from '../shared/histogram.ts'

/** Cache outcome of a request, from `Cache-Status`; `none` without a cache lookup. */
export const cacheOutcomes = ['none', 'hit', 'stale', 'miss', 'bypass'] as const
export type CacheOutcome = typeof cacheOutcomes[number]

/** Methods used as label values; all others are `other`, which bounds the number of series. */
const knownMethods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])
const statusClasses = 6

/** A count with its labels. */
interface LabelledCount { readonly labels: Readonly<Record<string, string>>, readonly count: number }

/** The requests of one route and method. */
class RequestCounters {
  readonly method: string
  readonly route: string
  /** by cache outcome, then by the status's first digit */
  readonly counts: number[] = new Array(cacheOutcomes.length * statusClasses).fill(0)
  readonly durations = cacheOutcomes.map(() => new Histogram())

  constructor (method: string, route: string) {
    this.method = method
    this.route = route
  }

  /** @param cacheStatus the `Cache-Status` header, if present */
  add (status: number, cacheStatus: unknown, seconds: number): void {
    const outcome = outcomeOf(cacheStatus)
    const cell = outcome * statusClasses + Math.min(5, Math.floor(status / 100))
    this.counts[cell] = (this.counts[cell] ?? 0) + 1
    this.durations[outcome]?.observe(seconds)
  }
}

/** Rate limit decisions of a route; `allowed` counts for each of its policies. */
interface Decisions {
  readonly policies: readonly string[]
  allowed: number
  readonly refused: Map<string, number>
}

/** The requests of one route. */
export class RouteCounters {
  readonly byMethod = new Map<string, RequestCounters>()
  readonly decisions: Decisions
  readonly #route: string
  #last: RequestCounters | undefined

  /** @param route pattern of the route; a path would let clients create label values */
  constructor (route: string, policies: readonly string[]) {
    this.#route = route
    this.decisions = { policies, allowed: 0, refused: new Map() }
  }

  /** Its requests of one method; most routes have one. */
  of (method: string): RequestCounters {
    if (this.#last?.method !== method) this.#last = this.#find(knownMethods.has(method) ? method : 'other')
    return this.#last
  }

  #find (method: string): RequestCounters {
    const tally = this.byMethod.get(method) ?? new RequestCounters(method, this.#route)
    this.byMethod.set(method, tally)
    return tally
  }
}

/** The requests of this process, by route. Counting increments array cells; labels are created on each scrape. */
export class Requests {
  readonly #routes: RouteCounters[] = []

  open (route: string, policies: readonly string[]): RouteCounters {
    const tally = new RouteCounters(route, policies)
    this.#routes.push(tally)
    return tally
  }

  get tallies (): RequestCounters[] {
    return this.#routes.flatMap(({ byMethod }) => [...byMethod.values()])
  }

  /** By method, route, status class and cache outcome. */
  get counts (): LabelledCount[] {
    return this.tallies.flatMap(({ method, route, counts }) => counts.flatMap((count, cell) => count === 0
      ? []
      : [{ labels: { method, route, status: `${cell % statusClasses}xx`, cache: cacheOutcomes[Math.floor(cell / statusClasses)] ?? 'none' }, count }]))
  }

  /** By cache outcome. */
  get outcomes (): Record<CacheOutcome, number> {
    const sums: Record<CacheOutcome, number> = { none: 0, hit: 0, stale: 0, miss: 0, bypass: 0 }
    for (const { counts } of this.tallies) counts.forEach((count, cell) => { sums[cacheOutcomes[Math.floor(cell / statusClasses)] ?? 'none'] += count })
    return sums
  }

  /** By policy and outcome. */
  get decisions (): LabelledCount[] {
    const sums = new Map<string, number>()
    const add = (policy: string, outcome: string, count: number) => sums.set(`${outcome} ${policy}`, (sums.get(`${outcome} ${policy}`) ?? 0) + count)
    for (const { decisions: { policies, allowed, refused } } of this.#routes) {
      for (const policy of policies) add(policy, 'allowed', allowed)
      for (const [policy, count] of refused) add(policy, 'refused', count)
    }
    return [...sums].map(([name, count]) => ({ labels: { policy: name.slice(name.indexOf(' ') + 1), outcome: name.slice(0, name.indexOf(' ')) }, count }))
  }
}

/** Reads the last member of `Cache-Status` (RFC 9211), which is this process's own. */
export function cacheOutcomeOf (field: unknown): CacheOutcome {
  return cacheOutcomes[outcomeOf(field)] ?? 'none'
}

function outcomeOf (field: unknown): number {
  if (typeof field !== 'string') return 0
  const own = field.lastIndexOf('prism')
  // A negative ttl is a stale response, including stale-if-error, which has no `hit`.
  if (field.includes('; ttl=-', own)) return 2
  if (field.startsWith('; hit', own + 5)) return 1
  if (field.includes('; fwd=bypass', own) || field.includes('; fwd=method', own)) return 4
  return 3
}
