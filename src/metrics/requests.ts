import { STATUS_CODES } from 'node:http'
import { addUp, Histogram } from '../shared/histogram.ts'
import { InFlightRequests } from './in-flight-requests.ts'

/** Cache outcome of a request, from `Cache-Status`; `none` without a cache lookup. */
export const cacheOutcomes = ['none', 'hit', 'stale', 'miss', 'bypass'] as const
export type CacheOutcome = typeof cacheOutcomes[number]

/** Methods used as label values; all others are `other`, which bounds the number of series. */
const knownMethods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])

/** Label values of the status: each registered code, and a class for all others, which bounds the number of series. */
const statuses: readonly string[] = [...Object.keys(STATUS_CODES), '0xx', '1xx', '2xx', '3xx', '4xx', '5xx']
/** Cell of each status. */
const cellOfStatus = Uint8Array.from({ length: 1000 }, (_, status) => {
  const cell = statuses.indexOf(String(status))
  return cell >= 0 ? cell : statuses.length - 6 + Math.min(5, Math.floor(status / 100))
})
const firstDigits: readonly string[] = statuses.map((status) => status.charAt(0))

/** A count with its labels. */
interface LabelledCount { readonly labels: Readonly<Record<string, string>>, readonly count: number }

/** The requests of one route and method. */
class RequestCounters {
  readonly method: string
  readonly route: string
  /** by cache outcome, then by status */
  readonly counts = new Float64Array(cacheOutcomes.length * statuses.length)
  readonly durations = cacheOutcomes.map(() => new Histogram())

  constructor (method: string, route: string) {
    this.method = method
    this.route = route
  }

  /**
   * @param cacheStatus the `Cache-Status` header, if present
   * @param seconds undefined: not a duration of a response, but how long a client stayed
   */
  add (status: number, cacheStatus: unknown, seconds: number | undefined): void {
    const outcome = outcomeOf(cacheStatus)
    const cell = outcome * statuses.length + (cellOfStatus[status] ?? statuses.length - 1)
    this.counts[cell] = (this.counts[cell] ?? 0) + 1
    if (seconds !== undefined) this.durations[outcome]?.observe(seconds)
  }

  /** Number of requests of the given outcomes and first digit of the status; default: of all. */
  sum (outcomes: readonly CacheOutcome[] = cacheOutcomes, firstDigit?: string): number {
    let sum = 0
    for (const outcome of outcomes) {
      const start = cacheOutcomes.indexOf(outcome) * statuses.length
      for (let index = 0; index < statuses.length; index++) if (firstDigit === undefined || firstDigits[index] === firstDigit) sum += this.counts[start + index] ?? 0
    }
    return sum
  }

  /** Every count that is not 0. */
  get labelled (): LabelledCount[] {
    const { method, route } = this
    return [...this.counts].flatMap((count, cell) => count === 0
      ? []
      : [{ labels: { method, route, status: statuses[cell % statuses.length] ?? '', cache: cacheOutcomes[Math.floor(cell / statuses.length)] ?? 'none' }, count }])
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

/** Requests of one method and route since the start. */
export interface RouteTotals {
  readonly method: string
  readonly route: string
  readonly requests: number
  /** with a 5xx status */
  readonly failed: number
  /** served from the cache, fresh or stale */
  readonly hits: number
  /** hits and misses */
  readonly lookups: number
  /** see {@link Histogram} */
  readonly durations: readonly number[]
}

/** The requests of this process, by route. Counting increments array cells; labels are created on each scrape. */
export class Requests {
  readonly inFlight = new InFlightRequests()
  readonly #routes: RouteCounters[] = []

  open (route: string, policies: readonly string[]): RouteCounters {
    const tally = new RouteCounters(route, policies)
    this.#routes.push(tally)
    return tally
  }

  get tallies (): RequestCounters[] {
    return this.#routes.flatMap(({ byMethod }) => [...byMethod.values()])
  }

  /** By method, route, status and cache outcome. */
  get counts (): LabelledCount[] {
    return this.tallies.flatMap(({ labelled }) => labelled)
  }

  /** By cache outcome. */
  get outcomes (): Record<CacheOutcome, number> {
    const { tallies } = this
    return Object.fromEntries(cacheOutcomes.map((outcome) => [outcome, tallies.reduce((sum, tally) => sum + tally.sum([outcome]), 0)])) as Record<CacheOutcome, number>
  }

  /** Totals since the start, by method and route. */
  get totals (): RouteTotals[] {
    return this.tallies.map((tally) => ({
      method: tally.method,
      route: tally.route,
      requests: tally.sum(),
      failed: tally.sum(cacheOutcomes, '5'),
      hits: tally.sum(['hit', 'stale']),
      lookups: tally.sum(['hit', 'stale', 'miss']),
      durations: addUp(tally.durations)
    }))
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
