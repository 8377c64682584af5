import { median } from '../interleaved/statistics.ts'
import type { Quartiles } from '../interleaved/statistics.ts'
import type { CommandCost } from '../interleaved/redis-figures.ts'
import type { Latency } from './latency.ts'
import type { ServerFigures } from './run.ts'

/** Figures of all servers in one run, by name. */
export type RunFigures = Record<string, ServerFigures>

/** A server's figures over all runs: medians of the runs' medians. */
export interface Row {
  readonly server: string
  readonly cpu: Quartiles
  /** CPU ÷ that of bare Fastify, in each run */
  readonly timesBare: readonly number[]
  /** microseconds above bare Fastify, in each run */
  readonly added: readonly number[]
  /** what this server adds ÷ what the conventional stack adds, in each run */
  readonly shares: readonly number[]
  readonly redis: Quartiles
  readonly writes: number
  readonly redisBytes: number
  readonly sentBytes: number
  readonly requestsPerSecond: number
  readonly commands: Record<string, CommandCost>
  readonly latency: Latency | undefined
  readonly isSteady: boolean
}

/** The rows of one workload. Ratios are taken within each run, because the machine's speed differs between runs. */
export function rowsOf (runs: readonly RunFigures[]): Row[] {
  return Object.keys(runs[0] ?? {}).map((server) => rowOf(server, runs))
}

function rowOf (server: string, runs: readonly RunFigures[]): Row {
  const own = runs.flatMap((run) => run[server] ?? [])
  const cpuOf = (run: RunFigures, name: string) => run[name]?.cpu.median ?? NaN
  const over = (figure: (figures: ServerFigures) => number) => median(own.map(figure))
  const added = runs.map((run) => cpuOf(run, server) - cpuOf(run, 'bare'))
  return {
    server,
    cpu: quartilesOver(own.map(({ cpu }) => cpu)),
    timesBare: runs.map((run) => cpuOf(run, server) / cpuOf(run, 'bare')),
    added,
    shares: runs.map((run, index) => (added[index] ?? NaN) / (cpuOf(run, 'conventional') - cpuOf(run, 'bare'))),
    redis: quartilesOver(own.map(({ redis }) => redis)),
    writes: over((each) => each.writes),
    redisBytes: over((each) => each.redisBytes),
    sentBytes: over((each) => each.sentBytes),
    requestsPerSecond: over((each) => each.requestsPerSecond),
    commands: commandsOver(own.map(({ commands }) => commands)),
    latency: latencyOver(own.flatMap(({ latency }) => latency ?? [])),
    isSteady: own.every(({ isSteady }) => isSteady)
  }
}

function quartilesOver (runs: readonly Quartiles[]): Quartiles {
  return { low: median(runs.map(({ low }) => low)), median: median(runs.map((each) => each.median)), high: median(runs.map(({ high }) => high)) }
}

function commandsOver (runs: readonly Record<string, CommandCost>[]): Record<string, CommandCost> {
  const names = new Set(runs.flatMap((commands) => Object.keys(commands)))
  return Object.fromEntries([...names].map((name) => [name, { calls: median(runs.map((each) => each[name]?.calls ?? 0)), microseconds: median(runs.map((each) => each[name]?.microseconds ?? 0)) }]))
}

function latencyOver (runs: readonly Latency[]): Latency | undefined {
  if (runs.length === 0) return undefined
  return { p50Ms: median(runs.map(({ p50Ms }) => p50Ms)), p99Ms: median(runs.map(({ p99Ms }) => p99Ms)), roundTripMs: median(runs.map(({ roundTripMs }) => roundTripMs)) }
}
