import type { Seen } from './load.ts'

/** One measured round. CPU in microseconds a request, commands and writes (read by Redis) a request; a round trip where Redis is far away, else 0. */
export interface Sample extends Seen { roundTripMs: number, requestsPerSecond: number, cpu: number, redisCpu: number, commands: number, writes: number }

/** The medians of one server under one workload. */
export interface Row extends Sample { workload: string, server: string }

/** The middle of each figure by itself. */
export function median (samples: Sample[]): Sample {
  const names = Object.keys(samples[0] ?? {}) as (keyof Sample)[]
  const middle = (name: keyof Sample) => samples.map((sample) => sample[name]).sort((a, b) => a - b)[samples.length >> 1] ?? NaN
  return Object.fromEntries(names.map((name) => [name, middle(name)])) as unknown as Sample
}

/** A table to paste. "Added" is CPU above bare Fastify; its share is ours of what the conventional stack adds. */
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
