import { quantile } from '../../plugins/metrics.ts'
import type { RouteTotals } from '../../plugins/metrics.ts'
import { bucketGrowth, growth } from '../metrics-rates.ts'

/** One row of the table of routes; null: unknown. */
interface RouteRow {
  readonly method: string
  readonly route: string
  readonly requestsASecond: number
  readonly failedASecond: number
  readonly p50Ms: number | null
  readonly p99Ms: number | null
  /** of the cache lookups */
  readonly hitShare: number | null
}

const windowMs = 60_000
const mostRows = 12

/** The busiest routes of this process in the last minute. */
export class RouteTable {
  readonly #readings: { readonly at: number, readonly routes: ReadonlyMap<string, RouteTotals> }[] = []

  add (at: number, routes: readonly RouteTotals[]): void {
    this.#readings.push({ at, routes: new Map(routes.map((each) => [nameOf(each), each])) })
    while (this.#readings.length > 2 && (this.#readings[1]?.at ?? 0) <= at - windowMs) this.#readings.shift()
  }

  get rows (): RouteRow[] {
    const [from, to] = [this.#readings[0], this.#readings.at(-1)]
    if (from === undefined || to === undefined || from === to) return []
    const seconds = Math.max(0.001, (to.at - from.at) / 1000)
    const rows = [...to.routes.values()].map((now) => rowOf(from.routes.get(nameOf(now)), now, seconds))
    return rows.filter(({ requestsASecond }) => requestsASecond > 0).sort((one, other) => other.requestsASecond - one.requestsASecond).slice(0, mostRows)
  }
}

function nameOf ({ method, route }: RouteTotals): string {
  return `${method} ${route}`
}

function rowOf (before: RouteTotals | undefined, now: RouteTotals, seconds: number): RouteRow {
  const grown = (field: 'requests' | 'failed' | 'hits' | 'lookups') => growth(before?.[field] ?? 0, now[field])
  const durations = bucketGrowth(before?.durations ?? [], now.durations)
  const milliseconds = (share: number) => {
    const value = quantile(durations, share)
    return value === undefined ? null : value * 1000
  }
  return {
    method: now.method,
    route: now.route,
    requestsASecond: grown('requests') / seconds,
    failedASecond: grown('failed') / seconds,
    p50Ms: milliseconds(0.5),
    p99Ms: milliseconds(0.99),
    hitShare: grown('lookups') === 0 ? null : grown('hits') / grown('lookups')
  }
}
