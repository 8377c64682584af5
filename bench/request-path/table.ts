import { median } from '../interleaved/statistics.ts'
import type { Row } from './figures.ts'

const head = `| workload | server | CPU µs (quartiles) | × bare | added µs | share of conventional (range) | Redis µs (quartiles) | writes | Redis bytes | sent bytes | requests/s |
|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|`

/** The costs of all workloads as a Markdown table. */
export function costTable (results: ReadonlyMap<string, readonly Row[]>): string {
  return [head, ...[...results].flatMap(([workload, rows]) => rows.map((row) => costLine(workload, row)))].join('\n')
}

function costLine (workload: string, row: Row): string {
  const { cpu, redis } = row
  const hasRatios = Number.isFinite(median(row.added))
  const cells = [
    workload, row.server + (row.isSteady ? '' : ' (not steady)'),
    `${cpu.median.toFixed(1)} (${cpu.low.toFixed(1)} to ${cpu.high.toFixed(1)})`,
    hasRatios ? median(row.timesBare).toFixed(2) : '', hasRatios ? median(row.added).toFixed(1) : '', shareOf(row.shares),
    `${redis.median.toFixed(1)} (${redis.low.toFixed(1)} to ${redis.high.toFixed(1)})`,
    row.writes.toFixed(3), row.redisBytes.toFixed(0), row.sentBytes.toFixed(0), row.requestsPerSecond.toFixed(0)
  ]
  return `| ${cells.join(' | ')} |`
}

/** The median of the runs, and the least and greatest of them. */
function shareOf (shares: readonly number[]): string {
  if (!Number.isFinite(median(shares))) return ''
  const percent = (share: number) => (share * 100).toFixed(0)
  const range = shares.length > 1 ? ` (${percent(Math.min(...shares))} to ${percent(Math.max(...shares))})` : ''
  return `${percent(median(shares))} %${range}`
}

/** Redis CPU by command: calls a request, and microseconds a request. Commands within scripts are part of the script too. */
export function commandTable (results: ReadonlyMap<string, readonly Row[]>): string {
  const lines = [...results].flatMap(([workload, rows]) => rows.flatMap(({ server, commands }) => {
    const told = Object.entries(commands).filter(([, { microseconds }]) => microseconds >= 0.05).map(([name, { calls, microseconds }]) => `${name} ${microseconds.toFixed(1)} (${calls.toFixed(2)}×)`)
    return told.length > 0 ? [`| ${workload} | ${server} | ${told.join(', ')} |`] : []
  }))
  return lines.length > 0 ? ['| workload | server | Redis µs a request, by command (calls) |\n|---|---|---|', ...lines].join('\n') : ''
}

/** Response times, where they were measured; `added` is the median above that of bare Fastify. */
export function latencyTable (results: ReadonlyMap<string, readonly Row[]>): string {
  const lines = [...results].flatMap(([workload, rows]) => rows.flatMap(({ server, latency }) => {
    if (latency === undefined) return []
    const added = latency.p50Ms - (rows.find((row) => row.server === 'bare')?.latency?.p50Ms ?? NaN)
    const trips = latency.roundTripMs > 0 ? (latency.p50Ms / latency.roundTripMs).toFixed(2) : ''
    return [`| ${[workload, server, latency.p50Ms.toFixed(3), latency.p99Ms.toFixed(3), Number.isFinite(added) ? added.toFixed(3) : '', trips].join(' | ')} |`]
  }))
  return lines.length > 0 ? ['| workload | server | p50 ms | p99 ms | added at p50 ms | p50 in Redis round trips |\n|---|---|---:|---:|---:|---:|', ...lines].join('\n') : ''
}

/** What each part of the stack adds to a request. */
export function partTable (results: ReadonlyMap<string, readonly Row[]>): string {
  const lines = [...results].map(([workload, rows]) => {
    const added = (name: string) => median(rows.find(({ server }) => server === name)?.added ?? [])
    const above = (name: string, base: string) => (added(name) - added(base)).toFixed(1)
    const cells = [added('lifecycle').toFixed(1), above('limit', 'lifecycle'), above('session', 'lifecycle'), above('cache', 'lifecycle'), above('limit+session+cache+metrics', 'limit+session+cache'), added('limit+session+cache+metrics').toFixed(1)]
    return `| ${workload} | ${cells.join(' | ')} |`
  })
  return ['| workload, µs | lifecycle | limit | session | cache | metrics | together |\n|---|---:|---:|---:|---:|---:|---:|', ...lines].join('\n')
}
