import type { Seen } from './load.ts'

/** One measured round: CPU in microseconds per request; commands and writes (read by Redis) per request; the round trip if Redis is distant, else 0. */
export interface Sample extends Seen { roundTripMs: number, requestsPerSecond: number, cpu: number, redisCpu: number, commands: number, writes: number }

/** Medians of one server under one workload. */
export interface Row extends Sample { workload: string, server: string }

/** The median of each figure separately. */
export function median (samples: Sample[]): Sample {
  const names = Object.keys(samples[0] ?? {}) as (keyof Sample)[]
  const middle = (name: keyof Sample) => samples.map((sample) => sample[name]).sort((a, b) => a - b)[samples.length >> 1] ?? NaN
  return Object.fromEntries(names.map((name) => [name, middle(name)])) as unknown as Sample
}

/** A Markdown table. "Added" is CPU above bare Fastify; its ratio compares the stack with the conventional one. */
export function table (rows: Row[]): string {
  const head = '| workload | server | requests/s | p50 ms | p99 ms | CPU µs | ÷ bare | added | share | Redis CPU µs | commands | writes |\n|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|'
  return [head, ...rows.map((row) => line(row, rows))].join('\n')
}

function line (row: Row, rows: Row[]): string {
  const cpuOf = (server: string) => rows.find((other) => other.workload === row.workload && other.server === server)?.cpu ?? NaN
  const added = row.cpu - cpuOf('bare')
  const share = row.server === 'prism' ? percent(added / (cpuOf('conventional') - cpuOf('bare'))) : ''
  const cells = [row.workload, row.server, Math.round(row.requestsPerSecond), row.p50Ms.toFixed(2), row.p99Ms.toFixed(2), row.cpu.toFixed(1), (row.cpu / cpuOf('bare')).toFixed(2), added.toFixed(1), share, row.redisCpu.toFixed(1), row.commands.toFixed(2), row.writes.toFixed(2)]
  return `| ${cells.join(' | ')} |`
}

function percent (share: number): string {
  return `${Math.round(share * 100)} %`
}
